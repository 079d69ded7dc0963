from fractions import Fraction

import pytest

from chatmusician.music.beams import beam, group_length
from chatmusician.music.lexer import Kind, tokenize
from chatmusician.music.tunes import parse_meter

KEPT = (Kind.NOTE, Kind.REST, Kind.CHORD, Kind.TUPLET, Kind.BROKEN, Kind.TIE)


@pytest.mark.parametrize(
    ("meter", "length"),
    [("6/8", "3/8"), ("9/8", "3/8"), ("C", "1/2"), ("C|", "1/2"), ("4/4", "1/2"), ("2/4", "1/4"), ("3/4", "1/4")],
)
def test_group_length(meter: str, length: str) -> None:
    assert group_length(parse_meter(meter)) == Fraction(length)


@pytest.mark.parametrize(
    ("meter", "music", "grouped"),
    [
        ("6/8", "c2BA2D", "c2B A2D"),  # the drawing of the module's docstring
        ("6/8", "G3GAB", "G3 GAB"),
        ("4/4", "cdefgfed", "cdef gfed"),
        ("4/4", "c4c2", "c4 c2"),
        ("C", "A B c d e2 f2", "ABcd e2f2"),
        ("3/4", "A6", "A6"),
        ("3/4", "A3Bc2", "A3 B c2"),  # B begins half-way through the second beat, into which A lasts
        ("4/4", "(3GAB cd e>f g2", "(3GABcd e>fg2"),
        ("4/4", "A2 B- B c2 d2", "A2B-B c2d2"),
        ("2/4", "a>b c<d", "a>b c<d"),
        ("2/4", "A>>B c2", "A>>B c2"),
        ("4/4", "A2 (3Bcd A4", "A2(3Bcd A4"),
        ("4/4", "[CE]2 G2 z4", "[CE]2G2 z4"),
    ],
)
def test_groups_are_beats(meter: str, music: str, grouped: str) -> None:
    tokens = [token for token in tokenize(music) if token.kind in KEPT]
    groups = beam(tokens, unit=Fraction(1, 8), meter=parse_meter(meter), pickup=False)
    assert " ".join(groups) == grouped


def test_a_pickup_is_counted_from_its_end() -> None:
    tokens = tokenize("FGABc")
    assert beam(tokens, unit=Fraction(1, 8), meter=parse_meter("4/4"), pickup=True) == ["F", "GABc"]
    assert beam(tokens, unit=Fraction(1, 8), meter=parse_meter("4/4"), pickup=False) == ["FGAB", "c"]
