from itertools import product
from typing import Any

import pytest

from chatmusician.modeling.resuming import micro_batch_seed, realign


def counts(ready: int, completed: int) -> dict[str, int]:
    return {"ready": ready, "started": ready, "processed": ready, "completed": completed}


@pytest.mark.parametrize(
    ("saved", "now", "ready", "aligned"),
    [
        (2, 4, 5, 8),  # drawn in the module: two steps are whole, the third starts over
        (4, 2, 8, 4),
        (4, 1, 7, 1),
        (1, 8, 3, 24),
        (4, 4, 8, 8),
        (4, 4, 10, 8),
        (4, 4, 0, 0),
    ],
)
def test_progress_is_counted_in_the_micro_batches_of_the_run_that_goes_on(
    saved: int, now: int, ready: int, aligned: int
) -> None:
    progress: dict[str, Any] = {"current": counts(ready, ready), "total": counts(ready, ready), "is_last_batch": False}
    realign(progress, saved=saved, now=now)
    assert progress == {"current": counts(aligned, aligned), "total": counts(aligned, aligned), "is_last_batch": False}


def test_what_tells_where_a_checkpoint_was_made_stays() -> None:
    """Saved at the end of a batch that is not yet counted as completed, in the second epoch of 6 micro-batches."""
    progress = {"current": counts(4, 3), "total": counts(10, 9)}
    realign(progress, saved=2, now=1)
    assert progress == {"current": counts(2, 1), "total": counts(5, 4)}


def test_seeds_differ_by_step_micro_batch_rank_and_run_and_by_nothing_else() -> None:
    places = list(product(range(3), range(4), range(4), range(4)))
    seeds = [micro_batch_seed(seed, step=step, micro_batch=micro, rank=rank) for seed, step, micro, rank in places]
    assert len(set(seeds)) == len(places)
    assert seeds == [
        micro_batch_seed(seed, step=step, micro_batch=micro, rank=rank) for seed, step, micro, rank in places
    ]
    assert all(0 <= seed < 2**64 for seed in seeds)
