"""Micro-batches as the model takes them: which rows, by `chatmusician.data.sampler`, to tensors.

A batch is a dict of tensors (B rows of T tokens):

- ``input_ids`` [B, T] and ``position_ids`` [B, T], which restart with each document, so that the attention is
  block-diagonal;
- ``targets`` [B, T], the next token where it bears loss, else -100;
- ``step_tokens`` [], the trained tokens of the whole optimizer step (all ranks and accumulation steps), by which the
  loss is normalised; known without communication, since the order of rows is a pure function of the position;
- ``trained_bytes`` [], the bytes of text behind the trained tokens of this micro-batch;
- ``rows`` [B], their numbers in the prepared split, to look them up by; not there where rows are streamed;
- for validation and test, where S sources are told apart: ``sources`` [B, T], which one each token is of, and
  ``source_bytes`` [S], the share of each in ``trained_bytes``.
"""

import time
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from chatmusician.data.packed_rows import PackedRows, RowBatch
from chatmusician.data.packing import positions, targets
from chatmusician.data.sampler import EvaluationOrder, MicroBatch, TrainingOrder
from chatmusician.errors import UserError

Batch = dict[str, torch.Tensor]
Item = TypeVar("Item")


def tensors_of(rows: RowBatch, *, step_tokens: int) -> Batch:
    """Rows as a batch; see the module."""
    return {
        "input_ids": torch.from_numpy(rows.ids),
        "position_ids": torch.from_numpy(positions(rows.lengths, seq_len=rows.ids.shape[1])),
        "targets": torch.from_numpy(targets(rows.ids, rows.loss_mask)),
        "step_tokens": torch.tensor(step_tokens),
        "trained_bytes": torch.tensor(rows.trained_bytes),
    }


class MicroBatches(Dataset[Batch]):
    """Maps a `MicroBatch` to its tensors; with ``by_source`` those that tell sources apart are among them."""

    def __init__(self, rows: PackedRows, *, by_source: bool = False) -> None:
        self.rows = rows
        self.by_source = by_source
        self._step_rows: npt.NDArray[np.int64] | None = None
        self._step_tokens = 0

    def __getitem__(self, batch: MicroBatch) -> Batch:
        rows = batch.rows.tolist()
        tensors = tensors_of(self.rows.read(rows), step_tokens=self._tokens(batch.step_rows))
        tensors["rows"] = torch.tensor(batch.rows)
        if self.by_source:
            found = self.rows.read_sources(rows)
            tensors["sources"] = torch.from_numpy(found.of_tokens)
            tensors["source_bytes"] = torch.from_numpy(found.trained_bytes)
        return tensors

    def _tokens(self, step_rows: npt.NDArray[np.int64]) -> int:
        """Summed once for all micro-batches of a step, which share the array."""
        if step_rows is not self._step_rows:
            self._step_rows, self._step_tokens = step_rows, self.rows.trained_tokens(step_rows)
        return self._step_tokens


def on_one_line(batches: Iterator[Item]) -> Iterator[Item]:
    """Items of a DataLoader; a worker's `UserError` without the traceback that torch puts before it."""
    try:
        yield from batches
    except UserError as error:
        raise UserError(str(error).strip().rpartition(f"{UserError.__name__}: ")[2]) from error


class Waiting:
    """How long whoever reads batches has waited for them: Lightning reads them in the process that trains."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, batches: Iterator[Item]) -> Iterator[Item]:
        """The same batches; the time that each takes to come is added up (0.2 microseconds a batch)."""
        while True:
            since = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - since
            yield batch


class MicroBatchLoader(DataLoader[Batch]):
    """The micro-batches of an order, read in this process or ahead of it by ``workers`` others.

    Raises:
        UserError: one line, also where a worker met it; torch would put the worker's traceback before it.
    """

    def __init__(self, batches: MicroBatches, order: TrainingOrder | EvaluationOrder, *, workers: int) -> None:
        super().__init__(batches, batch_size=None, sampler=order, num_workers=workers)
        self.waiting = Waiting()

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override] # torch names its own class of iterators
        if self.num_workers == 0:  # torch's iterator would take 20 of 55 microseconds for a row of 2,048 tokens
            yield from self.waiting.over(map(self.dataset.__getitem__, self.sampler))
            return
        yield from self.waiting.over(on_one_line(super().__iter__()))
