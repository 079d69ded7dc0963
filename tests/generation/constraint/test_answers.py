r"""What may follow a text, worked out by hand, in the unit 1/8 unless the header says otherwise."""

import pytest
from reading import BARS, SYNTAX, followers, may_end, refused_at, state_after

from chatmusician.generation.constraint.tunes import Body, Header

JIG = "X:1\nL:1/8\nM:6/8\nK:D\n"  # a bar lasts 6
REEL = "X:1\nL:1/8\nM:4/4\nK:D\n"  # a bar lasts 8
FULL = "c6|"  # a bar of a jig, so that the next is not the first of its section


@pytest.mark.parametrize(
    ("text", "may", "may_not"),
    [
        (JIG + FULL, "AazZ[(: \n", "12&>;?#*\0"),  # nothing to broaden, and an ending needs no | twice
        (JIG + FULL + "c", "23456/>A", "789|0"),  # up to the whole bar; 1 of 6 is no bar
        (JIG + FULL + "c4", "Az ", "3456|>&"),  # c4> would last 6, with no room for its partner
        (JIG + FULL + "c3d3", " |:", "Az2>/[3("),
        (JIG + FULL + "c5", "AzB", "|:"),
        (JIG + FULL + "c5d", "|:/", "2>Az"),  # /: a rest of 1/2 can come
        (JIG + FULL + "c4d>", "e^z[", "|(~>"[:1] + "\0"),
        (JIG + FULL + "c6||", "A|:]", "&2"),
        (JIG + FULL + "c5|", "|:]", "Az1\n"[:3]),  # short: right only as the start of another bar line
        (REEL + "c8|(3A", "Bz2", "|(:"),
        (REEL + "c8|(3AB", "cz", "|("),
        (REEL + "c8|(3ABc", "dz(", "|:"),  # 2 of 8
        (REEL + "c8|(3ABc d6", "|:", "Az"),
        (REEL + "c8|(3A6", "Bz", "|2345"),  # each lasts 4: 12 of them in 8
        (REEL + "c8|c6(", ")Az3", "459|"[:2]),
        (REEL + "c8|c7(", "Az", "3456"),  # no triplet of usual lengths in 1
    ],
)
def test_what_fits_the_bar(text: str, may: str, may_not: str) -> None:
    assert followers(BARS, text, among=may) == may
    assert followers(BARS, text, among=may_not) == ""
