import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch
from plain_reading import PlainRow, plain_batch, read_plainly
from tiny_corpus import prepare_words

from chatmusician.data.micro_batches import MicroBatches, MicroBatchLoader
from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.sampler import BatchPlan, EvaluationOrder, RowOrder, TrainingOrder
from chatmusician.data.shards import load_manifest
from chatmusician.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prepared")
    prepare_words(directory)
    return directory


@pytest.fixture(scope="module")
def plain(prepared: Path) -> list[PlainRow]:
    return read_plainly(prepared)


def open_rows(directory: Path, split: str = "train") -> PackedRows:
    manifest = load_manifest(directory)
    assert manifest is not None
    return PackedRows(directory / split, manifest.splits[split], seq_len=16)


def loader(
    directory: Path, *, micro_batch: int, ranks: int = 1, rank: int = 0, epoch: int = 0, step: int = 0, workers: int = 0
) -> MicroBatchLoader:
    """A global batch of 12 rows, from a step of an epoch on."""
    rows = open_rows(directory)
    order = TrainingOrder(
        order=RowOrder(rows=len(rows), seed=7),
        plan=BatchPlan(micro_batch=micro_batch, accumulate=12 // micro_batch // ranks, ranks=ranks),
        rank=rank,
        epoch=epoch,
        first_step=step,
    )
    return MicroBatchLoader(MicroBatches(rows), order, workers=workers)


def as_lists(batch: dict[str, torch.Tensor]) -> dict[str, object]:
    return {name: tensor.tolist() for name, tensor in batch.items()}


def plain_batches(plain: list[PlainRow], *, micro_batch: int, epoch: int) -> Iterator[dict[str, object]]:
    numbers = RowOrder(rows=len(plain), seed=7)(range(len(plain)), epoch=epoch)
    for first in range(0, len(plain) - 11, 12):
        of_step = numbers[first : first + 12].tolist()
        step = [plain[row] for row in of_step]
        for share in range(0, 12, micro_batch):
            end = share + micro_batch
            yield plain_batch(step[share:end], step, numbers=of_step[share:end])


@pytest.mark.parametrize(("micro_batch", "workers"), [(1, 0), (1, 2), (4, 0), (12, 1)])
def test_batches_are_those_of_a_plain_reading(
    prepared: Path, plain: list[PlainRow], micro_batch: int, workers: int
) -> None:
    batches = loader(prepared, micro_batch=micro_batch, workers=workers)
    for epoch in (0, 1):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # as Lightning does
        expected = list(plain_batches(plain, micro_batch=micro_batch, epoch=epoch))
        assert [as_lists(batch) for batch in batches] == expected
        assert len(batches) == len(expected) == len(plain) // 12 * (12 // micro_batch)


def test_tensors_have_the_types_that_models_take(prepared: Path) -> None:
    batch = next(iter(loader(prepared, micro_batch=4)))
    assert {name: tensor.shape for name, tensor in batch.items()} == {
        "input_ids": (4, 16),
        "position_ids": (4, 16),
        "targets": (4, 16),
        "step_tokens": (),
        "trained_bytes": (),
        "rows": (4,),
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_time_that_batches_are_waited_for_adds_up(prepared: Path, workers: int) -> None:
    batches = loader(prepared, micro_batch=4, workers=workers)
    assert batches.waiting.seconds == 0
    seen = []
    for _ in batches:
        seen.append(batches.waiting.seconds)  # noqa: PERF401 -- it changes from batch to batch
    assert seen[0] > 0
    assert sorted(set(seen)) == seen
    assert batches.waiting.seconds > seen[-1]  # for the word that there is no more


def test_a_batch_is_a_copy(prepared: Path) -> None:
    batches = loader(prepared, micro_batch=12)
    (first, *_), (again, *_) = list(batches), list(batches)
    for tensor in first.values():
        tensor.zero_()
    third = next(iter(batches))
    assert all(torch.equal(again[name], third[name]) for name in again)


def test_ranks_that_ran_out_of_rows_get_empty_batches(prepared: Path) -> None:
    rows = open_rows(prepared, "validation")
    ranks = len(rows) + 1
    order = EvaluationOrder(rows=len(rows), micro_batch=1, rank=ranks - 1, ranks=ranks)
    (batch,) = MicroBatchLoader(MicroBatches(rows), order, workers=0)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [],
        "position_ids": [],
        "targets": [],
        "step_tokens": 0,
        "trained_bytes": 0,
        "rows": [],
    }
    assert batch["input_ids"].shape == (0, 16)


def steps_read(
    directory: Path, *, first: int, last: int, epoch: int, micro_batch: int, ranks: int, workers: int
) -> list[list[object]]:
    """What steps first .. last - 1 train on, over all ranks: the rows in order, and the tokens of the step."""
    streams = [
        iter(
            loader(
                directory,
                micro_batch=micro_batch,
                ranks=ranks,
                rank=rank,
                epoch=epoch,
                step=first,
                workers=workers,
            )
        )
        for rank in range(ranks)
    ]
    steps = []
    for _ in range(first, last):
        batches = [as_lists(next(stream)) for _ in range(12 // micro_batch // ranks) for stream in streams]
        rows = [row for name in ("input_ids", "position_ids", "targets") for batch in batches for row in batch[name]]  # type: ignore[attr-defined]  # lists of rows
        steps.append([rows, {batch["step_tokens"] for batch in batches}])
    return steps


def test_a_run_stopped_twice_at_any_step_reads_what_one_never_stopped_reads(
    prepared: Path, plain: list[PlainRow]
) -> None:
    """Each part by other ranks, micro-batches and loader processes."""
    draw = random.Random(0)
    ways = [(1, 12, 0), (2, 2, 0), (3, 4, 0), (4, 3, 0), (12, 1, 0), (1, 4, 2), (2, 3, 1)]
    steps = len(plain) // 12
    assert steps == 4
    whole = steps_read(prepared, first=0, last=steps, epoch=3, micro_batch=12, ranks=1, workers=0)
    stops = [(first, second) for first in range(1, steps) for second in range(first, steps)]
    for stop, again in stops:
        parts = [
            steps_read(prepared, first=a, last=b, epoch=3, ranks=ranks, micro_batch=micro_batch, workers=workers)
            for (a, b), (ranks, micro_batch, workers) in zip(
                [(0, stop), (stop, again), (again, steps)], draw.sample(ways, 3), strict=True
            )
        ]
        assert list(chain(*parts)) == whole, (stop, again)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_a_loader_process_finds_damaged_is_one_line(tmp_path: Path, start: str) -> None:
    prepare_words(tmp_path)
    batches = loader(tmp_path, micro_batch=12, workers=1)
    batches.multiprocessing_context = start
    assert len(list(batches)) == len(batches)
    path = tmp_path / "train" / "00003.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"^shard \S*/00003.arrow cannot be read \(its sha256 is [^\n]*anew$"):
        list(batches)
