"""The machine held against the checks, on the tunes of the folk collections in the project's layout."""

import pytest
from reading import BARS, SYNTAX, refused_at

from chatmusician.data.folk import FolkCollections
from chatmusician.music.checks import check_tune

LEFT_OUT = ("A>G G> ||", "d3/e//f//", "(3d/e/f |")
"""What the checks take and the machine does not: broken rhythm whose partner is in the next bar; notes and triplets
after which the time left in a bar is no multiple of a 32nd, nor of a part of the unit note length.
"""


@pytest.fixture(scope="module")
def tunes() -> list[str]:
    collections = FolkCollections()
    return [tune.abc for split in ("validation", "test") for tune in collections.tunes(split)]


def test_real_tunes_pass_as_the_checks_say(tunes: list[str]) -> None:
    """Of all 4,218 tunes, 1 that parses and 3 of the 3,858 whose bars add up are refused."""
    assert len(tunes) > 350
    for abc in tunes:
        check = check_tune(abc)
        assert check.parses
        if any(left_out in abc for left_out in LEFT_OUT):
            continue
        assert refused_at(SYNTAX, abc) is None, abc
        assert (refused_at(BARS, abc) is None) == (check.bars == check.bars_right), abc


@pytest.mark.parametrize("wrapped", ["Here is a reel:\n{}\n\nI hope you like it.", "```\n{}\n```\nDone.", "{}\n\n{}"])
def test_tunes_in_answers_pass(tunes: list[str], wrapped: str) -> None:
    for abc in tunes[::10]:
        assert refused_at(SYNTAX, wrapped.replace("{}", abc)) is None, abc


def test_a_real_tune_without_its_number_passes(tunes: list[str]) -> None:
    for abc in tunes[::10]:
        whole = check_tune(abc)
        if whole.bars == whole.bars_right:
            assert refused_at(BARS, abc.partition("\n")[2]) is None, abc
