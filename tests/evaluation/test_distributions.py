import math

import pytest
import torch
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation.distributions import (
    LENGTHS,
    IntervalDistance,
    LengthDistance,
    jensen_shannon_distance,
)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ((1, 0), (0, 3), 1),
        ((2, 2), (1, 1), 0),
        ((4, 0), (1, 1), 0.55792),  # (log2(4/3) + log2(2/3) / 2 + 1/2) / 2 = 0.31128, and its root
        ((0, 0), (1, 1), math.nan),
    ],
)
def test_jensen_shannon_distance(first: tuple, second: tuple, distance: float) -> None:
    for p, q in ((first, second), (second, first)):
        value = jensen_shannon_distance(torch.tensor(p), torch.tensor(q))
        assert float(value) == pytest.approx(distance, abs=1e-5, nan_ok=True)


def test_intervals_are_counted_and_clipped() -> None:
    counts = IntervalDistance.histogram(answer("C D B, z c''' c'''- | c''' C |]").sounds).tolist()
    met = {index - 12: count for index, count in enumerate(counts) if count}
    assert met == {2: 1, -3: 1, 12: 1, 0: 1, -12: 1}


def test_lengths_are_counted() -> None:
    counts = LengthDistance.histogram(answer("C2 D>E F2- | F2 (3GAB z4 [CE]12 |]").sounds).tolist()
    met = {str(length): count for length, count in zip([*LENGTHS, "other"], counts, strict=True) if count}
    assert met == {"1/4": 1, "3/16": 1, "1/16": 1, "1/2": 1, "1/12": 3, "other": 1}


def test_distance_from_real_tunes() -> None:
    real = [answer("C2 D2 E2 F2 |]").sounds]  # intervals 2, 2, 1
    same, other = IntervalDistance(reference=real), IntervalDistance(reference=real)
    same.update(answer("G2 A2 B2 c2 |]"))
    other.update(answer("c2 B2 A2 G2 |]"))
    assert (float(same.compute()), float(other.compute())) == (0, 1)


def test_tunes_that_do_not_parse_add_nothing() -> None:
    metric = LengthDistance(reference=[answer("C8 |]").sounds])
    for text in NO_TUNE:
        metric.update(text_answer(text))
    assert int(metric.counts.sum()) == 0
    assert math.isnan(float(metric.compute()))


def test_ranks_add_up() -> None:
    real = [answer("CDEF GABc | c4 G4 |]").sounds]
    one, other, both = (LengthDistance(reference=real) for _ in range(3))
    for metric, body in ((one, "C8 | DEDE F4 |]"), (other, "CDEF GABc |]")):
        metric.update(answer(body))
        both.update(answer(body))
    one.merge_state(other)
    assert float(one.compute()) == float(both.compute()) > 0
