import io
import wave

import numpy as np
import pytest

from chatmusician.music.audio import midi_to_wav, normalise
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.sandbox import ToolError

HEADER = "X:1\nM:4/4\nL:1/4\nQ:1/4=60\nK:C\n"


def read(wav: bytes) -> tuple[np.ndarray, int]:
    """The left channel, -1 to 1 [samples], and the sampling rate in Hz."""
    with wave.open(io.BytesIO(wav)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (2, 2)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)
        return samples[:, 0] / 32768, sound.getframerate()


def fundamental_hz(samples: np.ndarray, rate: int) -> float:
    """The frequency whose first four harmonics are together the strongest (harmonic product spectrum)."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=2**18))
    frequencies = np.fft.rfftfreq(2**18, 1 / rate)
    size = len(spectrum) // 4
    product = np.prod([spectrum[::harmonic][:size] for harmonic in (1, 2, 3, 4)], axis=0)
    audible = (frequencies[:size] > 100) & (frequencies[:size] < 1000)
    return float(frequencies[:size][np.argmax(product * audible)])


def test_a_scale_sounds_at_its_pitches() -> None:
    samples, rate = read(midi_to_wav(abc_to_midi(HEADER + "CDEF|GABc|\n")))
    expected_hz = [261.63, 293.66, 329.63, 349.23, 392.00, 440.00, 493.88, 523.25]  # MIDI pitches 60 to 72
    for second, hz in enumerate(expected_hz):
        note = samples[int((second + 0.2) * rate) : int((second + 0.8) * rate)]
        assert fundamental_hz(note, rate) == pytest.approx(hz, rel=0.01)  # a semitone is 0.06


def test_sound_is_normalised() -> None:
    samples, rate = read(midi_to_wav(abc_to_midi(HEADER + "C4|\n")))
    assert rate == 48000
    assert np.abs(samples).max() <= 0.9
    assert np.abs(samples).max() > 0.4  # the other channel may have the peak


def test_normalising_scales_every_sample_alike() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        sound.writeframes(np.array([0, 1000, -2000, 500], "<i2").tobytes())
    with wave.open(io.BytesIO(normalise(buffer.getvalue()))) as sound:
        assert np.frombuffer(sound.readframes(4), "<i2").tolist() == [0, 14745, -29490, 7373]  # 29490 = 0.9 x 32767


def test_a_tune_without_notes_is_a_message() -> None:
    with pytest.raises(ToolError, match="makes no sound; check that it has notes"):
        midi_to_wav(abc_to_midi("X:1\nK:C\n"))


def test_a_tune_without_end_is_a_message() -> None:
    with pytest.raises(ToolError, match=r"^the tune lasts 2004 s, more than the 600 s that are played; shorten it$"):
        midi_to_wav(abc_to_midi(HEADER + "Z100|" * 5 + "C4|\n"))


def test_what_is_no_midi_is_a_message() -> None:
    with pytest.raises(ToolError, match=r"^the synthesiser \(midirenderer\) could not process this tune"):
        midi_to_wav(b"RIFF")
