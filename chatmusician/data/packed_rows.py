"""The rows of a split, read from its shards: opened when they are first needed, checked once, memory-mapped.

How many rows there are and which shard holds which is known from the manifest's records, so that neither the first
batch nor a resume waits for shards it does not read. A shard that a process opens for the first time is held against
the checksum in its record (`chatmusician.data.shard_columns`).

At most ``open_shards`` stay mapped, those used last: a shard of 750 rows takes 24 KiB beside its map, and no file
descriptor. Opening one again takes 0.3 ms, which rows in random order from more shards than that pay each.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chatmusician.data.packing import padded_lengths
from chatmusician.data.shard_columns import PREPARE_ANEW, ShardColumns, open_shard
from chatmusician.data.shards import SplitManifest

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
class RowSources:
    """Where B rows of T tokens are from: S sources, those of `PackedRows.sources`."""

    of_tokens: npt.NDArray[np.int64]
    """The source of each token's document, padding's that of the last, [B, T]."""
    trained_bytes: npt.NDArray[np.int64]
    """UTF-8 bytes behind the trained tokens, [S]."""


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A mapped shard, with the lengths that a batch of its rows takes."""

    columns: ShardColumns
    lengths: npt.NDArray[np.int32]
    """As in `RowBatch`."""

    def lengths_of(self, row: int) -> npt.NDArray[np.int32]:
        """The document lengths of a row, and its padding."""
        first, last = self.columns.offsets[row : row + 2].tolist()
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
        remedy: str = PREPARE_ANEW,
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
        return shard.columns.ids[offset], shard.columns.loss_mask[offset], shard.lengths_of(offset)[:-1].tolist()

    def read(self, rows: Sequence[int]) -> RowBatch:
        """Copies of the rows with the given numbers, which may be none."""
        ids = np.empty((len(rows), self._seq_len), np.int64)
        loss_mask = np.empty((len(rows), self._seq_len), np.bool_)
        lengths = [np.zeros(0, np.int32)]
        trained_bytes = 0
        for place, row in enumerate(rows):
            shard, offset = self._find(row)
            ids[place] = shard.columns.ids[offset]
            loss_mask[place] = shard.columns.loss_mask[offset]
            lengths.append(shard.lengths_of(offset))
            trained_bytes += int(shard.columns.trained_bytes[offset])
        return RowBatch(ids=ids, loss_mask=loss_mask, lengths=np.concatenate(lengths), trained_bytes=trained_bytes)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The names of all sources, sorted."""
        return tuple(sorted({name for record in self._records for name in record.sources}))

    def read_sources(self, rows: Sequence[int]) -> RowSources:
        """Where the rows with the given numbers are from; what an evaluation reads beside `read`."""
        of_tokens = np.empty((len(rows), self._seq_len), np.int64)
        trained_bytes = np.zeros(len(self.sources), np.int64)
        for place, row in enumerate(rows):
            shard, offset = self._find(row)
            first, last = shard.columns.offsets[offset : offset + 2].tolist()
            names = sorted(self._records[bisect_right(self._starts, row) - 1].sources)
            known = np.array([self.sources.index(name) for name in names])
            of_documents = known[shard.columns.sources[first:last]]
            of_tokens[place] = np.repeat(np.append(of_documents, of_documents[-1:]), shard.lengths_of(offset))
            np.add.at(trained_bytes, of_documents, shard.columns.document_bytes[first:last])
        return RowSources(of_tokens=of_tokens, trained_bytes=trained_bytes)

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
        columns = open_shard(
            self._directory / record.name,
            record,
            seq_len=self._seq_len,
            remedy=self._remedy,
            verify=not self._verified[index],
        )
        lengths = padded_lengths(columns.lengths, columns.offsets, seq_len=self._seq_len)
        shard = _Shard(columns=columns, lengths=lengths)
        self._trained_tokens[self._starts[index] : self._starts[index + 1]] = columns.trained_tokens
        self._verified[index] = True
        self._shards[index] = shard
        if len(self._shards) > self._open_shards:
            self._shards.popitem(last=False)
        return shard


_OF_PROCESS = ("_shards", "_verified", "_trained_tokens")
