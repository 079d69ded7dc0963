"""How long a tune takes to become score and sound.

    python experiments/benchmarks/render_figures.py [--tunes 30] [--starts 5]

The tunes are folk tunes held out from training, the same each time, one after the other. The last line is JSON:

- ``png_midi_wav_s``: median seconds of a tune to PNG, MIDI and WAV, in a process that has rendered before, as the web
  demo and the evaluation do it;
- ``every_format_s``: the same to SVG, PNG, PDF, MusicXML, MIDI and WAV;
- ``first_s``: median seconds of the first tune of a fresh process to PNG, MIDI and WAV, our imports included;
- ``tunes``: how many were rendered; ``load``: the machine's load average over the minute before the end, since others
  may use it too.

Other benchmarks call `render_figures`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

QUICK = ("png", "mid", "wav")


@dataclass(frozen=True, kw_only=True)
class RenderFigures:
    """What rendering takes, in seconds of the median tune."""

    png_midi_wav_s: float
    every_format_s: float
    first_s: float
    tunes: int
    load: float


def main() -> None:
    """Measure and print the figures; or, in a child, the seconds of its first tune."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tunes", type=int, default=30, help="tunes that are rendered, each twice")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes")
    parser.add_argument("--first", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first:
        print(time_first(sys.stdin.read()))
    else:
        print(json.dumps(asdict(render_figures(tunes=arguments.tunes, starts=arguments.starts))))


def render_figures(*, tunes: int = 30, starts: int = 5) -> RenderFigures:
    """The figures of so many tunes.

    Raises:
        SystemExit: a tune could not be rendered in full, so that its time would mean nothing.
    """
    from chatmusician.music.rendering import FORMATS

    texts = real_tunes(tunes)
    render_all(texts[:1], FORMATS)  # starts the tools
    return RenderFigures(
        png_midi_wav_s=round(statistics.median(render_all(texts, QUICK)), 3),
        every_format_s=round(statistics.median(render_all(texts, FORMATS)), 3),
        first_s=round(statistics.median(start(texts[0]) for _ in range(starts)), 3),
        tunes=len(texts),
        load=round(os.getloadavg()[0], 1),
    )


def real_tunes(count: int) -> list[str]:
    """Folk tunes of the validation split, drawn by a fixed seed."""
    from random import Random

    from chatmusician.data.folk import FolkCollections

    return [tune.abc for tune in Random(0).sample(FolkCollections().tunes("validation"), count)]


def render_all(texts: Sequence[str], formats: Sequence[str]) -> list[float]:
    """Seconds of each tune."""
    from chatmusician.music.rendering import render_bytes

    seconds = []
    for text in texts:
        started = time.perf_counter()
        rendered = render_bytes(text, formats=formats)
        seconds.append(time.perf_counter() - started)
        if len(rendered.contents) < len(formats):
            raise SystemExit(f"a tune was not rendered in full: {'; '.join(rendered.problems)}\n{text}")
    return seconds


def start(text: str) -> float:
    """Seconds of the first tune of a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--first"], input=text, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def time_first(text: str) -> float:
    """In a fresh process: seconds from before our imports to the formats."""
    started = time.perf_counter()
    render_all([text], QUICK)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
