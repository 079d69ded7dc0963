"""Child: play ``tune.mid`` as ``tune.wav`` with midirenderer. Arguments: the soundfont, the most seconds to play."""

import sys
from pathlib import Path

import midirenderer
import mido


def main(soundfont: str, seconds_most: str) -> None:
    """Play it."""
    seconds = mido.MidiFile("tune.mid").length
    if seconds > float(seconds_most):
        sys.exit(f"the tune lasts {seconds:.0f} s, more than the {seconds_most} s that are played; shorten it")
    wav = midirenderer.render_wave_from(Path(soundfont).read_bytes(), Path("tune.mid").read_bytes())
    Path("tune.wav").write_bytes(wav)
