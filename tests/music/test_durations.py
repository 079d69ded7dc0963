from fractions import Fraction

import pytest

from chatmusician.music.durations import has_ending, is_border, measure
from chatmusician.music.tunes import AbcError, parse_tune


def eighths(body: str, *, meter: str = "4/4") -> list[Fraction]:
    """Durations of the bars of the first voice in eighths, which are the unit note length."""
    voices = measure(parse_tune(f"X:1\nM:{meter}\nL:1/8\nK:C\n{body}"))
    return [bar.duration * 8 for bar in voices[0]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("CDEF GABc|", [8]),
        ("C2D3/2E/F//G/4|", [2 + 1.5 + 0.5 + 0.25 + 0.25]),
        ("z2x2 C4|", [8]),
        ("(3ABc d>e f2 [ce]2|", [8]),
        ("(3ABc (3:2:2d2e (3z/A/B/|", [2 + 2 + 1]),
        ("A>B c < d|", [4]),
        ("A>{g}B|", [2]),
        ("A>\n B|", [2]),
        ("A>>B|", [2]),
        ("(3A>BA|", [2]),
        ("[ce]>[df]|", [2]),
        ("[C2E2G]3/2|", [3]),
        ("[C/E/]|", [0.5]),
        ("{gf}c2 {/g}d2|", [4]),
        ("c4 y4 d4|", [8]),
        ("CDEF & c2 d2 e2|", [6]),
        ("c4 [L:1/4] c2 [L:1/8] c|", [4 + 4 + 1]),
        ("Z|Z2|", [8, 16]),
        ("c4|\n[M:3/4] c6|M:3/4|d6|", [4, 6, 6]),
        ('"Am"!trill!.c2 "^text"~d2|', [4]),
        ("c2 \\\n d2|", [4]),
        ("|:c2|]", [2]),
        ("c8 [1 d8:|[2 e8|]", [8, 8, 8]),
    ],
)
def test_durations(body: str, expected: list[float]) -> None:
    assert eighths(body) == expected


@pytest.mark.parametrize(("meter", "length"), [("4/4", 2), ("2/4", 2), ("6/8", 3), ("9/8", 3), ("12/8", 3), ("3/8", 2)])
def test_quintuplets_go_by_the_meter(meter: str, length: int) -> None:
    assert eighths("(5ABcde|", meter=meter) == [length]


def test_broken_rhythm_and_its_doubles_are_exact() -> None:
    first, second, third = (eighths(f"A{sign}B2|C") for sign in (">", ">>", "<<<"))
    assert first == [Fraction(3, 2) + 1, 1]
    assert second == [Fraction(7, 4) + Fraction(1, 2), 1]
    assert third == [Fraction(1, 8) + Fraction(15, 4), 1]


def test_tuplets_that_no_power_of_two_divides() -> None:
    assert eighths("(7:4ABcdefg (11:8ABcdefgabc'd'|") == [12]
    assert eighths("(13:8:1A|") == [Fraction(8, 13)]


def test_a_bar_knows_its_place_and_its_bar_lines() -> None:
    tune = parse_tune("X:1\nM:2/4\nL:1/8\nK:C\n|:CD\nEF|G4:|\n|:A4|1B4:|2c4|]")
    (bars,) = measure(tune)
    assert [(bar.text, bar.opening, bar.closing, bar.line, bar.column) for bar in bars] == [
        ("CD\nEF", "|:", "|", 5, 3),
        ("G4", "|", ":||:", 6, 4),
        ("A4", ":||:", "|1", 7, 3),
        ("B4", "|1", ":|2", 7, 7),
        ("c4", ":|2", "|]", 7, 12),
    ]
    assert {bar.expected for bar in bars} == {Fraction(1, 2)}


def test_voices_are_counted_each_for_itself() -> None:
    tune = parse_tune("X:1\nM:2/4\nL:1/8\nK:C\nV:1\nCDEF|G4|\nV:2\nC,4|\nV:1\n[M:3/4]A6|\n[V:2]G,4|")
    voices = [bars for bars in measure(tune) if bars]
    assert [[(bar.voice, bar.text, bar.adds_up) for bar in bars] for bars in voices] == [
        [("1", "CDEF", True), ("1", "G4", True), ("1", "A6", True)],
        [("2", "C,4", True), ("2", "G,4", True)],
    ]


def test_free_meter_expects_nothing() -> None:
    (bars,) = measure(parse_tune("X:1\nL:1/8\nK:C\nCDE|F|"))
    assert [(bar.expected, bar.adds_up) for bar in bars] == [(None, True), (None, True)]


@pytest.mark.parametrize(
    ("body", "column", "reason"),
    [
        ("(3AB|", 1, "1 notes are missing in the tuplet"),
        ("(3A (3Bcd|", 5, "2 notes are missing in the tuplet before"),
        (">A|", 1, "broken rhythm needs a note"),
        ("A>>>>B|", 5, "broken rhythm needs a note"),
        ("(13ABc|", 1, "write it as"),
        ("A[M:6/7]B|", 2, "'6/7' is not a meter"),
        ("A[L:0]B|", 2, "'0' is not a unit note length"),
    ],
)
def test_faults_have_a_place(body: str, column: int, reason: str) -> None:
    with pytest.raises(AbcError) as caught:
        eighths(body)
    assert (caught.value.line, caught.value.column) == (5, column)
    assert reason in caught.value.reason


def test_bar_lines() -> None:
    assert [line for line in ("|", "||", "|]", ":|", "|:", "::", "[|", "|1", ".|", ":|2") if is_border(line)] == [
        "||",
        "|]",
        ":|",
        "|:",
        "::",
        "[|",
        ":|2",
    ]
    assert [line for line in ("|", "|1", ':||:["last"', "[|", ":|2") if has_ending(line)] == [
        "|1",
        ':||:["last"',
        ":|2",
    ]
