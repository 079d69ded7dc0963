"""Parts written as ABC: tuplets, bar lines, voices."""

from fractions import Fraction

import pytest

from chatmusician.music.scores import ConversionError, Measure, Part, Pitch, ScoreNote, write_tune, write_voices

C, D, E = (Pitch(letter, 0, 0) for letter in "CDE")


def notes(*lengths: str, pitch: Pitch = C) -> tuple[ScoreNote, ...]:
    return tuple(ScoreNote(pitches=(pitch,), length=Fraction(length)) for length in lengths)


def part(*measures: Measure, name: str = "", key: str = "C", meter: str = "4/4") -> Part:
    first = Measure(
        notes=measures[0].notes, opening=measures[0].opening, closing=measures[0].closing, key=key, meter=meter
    )
    return Part(name=name, measures=(first, *measures[1:]))


def music(*measures: Measure, meter: str = "4/4") -> str:
    return write_tune(part(*measures, meter=meter)).split("K:C\n")[1].rstrip("\n")


@pytest.mark.parametrize(
    ("lengths", "abc"),
    [
        (["1/8", "1/4", "3/8", "1/16", "3/16"], "CC2C3 C/2C3/2 |"),
        (["1/12", "1/12", "1/12", "3/4"], "(3CCCC6 |"),
        (["1/6", "1/12", "1/4", "1/2"], "(3:2:2C2CC2 C4 |"),
        (["1/6", "1/6", "1/6", "1/2"], "(3C2C2C2 C4 |"),
        (["1/20"] * 5 + ["3/4"], "(5:4:5C/2C/2C/2C/2C/2C6 |"),
        (["1/28"] * 7 + ["3/4"], "(7:4:7C/2C/2C/2C/2C/2C/2C/2C6 |"),
        (["1/24"] * 6 + ["3/4"], "(3C/2C/2C/2(3C/2C/2C/2C6 |"),
    ],
)
def test_lengths_and_tuplets(lengths: list[str], abc: str) -> None:
    assert music(Measure(notes=notes(*lengths))) == abc


@pytest.mark.parametrize(
    ("lengths", "reason"),
    [
        (["1/12", "1/12"], "a tuplet of 2 notes is not complete at its bar line"),
        (["1/11"] * 11, "no usual tuplet"),
        (["1/12", "1/20", "7/60"], "no usual tuplet"),
        (["17"], "a note lasts 17 whole notes; the most is 16"),
    ],
)
def test_lengths_that_cannot_be_written_are_refused(lengths: list[str], reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        music(Measure(notes=notes(*lengths)))


def test_bar_lines_join() -> None:
    whole = notes("1")
    assert (
        music(
            Measure(notes=whole, opening="|:", closing=":|"),
            Measure(notes=whole, opening="|:"),
            Measure(notes=whole, ending="1", closing=":|"),
            Measure(notes=whole, ending="2", closing="||"),
            Measure(notes=notes("1/2"), closing=""),
            Measure(notes=notes("1/2"), closing="|]"),
        )
        == "|: C8 :: C8 |1 C8 :|2 C8 || C4 C4 |]"
    )


def test_accidentals_go_on_where_there_is_no_bar_line() -> None:
    sharp = ScoreNote(pitches=(Pitch("F", 0, 1),), length=Fraction(1, 2))
    natural = ScoreNote(pitches=(Pitch("F", 0, 0),), length=Fraction(1, 2))
    assert music(Measure(notes=(sharp,), closing=""), Measure(notes=(natural,))) == "^F4 =F4 |"
    assert music(Measure(notes=(sharp, sharp)), Measure(notes=(natural, natural))) == "^F4 F4 | F4 F4 |"


def test_voices_stand_two_bars_at_a_time() -> None:
    pickup, whole = Measure(notes=notes("1/4")), Measure(notes=notes("1/2", "1/2", pitch=E))
    low = [Measure(notes=notes("1/4", pitch=D)), *[Measure(notes=notes("1", pitch=D))] * 3]
    parts = [part(pickup, whole, whole, whole, name="S"), part(*low, name="B")]
    assert write_voices(parts, clefs=["treble", "bass"]) == (
        "X:1\nL:1/8\nM:4/4\nV:S clef=treble\nV:B clef=bass\nK:C\n"
        "[V:S] C2 | E4 E4 | E4 E4 |\n[V:B] D2 | D8 | D8 |\n"
        "[V:S] E4 E4 |\n[V:B] D8 |\n"
    )


def test_voices_are_written_under_the_key_of_the_first() -> None:
    sharp = Measure(notes=(ScoreNote(pitches=(Pitch("F", 0, 1),), length=Fraction(1)),))
    parts = [part(Measure(notes=notes("1")), name="S"), part(sharp, name="B", key="G")]
    assert write_voices(parts, clefs=["treble", "bass"]).endswith("K:C\n[V:S] C8 |\n[V:B] ^F8 |\n")


def test_voices_of_different_lengths_are_refused() -> None:
    one = Measure(notes=notes("1"))
    with pytest.raises(ConversionError, match="different numbers of measures"):
        write_voices([part(one, name="S"), part(one, one, name="B")], clefs=["treble", "bass"])
