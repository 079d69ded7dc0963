from fractions import Fraction

import pytest

from chatmusician.errors import UserError
from chatmusician.music.tunes import AbcError, parse_meter, parse_tune, parse_unit_note_length, split_tunes

FILE = """% Tunes of the valley
Prose about them.

X:1
T:First % with a comment
M:6/8
K:G
GAB c2d|

The tune above is often played twice.

X: 2
K:D
d2|
X:3
K:A
a2|
"""


def test_splits_at_x_and_ends_at_an_empty_line() -> None:
    tunes = split_tunes(FILE, source="valley.abc")
    assert [(tune.line, tune.text) for tune in tunes] == [
        (4, "X:1\nT:First % with a comment\nM:6/8\nK:G\nGAB c2d|"),
        (12, "X: 2\nK:D\nd2|"),
        (15, "X:3\nK:A\na2|"),
    ]
    assert {tune.source for tune in tunes} == {"valley.abc"}


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_reads_line_ends_of_all_systems(end: str) -> None:
    assert split_tunes(FILE.replace("\n", end)) == split_tunes(FILE)


def test_text_without_tunes_gives_none() -> None:
    assert split_tunes("No music here: X:1 is not at the start of a line") == []


def test_header_of_a_tune() -> None:
    tune = parse_tune(split_tunes(FILE)[0])
    assert [(field.name, field.value, field.line) for field in tune.fields] == [
        ("X", "1", 4),
        ("T", "First", 5),
        ("M", "6/8", 6),
        ("K", "G", 7),
    ]
    assert (tune.number, tune.title, tune.rhythm) == (1, "First", None)
    assert (tune.meter.beats, tune.meter.unit, tune.meter.bar_length) == (6, 8, Fraction(3, 4))
    assert tune.unit_note_length == Fraction(1, 8)
    assert str(tune.key) == "G"
    assert (tune.body, tune.body_line) == ("GAB c2d|", 8)


def test_header_and_body_are_the_whole_text() -> None:
    text = "X:7\n%%scale 0.7\nR:reel\nK:D\nA|B\n  c\t|"
    tune = parse_tune(text)
    assert text.endswith("\n" + tune.body)
    assert tune.rhythm == "reel"


@pytest.mark.parametrize(
    ("meter", "beats", "length", "compound", "unit"),
    [
        ("C", 4, Fraction(1), False, Fraction(1, 8)),
        ("C|", 2, Fraction(1), False, Fraction(1, 8)),
        ("2/4", 2, Fraction(1, 2), False, Fraction(1, 16)),
        ("3/4", 3, Fraction(3, 4), False, Fraction(1, 8)),
        ("3/8", 3, Fraction(3, 8), False, Fraction(1, 16)),
        ("6/8", 6, Fraction(3, 4), True, Fraction(1, 8)),
        ("12/8", 12, Fraction(3, 2), True, Fraction(1, 8)),
        ("2+3/8", 5, Fraction(5, 8), False, Fraction(1, 16)),
        ("(2+3+2)/8", 7, Fraction(7, 8), False, Fraction(1, 8)),
        ("none", None, None, False, Fraction(1, 8)),
        ("", None, None, False, Fraction(1, 8)),
    ],
)
def test_meters(meter: str, beats: int | None, length: Fraction | None, compound: bool, unit: Fraction) -> None:
    read = parse_meter(meter)
    assert (read.beats, read.bar_length, read.compound, read.unit_note_length) == (beats, length, compound, unit)


@pytest.mark.parametrize("meter", ["4", "0/4", "4/0", "4/5", "6/8/2", "D", "-3/4", "99999/8"])
def test_bad_meters(meter: str) -> None:
    with pytest.raises(ValueError, match="is not a meter; write one such as 6/8"):
        parse_meter(meter)


def test_unit_note_lengths() -> None:
    assert parse_unit_note_length("1/16") == Fraction(1, 16)
    assert parse_unit_note_length("1") == 1
    with pytest.raises(ValueError, match="'1/0' is not a unit note length"):
        parse_unit_note_length("1/0")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("T:Title\nX:1\nK:C\nC|", 1, "begins with an X: field"),
        ("", 1, "begins with an X: field"),
        ("X:1\nT:no key", 1, "no K: field"),
        ("X:1\nCDEF|\nK:C", 2, "'CDEF|' is not a field; the header ends at K:"),
        ("X:1\n\nK:C\nC|", 2, "an empty line in the header"),
        ("X:one\nK:C\nC|", 1, "'one' is not a tune number"),
        ("X:1\nM:four\nK:C\nC|", 2, "'four' is not a meter"),
        ("X:1\nL:1/q\nK:C\nC|", 2, "'1/q' is not a unit note length"),
        ("X:1\nK:H\nC|", 2, "'H' is not a key"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(AbcError) as caught:
        parse_tune(text)
    assert caught.value.line == line
    assert reason in caught.value.reason
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_errors_count_lines_in_the_file() -> None:
    tune = split_tunes("\n\nX:1\nM:2/5\nK:C\nC|", source="a.abc")[0]
    with pytest.raises(AbcError, match=r"^a\.abc, line 4, column 3: '2/5' is not a meter"):
        parse_tune(tune)
