"""Rows of a prepared folder and their batches, read the slow way: whole shards, Python lists, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from chatmusician.data.shards import load_manifest


@dataclass(frozen=True, kw_only=True)
class PlainRow:
    ids: list[int]
    loss_mask: list[int]
    lengths: list[int]
    trained_bytes: int

    @property
    def position_ids(self) -> list[int]:
        starts = [0, *accumulate(self.lengths)]
        return [token - max(start for start in starts if start <= token) for token in range(len(self.ids))]

    @property
    def targets(self) -> list[int]:
        following = zip(self.ids[1:], self.loss_mask[1:], strict=True)
        return [*(token if bears_loss else -100 for token, bears_loss in following), -100]


def read_plainly(directory: Path, split: str = "train") -> list[PlainRow]:
    manifest = load_manifest(directory)
    assert manifest is not None
    rows = []
    for record in manifest.splits[split].shards:
        with pa.OSFile(str(directory / split / record.name)) as file:
            table = pa.ipc.open_stream(file).read_all()
        columns = ("ids", "loss_mask", "lengths", "trained_bytes")
        rows += [PlainRow(**{column: row[column] for column in columns}) for row in table.to_pylist()]
    return rows


def plain_batch(rows: Sequence[PlainRow], step: Sequence[PlainRow], *, numbers: Sequence[int]) -> dict[str, object]:
    """The batch of some rows, which have these numbers, in an optimizer step of others, as lists and numbers."""
    return {
        "input_ids": [row.ids for row in rows],
        "position_ids": [row.position_ids for row in rows],
        "targets": [row.targets for row in rows],
        "step_tokens": sum(target != -100 for row in step for target in row.targets),
        "trained_bytes": sum(row.trained_bytes for row in rows),
        "rows": list(numbers),
    }
