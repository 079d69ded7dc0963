"""Files of visitors: what the forms are filled with, and why one is refused."""

import pytest

from chatmusician.errors import UserError
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.notation.writing import notate
from chatmusician.webapp.uploads import UPLOAD_BYTES, read_upload

TUNE = 'X:3\nT:Mine\nR:Slow Waltz\nM:3/4\nL:1/4\nK:G\n"G"GBd | "D7"fed | cAF | G3 |]\n'
LAID_OUT = 'X:1\nL:1/4\nM:3/4\nK:G\n"G"G B d | "D7"f e d | c A F | G3 |]\n'


def test_a_tune_fills_every_form() -> None:
    found = read_upload("mine.abc", TUNE.encode())
    assert found.abc == LAID_OUT
    assert (found.chords, found.form, found.rhythm) == ("G D7", "A", "slow waltz")
    assert (found.meter, found.unit_note_length, found.key, len(found.motifs)) == ("3/4", "1/4", "G", 1)
    assert found.notes == ()


def test_of_several_tunes_the_first_is_taken_and_that_is_said() -> None:
    found = read_upload("mine.abc", (TUNE + "\n" + TUNE.replace("K:G", "K:D")).encode())
    assert found.key == "G"
    assert found.notes == ("mine.abc has 2 tunes: the first was taken",)


@pytest.mark.parametrize("ending", ["musicxml", "mid"])
def test_other_formats_give_the_same_melody(ending: str) -> None:
    plain = TUNE.replace('"G"', "").replace('"D7"', "")
    content = notate(plain).content if ending == "musicxml" else abc_to_midi(plain)
    found = read_upload(f"mine.{ending}", content)
    assert (found.meter, found.key) == ("3/4", "G")
    assert [letter for letter in found.abc.split("\n", 4)[4] if letter.isalpha()] == list("GBdfedcAFG")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("song.txt", b"X:1", "song.txt: the file is none of .abc, .musicxml"),
        ("song.abc", b"no tune", "song.abc: the file has no tune"),
        ("song.abc", b"X:1\nK:C\nV:1\nCD|\nV:2\nEF|\n", "song.abc.*the tune has several voices"),
        ("song.mid", b"MThd", "song.mid: "),
        ("song.mxl", b"PK\x03\x04", "song.mxl: the archive cannot be read"),
        ("song.xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "song.xml: it declares the entity 'b'"),
        ("song.abc", b"C" * (UPLOAD_BYTES + 1), "song.abc: the file has 2.0 MiB, more than 2"),
        ("n" * 90 + ".abc", b"", "^n{40}[.]{3}: the file has no tune"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_upload(name, content)
