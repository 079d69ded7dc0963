import pytest

from chatmusician.music.checks import check_tune

HEADER = "X:1\nM:2/4\nL:1/8\nK:C\n"


def test_a_good_tune() -> None:
    check = check_tune(HEADER + "|:C2E2|G4:|")
    assert (check.parses, check.reason, check.bars, check.bars_right, check.wrong_bars) == (True, None, 2, 2, ())


def test_wrong_bars_are_shown() -> None:
    check = check_tune(HEADER + "C2E2|G3|c4|d5|")
    assert (check.parses, check.bars, check.bars_right) == (True, 4, 2)
    assert [bar.text for bar in check.wrong_bars] == ["G3", "d5"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1, column 1: a tune begins with an X: field such as X:1, not with ''"),
        ("Sure, here is a tune!", "not with 'Sure, here is a tune!'"),
        ("X:1\nC|", "'C|' is not a field"),
        (HEADER, "the body has no notes"),
        (HEADER + "z4|", "the body has no notes"),
        (HEADER + "C2E2", "the body has no bar lines"),
        (HEADER + "C2E2|G#2|", "line 5, column 7: '#' means nothing here in ABC"),
        (HEADER + 'C2"Am E2|', "line 5, column 3: '\"' opens a text that does not close on its line"),
        (HEADER + "{gf C2E2|", "line 5, column 1: '{' opens grace notes"),
        (HEADER + "[CE G4|", "line 5, column 1: '[' opens a chord"),
        (HEADER + "C]E|", "line 5, column 2: ']' closes a chord"),
        (HEADER + "C2\n(3CD|", "line 6, column 1: 1 notes are missing in the tuplet"),
        (HEADER + "C2|[K:Q]D2|", "line 5, column 4: 'Q' is not a key"),
        (HEADER + "C4|\nM:5/0\nD4|", "line 6, column 1: '5/0' is not a meter"),
        (HEADER + "C4|\nI hope you enjoy this tune", "line 6, column 1: 'I' means nothing"),
    ],
)
def test_what_does_not_parse(text: str, reason: str) -> None:
    check = check_tune(text)
    assert not check.parses
    assert check.reason is not None
    assert reason in check.reason
    assert "\n" not in check.reason
    assert (check.bars, check.bars_right, check.wrong_bars) == (0, 0, ())


def test_slurs_need_not_match() -> None:
    assert check_tune(HEADER + "(C2E2|G4:|").parses
