"""Child: read ``tune.abc`` with music21 and write ``tune.musicxml``."""

from pathlib import Path

from music21 import converter, stream
from music21.musicxml.m21ToXml import GeneralObjectExporter


def remove_repeated_meters(part: stream.Part) -> None:
    """Take out each time signature that only says again what is in force."""
    in_force = ""
    for measure in part.getElementsByClass(stream.Measure):
        if (meter := measure.timeSignature) is not None:
            if meter.ratioString == in_force:
                measure.remove(meter)
            in_force = meter.ratioString


def main() -> None:
    """Convert it."""
    # The version line selects the rules of ABC 2.1: without it a bar's accidentals and line ends mean other things.
    abc = "%abc-2.1\n" + Path("tune.abc").read_text(encoding="utf-8")
    score = converter.parseData(abc, format="abc")
    for part in score.getElementsByClass(stream.Part):
        remove_repeated_meters(part)
    Path("tune.musicxml").write_bytes(GeneralObjectExporter(score).parse())
