r"""What may follow a text, worked out by hand.

A bar of the jig lasts 6 unit note lengths, one of the reel 8. A full bar is written first, since the first bar of a
tune may have any length below it.
"""

import pytest
from reading import BARS, SYNTAX, followers, may_end, refused_at, state_after

from chatmusician.generation.constraint.answers import Doubt, Prose
from chatmusician.generation.constraint.tunes import Body, Header

JIG = "X:1\nL:1/8\nM:6/8\nK:D\nc6|"
REEL = "X:1\nL:1/8\nM:4/4\nK:D\nc8|"
CHARACTERS = "123456789Az[()|]:/>&Z\n;"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JIG, "123456789Az[()|]:Z\n"),
        (JIG + "c", "12345679Az[()|:/>&\n"),  # 7/2 and 9/2 leave 5/2 and 3/2; 8 could only be halved to 4, which is 4
        (JIG + "c4", "Az[()|:/&\n"),  # > would make it 6, with no room for its partner
        (JIG + "c3d3", "[()|:/&\n"),  # full: no note, but d3/ is shorter
        (JIG + "c5d", "13[()|:/&\n"),  # 3/2 is too long, 3/4 is not
        (JIG + "c4d>", "Az[()>\n"),  # a partner must come: 3/2 + 1/2
        (JIG + "c4d>e", "1[()|:/&\n"),  # e1 is e
        (REEL + "(3A", "12345679Az[()/>\n"),  # the triplet lacks two notes, so no bar line
        (REEL + "(3A6", "Az[()/\n"),  # lasts 4, and the other two can last 2 each
        (REEL + "(3ABc", "1457Az[()|:/&\n"),  # 4/3 and 2/3 of 1, 4, 7 or 5/2: the rest can be filled
        (REEL + "(3ABc d6", "[()|:/&\n"),
        (REEL + "d[ce]", "12345679Az[()|:/>&\n"),
        (REEL + "Z", "123456789[()|:\n"),  # fills the bar, without layers
        (REEL + "c4&", "Az[()|:&\n"),
        (REEL + "[", "123456789A()|"),  # an ending, a chord, a thick bar line
    ],
)
def test_what_fits_the_bar(text: str, expected: str) -> None:
    assert followers(BARS, text, among=CHARACTERS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JIG + "c5|", "12|]:["),  # short: an ending, or a double bar line of which the next bar brings the rest
        (JIG + "c5||", "A|]:["),  # ...and here it must
        (JIG + "c5||e", "1|:["),
        (JIG + "c4|1", "12A["),  # a number of two digits
        (JIG + "c4|1c2:|2", "12A["),
        ("X:1\nL:1/8\nM:6/8\nK:D\ne|c6|c5|", "12|]:["),
        ("X:1\nL:1/8\nM:6/8\nK:D\ne|c6|c5||", "12A|]:["),
        ("X:1\nL:1/8\nM:6/8\nK:D\ne|c6|c4|", "12|]:["),
    ],
)
def test_where_a_bar_may_be_short(text: str, expected: str) -> None:
    assert followers(BARS, text, among="12A|]:[") == expected


@pytest.mark.parametrize(
    ("music", "ends"),
    [
        ("c6|", True),
        ("c6", False),
        ("c6|\n", True),
        ("c6|c5", False),
        ("c6|c5|", False),
        ("c6|c5||", False),  # the next bar owes 1
        ("c6|c5||e|", True),
        ("e|c6|c5|]", True),  # the pickup completes it
        ("e|c6|c4|]", False),
        ("c6|c4|1c2:|2c2|]", True),
        ("c6|c4|1c2:|2c|]", False),
        ("c6|c4|1", False),
        ("c6|:", False),
        ("z6|", False),  # no note
        ("c6|(3c2d2e2 c2|", True),
        ("c6|c>d c>d c>d|", True),
        ("c6|[M:9/8]c9|", True),
        ("c6|[L:1/4]c3|", True),
        ("c6|c6&d4|", True),
        ("V:1\nc6|\nV:2\nc6|", True),
        ("V:1\nc6|\nV:2\nc6|d6", False),
        ("V:1\nc6|d6\nV:2\nc6|", False),  # the first voice has not closed its bar
    ],
)
def test_where_a_tune_may_end(music: str, *, ends: bool) -> None:
    state = state_after(BARS, "X:1\nL:1/8\nM:6/8\nK:D\n" + music)
    found = state is not None and may_end(state)
    assert found is ends


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("X:1\nM:6/8\nK:D\nc7|", 16),  # without L: the unit is 1/8 in 6/8
        ("X:1\nM:2/4\nK:D\nc8|c8|", None),  # and 1/16 in 2/4
        ("X:1\nM:6/7\n", 8),
        ("X:1\nM:none\nK:D\nc7|c8|", None),
        ("X:1\nM:6/8\nM:9/8\nK:D\nc9|", None),
        ("X:1\nU:h=!trill!\nK:D\nhc8|", None),
        ("X:1\nK:D\nhc8|", 8),
    ],
)
def test_headers_decide(text: str, place: int | None) -> None:
    assert refused_at(BARS, text) == place


@pytest.mark.parametrize("grammar", [SYNTAX, BARS], ids=["syntax", "bars"])
@pytest.mark.parametrize(
    "text",
    [
        "A reel has 4/4 | and a jig 6/8; key: none. K: is a field; X: too.",
        "Certainly! 100% of (these] are {prose\x07 \N{SNOWMAN}",
        "Key\nK: is no key of D|D|\n",
    ],
)
def test_prose_is_free(text: str, grammar: object) -> None:
    state = state_after(grammar, text)  # type: ignore[arg-type]
    assert isinstance(state, Prose)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Here it is: X:12", Prose),
        ("Here it is: X:12\n", Header),
        ("X:12 % a number\n", Header),
        ("X:1\nK:D\n", Body),
        ("M:6/8\nK:D\n", Doubt),  # a header without X: if music follows
        ("M:6/8\nK:D\nc6|", Body),
        ("M:6/8\nK:D\nnothing of the kind", Doubt),
        ("X:1\nK:D\nc|\n\n", Doubt),  # music may go on after an empty line
        ("X:1\nK:D\nc|\n\nThat was it.\n", Prose),
        ("X:1\nK:D\nc|\n\nd|", Body),
        ("X:1\nK:D\nc|\n```", Prose),
        ("X:1\nK:D\nc|\nX:2\n", Header),
    ],
)
def test_where_tunes_begin_and_end(text: str, kind: type) -> None:
    assert isinstance(state_after(SYNTAX, text), kind)


@pytest.mark.parametrize(
    "text",
    [
        "X:1\nK:D\nc|\n\nWrong | music;",  # its bar line would make it part of the tune
        "X:1\nK:D\nabc def Hello",  # a line of the tune that means nothing
        "X:1\nK:D\n\n",  # a tune without music
        "X:1\nand prose",
        'X:1\nK:D\n"no end\n',
        "X:1\nK:D\n{gf\n",
        "X:1\nK:D\n(3ab|",
        "X:1\nK:D\n>a",
        "X:1\nK:D\nc|[1",
    ],
)
def test_what_no_tune_may_be(text: str) -> None:
    assert refused_at(SYNTAX, text) is not None


def test_syntax_counts_no_bars() -> None:
    assert refused_at(SYNTAX, "X:1\nL:1/8\nM:6/8\nK:D\nc|d19|e5:|2f|]") is None
    assert refused_at(BARS, "X:1\nL:1/8\nM:6/8\nK:D\nc|d19|e5:|2f|]") == 24
