"""Keys and values of the rows that are being generated, in one buffer that rows join and leave.

Rows are aligned at their newest token, so one step writes one column for all of them. With three rows of 5, 2 and 4
tokens and the next token going to column 5 (``.`` is masked)::

    column   0 1 2 3 4 | 5
    row 0    a b c d e | *      start 0
    row 1    . . . f g | *      start 3
    row 2    . h i j k | *      start 1

A row that joins is computed alone (no padding) and copied so that it ends at the same column; a row that leaves gives
its place to the last one. Nothing is concatenated: transformers' DynamicCache copies every key and value of the batch
for each new token, this one writes a column and returns a view. When the columns run out, the live ones are moved to
the front of a buffer half as large again. Positions are the model's own (rotary embeddings are applied before a key
is stored), so where a row lies in the buffer has no influence on its keys.

Letters: R rows of the buffer, H key-value heads, D head dimensions, K columns.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

AHEAD_BYTES = 256 * 2**20
"""How large a fresh buffer may be for the sake of answers that may become long."""
SPARE_COLUMNS = 256
"""Room for new tokens, in columns, that a fresh buffer has at least."""


@dataclass
class Columns:
    """Which part of the buffer is in use; shared by all layers."""

    rows: int = 0
    """Live rows: 0 to ``rows`` - 1."""
    start: int = 0
    """First column in which a live row has a token."""
    end: int = 0
    """The column that the next token goes to."""


class AlignedLayer(CacheLayerMixin):
    """One layer's buffer ``[R, H, K, D]`` for keys and one for values."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, columns: Columns) -> None:
        super().__init__()
        self.keys, self.values, self.columns = keys, values, columns
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the buffers come from the first row that joined."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store the newest column ``[B, H, 1, D]``; return views ``[B, H, columns in use, D]`` that include it."""
        c = self.columns
        self.keys[: c.rows, :, c.end] = key_states[:, :, 0]
        self.values[: c.rows, :, c.end] = value_states[:, :, 0]
        used = slice(c.start, c.end + 1)
        return self.keys[: c.rows, :, used], self.values[: c.rows, :, used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what `update` returns."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.columns.end - self.columns.start

    def get_max_length(self) -> int:
        """No maximum: the buffer grows."""
        return -1


class AlignedCache(Cache):
    """The cache of at most ``rows`` rows, each of which may get ``columns`` tokens; see the module's text.

    Usage: `join` rows, then for each step `prepare`, run the model with `mask`, `advance`; `leave` when a row is done.
    """

    def __init__(self, *, rows: int, columns: int = 0) -> None:
        self.buffers: list[AlignedLayer] = []
        super().__init__(layers=cast("list[Any]", self.buffers))
        self.capacity_rows, self.capacity_columns = rows, columns
        self.columns = Columns()
        self.starts: list[int] = []
        self._mask = torch.empty(0)

    def join(self, prefill: Any) -> None:
        """Add a row; ``prefill`` is the DynamicCache with its prompt's keys and values (batch of one)."""
        row, length = self.columns.rows, prefill.get_seq_length()
        if not self.buffers:
            self._allocate(prefill, length)
        if length > self.columns.end:
            self._move(end=length)
        start = self.columns.end - length
        for mine, new in zip(self.buffers, prefill.layers, strict=True):
            mine.keys[row, :, start : self.columns.end] = new.keys[0]
            mine.values[row, :, start : self.columns.end] = new.values[0]
        self._mask_row(row, start)
        self.starts.append(start)
        self.columns.rows += 1
        self.columns.start = min(self.starts)

    def leave(self, row: int) -> None:
        """Remove ``row``; the last row takes its place."""
        last = self.columns.rows - 1
        start = self.starts.pop()
        if row != last:
            used = slice(start, self.columns.end)
            for layer in self.buffers:
                layer.keys[row, :, used] = layer.keys[last, :, used]
                layer.values[row, :, used] = layer.values[last, :, used]
            self.starts[row] = start
            self._mask_row(row, start)
        self.columns.rows = last
        self.columns.start = min(self.starts, default=self.columns.end)

    def prepare(self) -> None:
        """Make sure that there is a free column for the next token."""
        if self.columns.end == self._mask.shape[-1]:
            self._move(end=self.columns.end - self.columns.start)

    def mask(self) -> Tensor:
        """What is added to the attention scores of the next step, ``[B, 1, 1, columns in use]``: 0 or -inf."""
        return self._mask[: self.columns.rows, :, :, self.columns.start : self.columns.end + 1]

    def advance(self) -> None:
        """The column that was written is history now."""
        self.columns.end += 1

    def _allocate(self, prefill: Any, length: int) -> None:
        column = sum(2 * layer.keys[:, :, 0].nbytes for layer in prefill.layers) * self.capacity_rows
        capacity = max(length + SPARE_COLUMNS, min(self.capacity_columns, AHEAD_BYTES // column))
        for layer in prefill.layers:
            keys, values = (
                new.new_zeros(self.capacity_rows, new.shape[1], capacity, new.shape[3])
                for new in (layer.keys, layer.values)
            )
            self.buffers.append(AlignedLayer(keys, values, self.columns))
        first = self.buffers[0].keys
        self._mask = first.new_zeros(self.capacity_rows, 1, 1, capacity)

    def _move(self, *, end: int) -> None:
        """Move the live columns so that they stop before ``end``, in a buffer with room to go on."""
        old = slice(self.columns.start, self.columns.end)
        width = old.stop - old.start
        new = slice(end - width, end)
        capacity = end + max(SPARE_COLUMNS, end // 2)
        for layer in self.buffers:
            for name in ("keys", "values"):
                buffer = getattr(layer, name)
                # Zeros, not empty: a masked column still takes part in 0 x value, which must not be 0 x NaN.
                moved = buffer.new_zeros(*buffer.shape[:2], capacity, buffer.shape[3])
                moved[:, :, new] = buffer[:, :, old]
                setattr(layer, name, moved)
        self._mask = self._mask.new_zeros(self.capacity_rows, 1, 1, capacity)
        self.starts = [start + new.start - old.start for start in self.starts]
        self.columns.start, self.columns.end = new.start, new.stop
        for row, start in enumerate(self.starts):
            self._mask_row(row, start)

    def _mask_row(self, row: int, start: int) -> None:
        self._mask[row, ..., :start] = float("-inf")
        self._mask[row, ..., start:] = 0.0
