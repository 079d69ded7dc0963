import io
import re
from pathlib import Path

import mido
import pytest

from chatmusician.music.midi import abc_to_midi, find_abc2midi, midi_fault, package_directory
from chatmusician.music.sandbox import ToolError

HEADER = "X:1\nT:Test\nM:4/4\nL:1/4\nQ:1/4=60\nK:C\n"


def pitches(midi: bytes) -> list[int]:
    messages = mido.MidiFile(file=io.BytesIO(midi))
    return [message.note for message in messages if message.type == "note_on" and message.velocity > 0]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("CDEF|GABc|", [60, 62, 64, 65, 67, 69, 71, 72]),
        ("|:C4:|", [60, 60]),
        ("|:C4|1 D4:|2 E4|]", [60, 62, 60, 64]),
        ("[K:D]C F ^G _B|", [61, 66, 68, 70]),
    ],
)
def test_pitches_repeats_and_endings(body: str, expected: list[int]) -> None:
    assert pitches(abc_to_midi(HEADER + body + "\n")) == expected


def test_durations_follow_the_tempo() -> None:
    midi = mido.MidiFile(file=io.BytesIO(abc_to_midi(HEADER + "CDEF|G4|\n")))
    assert midi.length == pytest.approx(8, abs=0.1)  # eight quarters at 60 a minute


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the tune has no X: line; write X:1 first of all"),
        ("Here is a tune for you!", "the tune has no X: line; write X:1 first of all"),
        ("X:1\nT:No key\nCDEF|", "the tune has no K: line; write one such as K:C before the music"),
        (
            "X:1\nK:ZZZZ\nCDEF|",
            "abc2midi cannot read 'K:ZZZZ' (First K: field must specify key signature); mend that line",
        ),
    ],
)
def test_text_without_a_tune_is_a_message(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=f"^{re.escape(message)}$"):
        abc_to_midi(text)


TRACK = bytes.fromhex("00 903c40 60 3c00 8170 ff03 03 414243 00 c005 00 ff2f00")
"""Note on, after 96 ticks the same status again, after 240 a name, a program, the end."""


def midi_file(*tracks: bytes) -> bytes:
    head = b"MThd" + bytes.fromhex("00000006 0001 0001 01e0")
    return head + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


@pytest.mark.parametrize(
    ("midi", "fault"),
    [
        (midi_file(TRACK), ""),
        (midi_file(TRACK, TRACK), ""),
        (midi_file(TRACK.replace(b"\x3c\x40", b"\x8c\x40")), "the number 140 where 127 is the most"),
        (midi_file(TRACK, TRACK)[:-5], "no whole track at byte 44"),
        (midi_file(TRACK[:-2]), "a track ends inside an event"),
        (midi_file(TRACK) + b"more", "no whole track at byte 44"),
    ],
)
def test_broken_files_are_told(midi: bytes, fault: str) -> None:
    assert midi_fault(midi) == fault


def test_notes_out_of_range_make_no_file() -> None:
    with pytest.raises(ToolError, match=r"^abc2midi made a broken MIDI file of this tune \(the number \d+ where 127"):
        abc_to_midi("X:1\nL:1/4\nK:C octave=4\nc" + 5 * "'" + "|\n")


def test_same_text_gives_same_bytes() -> None:
    assert abc_to_midi(HEADER + "CDEF|\n") == abc_to_midi(HEADER + "CDEF|\n")


def test_bundled_converter_is_taken_before_an_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "abc2midi"
    installed.write_text("#!/bin/sh\nexit 1\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    find_abc2midi.cache_clear()
    assert find_abc2midi() == package_directory("symusic") / "bin" / "abc2midi"
