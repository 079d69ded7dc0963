"""The rows of a split, read from its shards: opened when they are first needed, checked once, memory-mapped.

How many rows there are and which shard holds which is known from the manifest's records, so that neither the first
batch nor a resume waits for shards it does not read. A shard that a process opens for the first time is held against
the checksum in its record. That reads it once, at 1.5 GB/s on the machine of ``experiments/README.md``: 3 ms for a
shard of 4.6 MB, or 4 microseconds a row of 2,048 tokens. It is read and not hashed through the map, since a disk that
fails is then an error and not the end of the process.

At most ``open_shards`` stay mapped, those used last: a shard of 750 rows takes 24 KiB beside its map, and no file
descriptor. Opening one again takes 0.3 ms, which rows in random order from more shards than that pay each.
"""

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chatmusician.data.packing import padded_lengths
from chatmusician.data.shards import ShardRecord, SplitManifest
from chatmusician.errors import UserError

OPEN_SHARDS = 2048
"""Shards that stay mapped."""


@dataclass(frozen=True, kw_only=True)
class RowBatch:
    """B rows of T tokens."""

    ids: npt.NDArray[np.int64]
    """[B, T]"""
    loss_mask: npt.NDArray[np.bool_]
    """[B, T]"""
    lengths: npt.NDArray[np.int32]
    """Tokens of each document, row after row; a row's padding, perhaps none, counts as its last document."""
    trained_bytes: int
    """UTF-8 bytes behind the trained tokens of all rows."""


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """The columns of a mapped shard of R rows."""

    ids: npt.NDArray[Any]
    """[R, T]"""
    loss_mask: npt.NDArray[np.bool_]
    """[R, T]"""
    lengths: npt.NDArray[np.int32]
    """As in `RowBatch`."""
    offsets: npt.NDArray[np.int32]
    """Documents before each row, and in all, [R + 1]."""
    trained_tokens: npt.NDArray[np.uint32]
    """[R]"""
    trained_bytes: npt.NDArray[np.uint32]
    """[R]"""

    def lengths_of(self, row: int) -> npt.NDArray[np.int32]:
        """The document lengths of a row, and its padding."""
        first, last = self.offsets[row : row + 2].tolist()
        return self.lengths[first + row : last + row + 1]  # a length of padding for each row before


class PackedRows:
    """Random access to the rows of a split.

    Args:
        directory: the folder of the split.
        split: its shards.
        seq_len: tokens in a row.
        remedy: what the user may do about a shard that is damaged.
        open_shards: how many shards stay mapped.

    Raises:
        UserError: on reading, a shard is missing or its content is not the one written.
    """

    def __init__(
        self,
        directory: Path,
        split: SplitManifest,
        *,
        seq_len: int,
        remedy: str = "remove the folder to prepare it anew",
        open_shards: int = OPEN_SHARDS,
    ) -> None:
        self._directory = directory
        self._records = [shard for shard in split.shards if shard.rows]
        self._seq_len = seq_len
        self._remedy = remedy
        self._open_shards = open_shards
        self._starts = [0, *accumulate(record.rows for record in self._records)]
        self._forget()

    def _forget(self) -> None:
        self._shards: OrderedDict[int, _Shard] = OrderedDict()
        self._verified = np.zeros(len(self._records), np.bool_)
        self._trained_tokens = np.zeros(len(self), np.uint32)  # of the verified shards; untouched pages take no memory

    def __getstate__(self) -> dict[str, Any]:
        """For a process that is spawned: what is mapped here is not sent, and is checked there again."""
        return {name: self.__dict__[name] for name in self.__dict__ if name not in _OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], list[int]]:
        """Ids [T] as they are stored, loss mask [T] and document lengths of a row."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        shard, offset = self._find(row)
        return shard.ids[offset], shard.loss_mask[offset], shard.lengths_of(offset)[:-1].tolist()

    def read(self, rows: Sequence[int]) -> RowBatch:
        """Copies of the rows with the given numbers, which may be none."""
        ids = np.empty((len(rows), self._seq_len), np.int64)
        loss_mask = np.empty((len(rows), self._seq_len), np.bool_)
        lengths = [np.zeros(0, np.int32)]
        trained_bytes = 0
        for place, row in enumerate(rows):
            shard, offset = self._find(row)
            ids[place] = shard.ids[offset]
            loss_mask[place] = shard.loss_mask[offset]
            lengths.append(shard.lengths_of(offset))
            trained_bytes += int(shard.trained_bytes[offset])
        return RowBatch(ids=ids, loss_mask=loss_mask, lengths=np.concatenate(lengths), trained_bytes=trained_bytes)

    def trained_tokens(self, rows: npt.NDArray[np.int64]) -> int:
        """Trained tokens of the rows with the given numbers."""
        if not self._verified.all():
            shards = np.searchsorted(self._starts, rows, side="right") - 1
            for index in np.unique(shards[~self._verified[shards]]):
                self._open(int(index))
        return int(self._trained_tokens[rows].sum(dtype=np.int64))

    def _find(self, row: int) -> tuple[_Shard, int]:
        """The shard that holds a row, and its number there."""
        index = bisect_right(self._starts, row) - 1
        shard = self._shards.get(index)
        if shard is None:
            shard = self._open(index)
        else:
            self._shards.move_to_end(index)
        return shard, row - self._starts[index]

    def _open(self, index: int) -> _Shard:
        record = self._records[index]
        path = self._directory / record.name
        try:
            if not self._verified[index]:
                _verify(path, record)
            shard = _map(path, seq_len=self._seq_len)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UserError(f"shard {path} cannot be read ({reason}); {self._remedy}") from error
        self._trained_tokens[self._starts[index] : self._starts[index + 1]] = shard.trained_tokens
        self._verified[index] = True
        self._shards[index] = shard
        if len(self._shards) > self._open_shards:
            self._shards.popitem(last=False)
        return shard


_OF_PROCESS = ("_shards", "_verified", "_trained_tokens")


def _verify(path: Path, record: ShardRecord) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != record.sha256:
        raise ValueError(f"its sha256 is {found[:12]}.., not {record.sha256[:12]}.. as when it was written")


def _map(path: Path, *, seq_len: int) -> _Shard:
    with pa.memory_map(str(path)) as source:
        columns = pa.ipc.open_stream(source).read_next_batch()
    lengths = columns.column("lengths")
    offsets = _numbers(lengths.offsets)
    return _Shard(
        ids=_numbers(columns.column("ids").values).reshape(-1, seq_len),
        loss_mask=_numbers(columns.column("loss_mask").values).reshape(-1, seq_len).view(np.bool_),
        lengths=padded_lengths(_numbers(lengths.values), offsets, seq_len=seq_len),
        offsets=offsets,
        trained_tokens=_numbers(columns.column("trained_tokens")),
        trained_bytes=_numbers(columns.column("trained_bytes")),
    )


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    """An array without nulls, not copied. pyarrow's ``to_numpy`` would import pandas: 0.2 s before the first batch."""
    return np.frombuffer(array.buffers()[1], dtype=str(array.type), count=len(array))
