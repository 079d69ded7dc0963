from fractions import Fraction

import pytest

from chatmusician.music.bars import bars
from chatmusician.music.tunes import parse_tune


def verdicts(body: str, *, meter: str = "6/8") -> list[tuple[str, bool]]:
    return [(bar.text, bar.adds_up) for bar in bars(parse_tune(f"X:1\nM:{meter}\nL:1/8\nK:C\n{body}"))]


def wrong(body: str, *, meter: str = "6/8") -> list[str]:
    return [text for text, right in verdicts(body, meter=meter) if not right]


def test_the_example_of_the_docstring() -> None:
    tune = "B | c2B A2D | G3 G2 :|: d | e2d cBA |1 G3 E2 :|2 G3 G3 || c2 | B6 | {} |]"
    judged = bars(parse_tune(f"X:1\nM:6/8\nL:1/8\nK:C\n{tune.format('A4')}"))
    assert [bar.duration * 8 for bar in judged] == [1, 6, 5, 1, 6, 5, 6, 2, 6, 4]
    assert wrong(tune.format("A4")) == []
    assert wrong(tune.format("A3")) == ["A3"]
    assert wrong(tune.format("A4").replace("B6", "B5")) == ["B5"]


@pytest.mark.parametrize(
    "body",
    [
        "c3 d3|e6|]",  # full bars
        "c|d6|e5|]",  # the last bar and the pickup of the tune
        "c|d6|e5:|f|g6|a5:|",  # each section with its own pickup
        "c|d6|e5||f|g6|a5|]",  # double bars, not repeated
        "d6|e5||f|g6|a6|]",  # the last bar of a section and the pickup of the next
        "d6|e3::f3|g6|]",  # a bar cut by a repeat sign
        "d6|e3:|\n|:f3|g6|]",  # the same over a line end
        "c|d6|1 e5:|2 f5|]",  # both endings with the pickup
        "c|d6|1 e5:|2 f6|]",  # the second one full
        "c6|d4[1 e2:|2 f2|]",  # endings that begin inside a bar
        "c|d6|d3[1 e2:|2 f2|]",  # the same, with a pickup to go back to
        "|:c6|d4 z:|:f|g6|a5|]",  # a rest for the pickup
        "c|:d6|e5:|",  # a pickup before the repeat
        "c5|d6|e6|]",  # a short first bar of the tune
    ],
)
def test_what_adds_up(body: str) -> None:
    assert wrong(body) == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("c6|d5|e6|]", ["d5"]),  # short inside a section
        ("c6|d7|e6|]", ["d7"]),  # long inside a section
        ("c|d6|e6|f4|]", ["f4"]),  # short at the end, and the pickup is too small
        ("c6|d5|]", ["d5"]),  # short at the end, and there is no pickup
        ("c6|d5||e6|]", ["d5"]),  # short at a double bar before a full bar
        ("c6|d4||e|f6|]", ["d4"]),  # short at a double bar before too small a pickup
        ("c7|d6|]", ["c7"]),  # long at the start
        ("c|d6|e6:|", []),  # a full last bar after a pickup is allowed
        ("c6|d6|1 e5:|2 f6|]", ["e5"]),  # an ending that nothing completes
        ("c6|d4[1 e2:|2 f3|]", ["f3"]),  # a second ending that does not fill the bar
        ("c6|d5[1 e2:|2 f|]", ["d5", "e2"]),  # the first one does not, the second does
        ("c|d6|e5|f6|g6|]", ["e5"]),  # a pickup completes nothing but ends of sections
    ],
)
def test_what_does_not(body: str, found: list[str]) -> None:
    assert wrong(body) == found


def test_the_meter_in_force_counts() -> None:
    assert wrong("c8|[M:3/4]d6|e8|[M:none]f|[M:2/4]g4|a6|", meter="4/4") == ["e8", "a6"]


def test_a_voice_is_not_completed_by_another() -> None:
    assert wrong("V:1\nc|d6|e5|]\nV:2\nC6|D6|E5|]") == ["E5"]


def test_expected_and_rests_for_whole_bars() -> None:
    (first, second) = bars(parse_tune("X:1\nM:6/8\nL:1/8\nK:C\nZ2|c6|"))
    assert (first.duration, first.expected, first.adds_up) == (Fraction(3, 2), Fraction(3, 2), True)
    assert second.expected == Fraction(3, 4)
