"""MIDI to sound by a sampled-instrument synthesiser, from pip packages alone.

midirenderer (Rust) plays the TimGM6mb soundfont that pretty_midi ships, in the sandbox; the samples are then scaled so
that the loudest is just below full scale. There is no other way beside it, such as an installed fluidsynth: one
synthesiser gives one sound everywhere.
"""

import io
import wave

from chatmusician.music.midi import package_directory
from chatmusician.music.sandbox import ToolError, run_child

PEAK = 0.9
"""Loudest sample after normalising, as a part of full scale."""

SECONDS_MOST = 600
"""Longest sound that is made; a minute takes 11 MiB."""


def midi_to_wav(midi: bytes) -> bytes:
    """The MIDI file played: WAV, 48 kHz, two channels of 16 bits, its peak at `PEAK`.

    Raises:
        ToolError: it is no MIDI file, has no notes, or lasts longer than `SECONDS_MOST` seconds.
    """
    soundfont = package_directory("pretty_midi") / "TimGM6mb.sf2"
    files = {"tune.mid": midi}
    result = run_child(
        "midi_synthesiser", str(soundfont), str(SECONDS_MOST), files=files, name="the synthesiser (midirenderer)"
    )
    return normalise(result.files["tune.wav"])


def normalise(wav: bytes) -> bytes:
    """A 16-bit WAV scaled so that its loudest sample is `PEAK` of full scale.

    Raises:
        ToolError: it is silent.
    """
    import numpy as np  # 0.2 s

    with wave.open(io.BytesIO(wav)) as sound:
        parameters = sound.getparams()
        samples = np.frombuffer(sound.readframes(parameters.nframes), dtype="<i2").astype(np.float32)
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest == 0:
        raise ToolError("the tune makes no sound; check that it has notes")
    scaled = np.rint(samples * (PEAK * 32767 / loudest)).astype("<i2")
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setparams(parameters)
        sound.writeframes(scaled.tobytes())
    return target.getvalue()
