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

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The target of a position that bears no loss (the convention of torch's cross entropy)."""


@dataclass(frozen=True, kw_only=True)
class TokenDocument:
    """A tokenised document: ``ids`` [n] and ``loss_mask`` [n], with the bytes and tokens that bear loss."""

    ids: npt.NDArray[np.int64]
    loss_mask: npt.NDArray[np.bool_]
    trained_bytes: int

    @property
    def trained_tokens(self) -> int:
        """Tokens that can be predicted: the first of a document has nothing before it."""
        return int(self.loss_mask[1:].sum())


@dataclass(frozen=True, kw_only=True)
class Row:
    """One packed row: ``ids`` [seq_len], ``loss_mask`` [seq_len], and the length of each document in order."""

    ids: npt.NDArray[np.int64]
    loss_mask: npt.NDArray[np.bool_]
    lengths: tuple[int, ...]
    trained_tokens: int
    trained_bytes: int


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


def pack(documents: Sequence[TokenDocument], *, seq_len: int, pad_id: int) -> list[Row]:
    """Pack a window of documents, each of at most ``seq_len`` tokens, into rows."""
    return [
        _fill_row([documents[index] for index in members], seq_len=seq_len, pad_id=pad_id)
        for members in assign_rows([len(document.ids) for document in documents], seq_len=seq_len)
    ]


def _fill_row(documents: Sequence[TokenDocument], *, seq_len: int, pad_id: int) -> Row:
    ids = np.full(seq_len, pad_id, dtype=np.int64)
    loss_mask = np.zeros(seq_len, dtype=np.bool_)
    start = 0
    for document in documents:
        end = start + len(document.ids)
        ids[start:end] = document.ids
        loss_mask[start + 1 : end] = document.loss_mask[1:]
        start = end
    return Row(
        ids=ids,
        loss_mask=loss_mask,
        lengths=tuple(len(document.ids) for document in documents),
        trained_tokens=int(loss_mask.sum()),
        trained_bytes=sum(document.trained_bytes for document in documents),
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
