import pytest

from chatmusician.music.motif import section_motifs
from chatmusician.music.tunes import parse_tune


def motifs(body: str) -> tuple[str, ...]:
    return section_motifs(parse_tune(f"X:1\nM:2/4\nL:1/8\nK:C\n{body}"))


@pytest.mark.parametrize(
    ("body", "motif"),
    [
        ("|:EFGA EFG2|EFGA B4:|", "EFGA"),  # the example of the docstring
        ("E2GB d2c2|B2A2 z4|E2GB d2c2|B2A2 c4|", "E2GB d2c2 B2A2"),  # spaces stay, the bar line becomes one
        ('"C"E.F ~G2|"G"{a}EF !f!G2|a4|', "EF G2"),  # what only decorates is dropped
        ("(EF)G2|a4|(EF)G2|b4|", "(EF)G2"),  # slurs that close inside stay
        ("(EF G2|a4)|(EF G2|b4)|", "EF G2"),  # others go
        ("(3EFG a|b2|(3EFG a|c2|", "(3EFG a"),  # a tuplet whole
        ("(3EFG|a|(3EFa|b|", "(3EFG a (3EFa b"),  # its first two notes are no motif
        ("E>F a|b2|E>F g|c2|", "E>F"),  # broken rhythm whole
        ("C>D|E2|D>C|F2|", "C>D E2 D>C F2"),  # nothing returns: all notes, nine at most
        ("CDEF|GABc|defg|", "CDEF GABc d"),
        ("E z F|a2|E z F|b2|", "E z F"),  # rests stay between notes
        ("[CE]G|a2|[CE]G|b2|", "[CE]G"),
        ("C-C D|a4|C-C D|b4|", "C-C D"),
        ("C4|", ""),
    ],
)
def test_motifs(body: str, motif: str) -> None:
    assert motifs(body) == (motif,)


def test_the_more_frequent_of_two_motifs_of_a_length() -> None:
    assert motifs("CD|a|ef|b|ef|c'|CD|g|ef|d'|") == ("ef",)


def test_one_motif_a_section() -> None:
    assert motifs("|:CDE2|CDE2:|\n|:gfe2|gfe2:|") == ("CDE2", "gfe2")
