import math

import pytest

from chatmusician.evaluation.composition import BarRate, CopiedRate, ParseRate
from chatmusician.music.checks import check_tune

GOOD = "X:1\nL:1/8\nM:4/4\nK:C\nCDEF GABc | cBAG FEDC |]\n"
SHORT_BAR = "X:1\nL:1/8\nM:4/4\nK:C\nCDEF GABc | cBAG FE | CDEF GABc | c8 |]\n"
BROKEN = "X:1\nL:1/8\nM:4/4\nK:C\n[CDEF GABc | c8 |]\n"


def test_parse_rate_counts_answers_without_a_tune() -> None:
    rate = ParseRate()
    for check in (check_tune(GOOD), check_tune(BROKEN), None, check_tune(SHORT_BAR)):
        rate.update(check)
    assert float(rate.compute()) == 0.5


def test_bar_rate_sums_bars_and_not_tunes() -> None:
    rate = BarRate()
    for check in (check_tune(GOOD), check_tune(SHORT_BAR), check_tune(BROKEN), None):
        rate.update(check)
    assert float(rate.compute()) == pytest.approx(5 / 6)  # 2 of 2 and 3 of 4


def test_copied_rate() -> None:
    rate = CopiedRate(melodies=frozenset({"1,1,-2"}))
    for melody in ("1,1,-2", "1,1,2", None, ""):
        rate.update(melody)
    assert float(rate.compute()) == 0.25


def test_nothing_counted_is_not_a_number() -> None:
    assert math.isnan(float(BarRate().compute()))


def test_rates_of_two_ranks_are_sums() -> None:
    one, other = BarRate(), BarRate()
    one.update(check_tune(GOOD))
    other.update(check_tune(SHORT_BAR))
    one.hits += other.hits
    one.total += other.total
    assert float(one.compute()) == pytest.approx(5 / 6)
