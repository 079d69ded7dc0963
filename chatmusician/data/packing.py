"""Put documents of many lengths into rows of one length, with next to no padding.

A *window* of documents (a fixed run of the corpus, so memory is bounded and the result does not depend on the number of
workers) is packed by best-fit decreasing: longest document first, each into the row with the least space that still
holds it. Rows are exactly ``seq_len`` tokens; what stays empty is padding, counted by the manifest as fill.

A row of 8 tokens that holds documents ``a b c`` and ``d e`` (loss on capitals: ``a B C``, ``d E``)::

    ids          a  b  c  d  e  .  .  .
    lengths      3, 2
    loss mask    0  1  1  0  1  0  0  0
    positions    0  1  2  0  1  0  1  2     restart with each document: the attention is block-diagonal
    targets      B  C  .  E  .  .  .  .     the next token of the same document where that bears loss, else -100
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, overload

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The target of a position that bears no loss (the convention of torch's cross entropy)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenDocument:
    """A tokenised document: ``ids`` [n] and ``loss_mask`` [n], with the bytes and tokens that bear loss."""

    ids: npt.NDArray[Any]
    loss_mask: npt.NDArray[np.bool_]
    trained_bytes: int

    @property
    def trained_tokens(self) -> int:
        """Tokens that can be predicted: the first of a document has nothing before it."""
        return int(self.loss_mask[1:].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenDocuments(Sequence[TokenDocument]):
    """The tokenised documents of a window in a few arrays, so that no step works document by document.

    ``ids`` and ``loss_mask`` are [tokens]; document i of the window is ``lengths[i]`` tokens from ``starts[i]`` on.
    Pieces of one text may share tokens. ``texts[i]`` is the number of the text that it is, or is a piece of;
    ``trained_bytes[i]`` counts the bytes that bear loss. The last four are [documents].
    """

    ids: npt.NDArray[Any]
    loss_mask: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    texts: npt.NDArray[np.int64]
    trained_bytes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> TokenDocument: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenDocument]: ...
    def __getitem__(self, index: int | slice) -> TokenDocument | list[TokenDocument]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        tokens = slice(self.starts[index], self.starts[index] + self.lengths[index])
        return TokenDocument(
            ids=self.ids[tokens], loss_mask=self.loss_mask[tokens], trained_bytes=int(self.trained_bytes[index])
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedWindow:
    """Packed rows. ``ids`` and ``loss_mask`` are [rows, seq_len], the counts of trained tokens and bytes [rows].

    ``lengths``, ``texts`` and ``document_bytes``, of which each row has the sum in ``trained_bytes``, are [documents],
    in the order of the rows: row r holds those before ``ends[r]``.
    """

    ids: npt.NDArray[Any]
    loss_mask: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int64]
    texts: npt.NDArray[np.int64]
    document_bytes: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    trained_tokens: npt.NDArray[np.int64]
    trained_bytes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)


def assign_rows(lengths: Sequence[int], *, seq_len: int) -> list[list[int]]:
    """Best-fit decreasing: the indices of the documents in each row, rows in the order they were opened.

    Raises:
        ValueError: a length is not between 1 and ``seq_len``.

    >>> assign_rows([5, 3, 4, 2, 6], seq_len=8)
    [[4, 3], [0, 1], [2]]
    """
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (space left, row), sorted: bisect finds the tightest fit in O(log n)
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if not 1 <= length <= seq_len:
            raise ValueError(f"document of {length} tokens does not fit rows of {seq_len}")
        fit = bisect_left(open_rows, (length, -1))
        if fit < len(open_rows):
            space, row = open_rows.pop(fit)
        else:
            space, row = seq_len, len(rows)
            rows.append([])
        rows[row].append(index)
        if space > length:
            insort(open_rows, (space - length, row))
    return rows


def pack(documents: TokenDocuments, *, seq_len: int, pad_id: int) -> PackedWindow:
    """Pack a window of documents, each of at most ``seq_len`` tokens, into rows."""
    members = assign_rows(documents.lengths.tolist(), seq_len=seq_len)
    ends = np.cumsum([len(row) for row in members], dtype=np.int64)
    order = np.fromiter(chain.from_iterable(members), np.int64, len(documents))
    lengths, starts = documents.lengths[order], documents.starts[order]
    before = np.cumsum(lengths) - lengths  # tokens in front of each document, padding not counted
    first_in_row = np.append(0, ends[:-1])[: len(members)]
    rows = np.repeat(np.arange(len(members)), np.diff(ends, prepend=0))
    places = rows * seq_len + before - np.repeat(before[first_in_row], np.diff(ends, prepend=0))
    step = np.arange(int(lengths.sum())) - np.repeat(before, lengths)
    source, target = np.repeat(starts, lengths) + step, np.repeat(places, lengths) + step
    ids = np.full(len(members) * seq_len, pad_id, documents.ids.dtype)
    flat_mask = np.zeros(len(members) * seq_len, np.bool_)
    ids[target] = documents.ids[source]
    flat_mask[target] = documents.loss_mask[source]
    flat_mask[places] = False  # the first of a document has nothing before it
    loss_mask = flat_mask.reshape(-1, seq_len)
    return PackedWindow(
        ids=ids.reshape(-1, seq_len),
        loss_mask=loss_mask,
        lengths=lengths,
        texts=documents.texts[order],
        document_bytes=documents.trained_bytes[order],
        ends=ends,
        trained_tokens=loss_mask.sum(axis=1),
        trained_bytes=np.bincount(rows, documents.trained_bytes[order], len(members)).astype(np.int64),
    )


def padded_lengths(
    lengths: npt.NDArray[np.integer], offsets: npt.NDArray[np.integer], *, seq_len: int
) -> npt.NDArray[np.int32]:
    """The document lengths of R rows, one row after another, each row followed by its padding, which may be 0.

    ``offsets`` [R + 1] says where in ``lengths`` each row begins.

    >>> padded_lengths(np.array([3, 2, 8]), np.array([0, 2, 3]), seq_len=8).tolist()
    [3, 2, 3, 8, 0]
    """
    tokens = np.concatenate(([0], np.cumsum(lengths)))[offsets]  # of all rows before each
    return np.insert(lengths.astype(np.int32), offsets[1:], seq_len - np.diff(tokens))


def positions(lengths: npt.NDArray[np.integer], *, seq_len: int) -> npt.NDArray[np.int64]:
    """Position ids [B, seq_len] that restart at 0 with each document, of B rows of documents and padding.

    The padding of a row counts as its last document: the lengths of each row (see `padded_lengths`) add up to seq_len.

    >>> positions(np.array([3, 2, 3]), seq_len=8).tolist()
    [[0, 1, 2, 0, 1, 0, 1, 2]]
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    tokens = int(ends[-1]) if len(ends) else 0
    return (np.arange(tokens) - np.repeat(ends - lengths, lengths)).reshape(-1, seq_len)


def targets(ids: npt.NDArray[np.int64], loss_mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Target ids [.., T]: at t the token at t + 1 where that bears loss, else `IGNORED`.

    A document's first token never bears loss (see `pack`), so no target crosses a document border.
    """
    shifted = np.full_like(ids, IGNORED)
    shifted[..., :-1] = np.where(loss_mask[..., 1:], ids[..., 1:], IGNORED)
    return shifted
