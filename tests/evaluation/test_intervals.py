import itertools
import math

import numpy as np
import pytest

from chatmusician.evaluation import intervals
from chatmusician.evaluation.intervals import bootstrap_difference, bootstrap_mean, bootstrap_ratio, wilson


def test_wilson_by_hand() -> None:
    # 10 of 40 with z = 1.959964: (0.25 + 3.841459/80 -+ 1.959964 sqrt(0.1875/40 + 3.841459/6400)) / (1 + 3.841459/40)
    share = wilson(10, 40)
    assert share.estimate == 0.25
    assert share.low == pytest.approx(0.14187, abs=1e-5)
    assert share.high == pytest.approx(0.40194, abs=1e-5)


def test_wilson_at_the_ends() -> None:
    # z^2 / (n + z^2) = 3.841459 / 13.841459
    assert (wilson(0, 10).low, wilson(0, 10).high) == (0.0, pytest.approx(0.277533, abs=1e-6))
    assert (wilson(10, 10).low, wilson(10, 10).high) == (pytest.approx(1 - 0.277533, abs=1e-6), 1.0)


def test_the_published_size_of_the_reasoning_interval() -> None:
    answers = [1.0] * 25 + [0.0] * 73
    interval = bootstrap_mean(answers)
    assert interval.estimate == pytest.approx(25 / 98)
    assert interval.high - interval.low == pytest.approx(0.17, abs=0.015)
    other = wilson(25, 98)
    assert (interval.low, interval.high) == (pytest.approx(other.low, abs=0.02), pytest.approx(other.high, abs=0.02))


def test_mean_of_three_by_all_resamples() -> None:
    # All 27 resamples of (0, 3, 6), equally likely: the means 0 to 6 come in 1, 3, 6, 7, 6, 3, 1 ways.
    exact = sorted(sum(drawn) / 3 for drawn in itertools.product((0, 3, 6), repeat=3))
    assert [exact.count(mean) for mean in range(7)] == [1, 3, 6, 7, 6, 3, 1]
    interval = bootstrap_mean([0, 3, 6], confidence=0.8, resamples=20_000)
    # 10% lies at the mean 1 (1/27 to 4/27 of them), 90% at 5.
    assert (interval.low, interval.estimate, interval.high) == (1.0, 3.0, 5.0)


def test_equal_values_leave_no_room() -> None:
    interval = bootstrap_mean([0.5] * 7)
    assert (interval.low, interval.estimate, interval.high) == (0.5, 0.5, 0.5)


def test_a_constant_difference_is_certain_though_the_items_vary() -> None:
    second = np.linspace(0, 1, 50)
    paired = bootstrap_difference(second + 0.25, second)
    assert (paired.low, paired.estimate, paired.high) == tuple(pytest.approx(0.25) for _ in range(3))


def test_difference_has_the_sign_of_first_less_second() -> None:
    interval = bootstrap_difference([1, 1, 1, 0], [0, 0, 1, 0])
    assert interval.estimate == 0.5
    assert 0 <= interval.low < 0.5 < interval.high <= 1


def test_ratio_of_sums_is_not_the_mean_of_ratios() -> None:
    interval = bootstrap_ratio([1, 9], [1, 10])
    assert interval.estimate == pytest.approx(10 / 11)
    # The resamples: (1, 1) 2/2, (1, 9) twice 10/11, (9, 9) 18/20.
    assert (interval.low, interval.high) == (pytest.approx(0.9), 1.0)


def test_a_resample_of_zero_denominators_is_left_out() -> None:
    interval = bootstrap_ratio([0, 3], [0, 4])
    assert (interval.low, interval.estimate, interval.high) == (0.75, 0.75, 0.75)


def test_same_seed_same_interval_whatever_the_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(30)
    whole = bootstrap_mean(values)
    assert bootstrap_mean(values) == whole
    assert bootstrap_mean(values, seed=5) != whole
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 100)
    assert bootstrap_mean(values) == whole


def test_coverage_is_what_it_says() -> None:
    generator = np.random.default_rng(7)
    inside = 0
    for _ in range(200):
        interval = bootstrap_mean(generator.random(60) < 0.3, resamples=500)
        inside += interval.low <= 0.3 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap_mean([]),
        lambda: bootstrap_mean([1, math.nan]),
        lambda: bootstrap_mean([1], confidence=1.0),
        lambda: bootstrap_mean([1], resamples=0),
        lambda: bootstrap_difference([1], [1, 2]),
        lambda: bootstrap_ratio([1, 2], [1]),
        lambda: bootstrap_ratio([1, 2], [0, 0]),
        lambda: bootstrap_ratio([1, 2], [3, -1]),
        lambda: wilson(1, 0),
        lambda: wilson(3, 2),
    ],
)
def test_what_has_no_interval_is_refused(call) -> None:
    with pytest.raises(ValueError):
        call()
