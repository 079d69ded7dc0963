import tracemalloc

import numpy as np
import pytest

from chatmusician.data.sampler import BatchPlan, EvaluationOrder, RowOrder, TrainingOrder


def rows_of(order: TrainingOrder) -> list[list[int]]:
    return [batch.rows.tolist() for batch in order]


def training_order(
    *, rows: int, micro_batch: int, accumulate: int, ranks: int = 1, rank: int = 0, epoch: int = 0, first_step: int = 0
) -> TrainingOrder:
    return TrainingOrder(
        order=RowOrder(rows=rows, seed=7),
        plan=BatchPlan(micro_batch=micro_batch, accumulate=accumulate, ranks=ranks),
        rank=rank,
        epoch=epoch,
        first_step=first_step,
    )


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 15, 16, 17, 63, 65, 100, 255, 1000, 1025, 4097])
def test_every_epoch_has_every_row_once(rows: int) -> None:
    order = RowOrder(rows=rows, seed=1234)
    for epoch in range(3):
        assert sorted(order(range(rows), epoch=epoch)) == list(range(rows))


def test_epochs_and_seeds_differ() -> None:
    orders = [RowOrder(rows=100, seed=seed)(range(100), epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    for a, b in ((0, 1), (0, 2), (0, 3), (1, 2)):
        assert np.sum(orders[a] == orders[b]) < 10  # about one place in a hundred agrees by chance


def test_rows_next_to_each_other_are_scattered() -> None:
    order = RowOrder(rows=1000, seed=0)(range(1000), epoch=0)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.1
    assert not np.array_equal(order, np.arange(1000))


def test_a_position_is_computed_without_those_before_it() -> None:
    order = RowOrder(rows=1000, seed=5)
    assert order([731, 2], epoch=4).tolist() == [order(range(1000), epoch=4)[731], order(range(1000), epoch=4)[2]]


def test_the_shares_drawn_in_the_module() -> None:
    a, b, c, d, e, f, g, h = RowOrder(rows=8, seed=7)(range(8), epoch=0).tolist()
    one_rank = training_order(rows=8, micro_batch=1, accumulate=4)
    assert rows_of(one_rank) == [[a], [b], [c], [d], [e], [f], [g], [h]]
    ranks = [training_order(rows=8, micro_batch=1, accumulate=2, ranks=2, rank=rank) for rank in (0, 1)]
    assert rows_of(ranks[0]) == [[a], [c], [e], [g]]
    assert rows_of(ranks[1]) == [[b], [d], [f], [h]]
    assert [len(order) for order in (one_rank, *ranks)] == [8, 4, 4]


@pytest.mark.parametrize(
    ("micro_batch", "accumulate", "ranks"), [(8, 1, 1), (1, 8, 1), (2, 2, 2), (4, 1, 2), (1, 2, 4)]
)
def test_every_split_of_a_global_batch_sees_its_rows_in_the_same_step(
    micro_batch: int, accumulate: int, ranks: int
) -> None:
    expected = RowOrder(rows=50, seed=7)(range(48), epoch=2).reshape(6, 8)
    seen: list[list[int]] = [[] for _ in range(6)]
    for rank in range(ranks):
        order = training_order(rows=50, micro_batch=micro_batch, accumulate=accumulate, ranks=ranks, rank=rank, epoch=2)
        for index, batch in enumerate(order):
            seen[index // accumulate] += batch.rows.tolist()
            assert batch.step_rows.tolist() == expected[index // accumulate].tolist()
    assert [sorted(step) for step in seen] == [sorted(step) for step in expected.tolist()]


@pytest.mark.parametrize("first_step", [0, 5_000_000_000])
def test_no_more_than_a_block_of_the_order_is_held(first_step: int) -> None:
    order = training_order(rows=10**11, micro_batch=1, accumulate=8, first_step=first_step)
    tracemalloc.start()
    batches = iter(order)
    seen = [next(batches) for _ in range(5000)][-1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    start = (first_step + 624) * 8
    assert seen.step_rows.tolist() == RowOrder(rows=10**11, seed=7)(range(start, start + 8), epoch=0).tolist()
    assert peak < 4 << 20


def test_an_epoch_that_is_named_while_another_is_read_is_the_next_ones() -> None:
    order = training_order(rows=20_000, micro_batch=1, accumulate=1)
    expected = RowOrder(rows=20_000, seed=7)(range(20_000), epoch=0)
    batches = iter(order)
    next(batches)
    order.set_epoch(1)
    assert [batch.rows[0] for batch in batches] == expected[1:].tolist()


def test_a_global_batch_that_is_not_full_is_left_out() -> None:
    order = training_order(rows=11, micro_batch=2, accumulate=2)
    assert (order.steps, len(order), len(list(order))) == (2, 4, 4)


def test_a_resumed_order_goes_on_and_then_starts_over() -> None:
    whole = training_order(rows=12, micro_batch=1, accumulate=2, epoch=1)
    resumed = training_order(rows=12, micro_batch=1, accumulate=2, epoch=1, first_step=4)
    assert rows_of(resumed) == rows_of(whole)[8:]
    whole.set_epoch(2)
    resumed.set_epoch(2)
    assert len(rows_of(resumed)) == 12
    assert rows_of(resumed) == rows_of(whole)


@pytest.mark.parametrize(("rows", "micro_batch", "ranks"), [(10, 4, 1), (10, 4, 2), (3, 4, 2), (16, 4, 2), (1, 1, 3)])
def test_evaluation_reads_every_row_once(rows: int, micro_batch: int, ranks: int) -> None:
    orders = [EvaluationOrder(rows=rows, micro_batch=micro_batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    batches = [[batch.rows.tolist() for batch in order] for order in orders]
    assert sorted(row for rank in batches for batch in rank for row in batch) == list(range(rows))
    assert [len(rank) for rank in batches] == [len(order) for order in orders]
    assert len({len(rank) for rank in batches}) == 1  # the ranks take the same number of steps


def test_evaluation_batches_by_hand() -> None:
    orders = [EvaluationOrder(rows=5, micro_batch=2, rank=rank, ranks=2) for rank in (0, 1)]
    assert [batch.rows.tolist() for batch in orders[0]] == [[0, 1], [4]]
    assert [batch.rows.tolist() for batch in orders[1]] == [[2, 3], []]
