"""Whatever the machine lets pass parses, and with ``bars`` adds up: texts at random, a character at a time."""

import random
import string

import pytest
from reading import BARS, SYNTAX

from chatmusician.generation.constraint.answers import Doubt, Prose, State
from chatmusician.generation.constraint.tunes import Body
from chatmusician.music.checks import check_tune
from chatmusician.music.extraction import extract_tune

LENGTH = 300
WEIGHTS = (
    dict.fromkeys(string.printable, 1.0)
    | dict.fromkeys("ABCDEFGabcdefgz", 7.0)
    | dict.fromkeys(" 23/", 9.0)
    | dict.fromkeys("><([", 4.0)
    | {"|": 61.0, ":": 21.0, "]": 21.0, "\n": 3.0}
    | dict.fromkeys("\xc3\xa9\xe2\x80\xa8\x85\xc2\0", 0.2)
)
STARTS = (
    *("X:1\n", "X:1\nK:C\n", "Here:\nM:6/8\nL:1/8\nK:G\n", "X:1\nM:2/4\nL:1/8\nK:C\nC2D2|\n\n"),
    *(f"X:1\nM:{meter}\nL:{unit}\nK:D\n" for meter in ("4/4", "6/8", "3/4", "C|") for unit in ("1/8", "1/16")),
)


@pytest.mark.parametrize("counted", [False, True], ids=["syntax", "bars"])
@pytest.mark.parametrize("seed", range(60))
def test_what_may_end_is_right(seed: int, *, counted: bool) -> None:
    """Wherever a tune may end, its text so far is held against the checks. No text is without a next character."""
    draw = random.Random(seed)
    grammar = BARS if counted else SYNTAX
    text = STARTS[seed % len(STARTS)]
    state: State | None = grammar.steps(Prose(), text)
    assert state is not None
    for _ in range(LENGTH):
        order = sorted(WEIGHTS, key=lambda c: draw.random() ** (1 / WEIGHTS[c]), reverse=True)
        found = next(((c, after) for c in order if (after := grammar.step(state, c)) is not None), None)
        assert found is not None, f"nothing may follow {text!r}"
        text, state = text + found[0], found[1]
        if isinstance(state, Prose | Doubt) or (isinstance(state, Body) and state.may_end and draw.random() < 0.2):
            _hold_against_the_checks(text, counted=counted)


def _hold_against_the_checks(text: str, *, counted: bool) -> None:
    tune = extract_tune(text.encode("latin-1").decode("utf-8", "replace")).abc
    if tune is not None:
        check = check_tune(tune)
        assert check.parses, f"{check.reason}\n{text!r}"
        assert not counted or check.bars == check.bars_right, f"{check.wrong_bars}\n{text!r}"
