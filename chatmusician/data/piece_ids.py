"""The token ids of pieces of text, each computed once by the tokenizer and remembered.

What stands before a piece decides its ids: more text (`Before.TEXT`), nothing (`Before.NOTHING`), an added token such
as ``</s>`` (`Before.ADDED`); a piece may also be an added token itself (`Before.ITSELF`).
"""

from collections.abc import Sequence
from enum import IntEnum
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_PIECES = 1 << 20
"""Pieces that are remembered; beyond it the memory is cleared, so that it stays bounded (about 200 MB)."""

_TOGETHER = 200
"""New pieces that are encoded in one call, a newline between them: 2.7 microseconds a piece, and 8.3 one by one."""


class Before(IntEnum):
    """What stands before a piece; see the module. `SEPARATOR` is for what stands between two texts."""

    TEXT = 0
    NOTHING = 1
    ADDED = 2
    ITSELF = 3
    SEPARATOR = 4


class PieceIds:
    """A growing table of pieces: the ids of slot i are ``ids[starts[i] : starts[i] + counts[i]]``.

    Args:
        backend: the tokenizer, of the library ``tokenizers``.
        added: the content of one of its added tokens; empty where it has none.
    """

    def __init__(self, backend: Any, *, added: str) -> None:
        self._backend = backend
        self._contexts = {Before.TEXT: "\n", Before.NOTHING: "", Before.ADDED: added, Before.ITSELF: ""}
        in_context = {before: self._encode(text) for before, text in self._contexts.items()}
        self._context_tokens = {before: len(ids) for before, ids in in_context.items()}
        self._newline = in_context[Before.TEXT][-1]
        self._offsets: dict[tuple[int, bytes], list[tuple[int, int]]] = {}
        self._forget()

    def _forget(self) -> None:
        self.ids = np.zeros(1 << 16, np.uint32)
        self.starts = np.zeros(1 << 16, np.int64)
        self.counts = np.zeros(1 << 16, np.int64)
        self._slots, self._filled = 0, 0
        self._in_text: dict[bytes, int] = {}
        self._elsewhere: dict[tuple[int, bytes], int] = {}
        newline = np.array([self._newline], np.uint32)
        self._in_text[b"\n"] = int(self._add(newline, np.ones(1, np.int64))[0])

    def make_room(self) -> None:
        """Forget all pieces if there are too many. Slots found before are then no longer valid."""
        if self._slots > _MOST_PIECES:
            self._forget()

    def in_text(self, pieces: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """The slots of distinct pieces that stand behind other text."""
        slots = np.fromiter(map(self._in_text.get, pieces, repeat(-1)), np.int64, len(pieces))
        unknown = np.flatnonzero(slots < 0).tolist()
        for first in range(0, len(unknown), _TOGETHER):
            places = unknown[first : first + _TOGETHER]
            new = [pieces[place] for place in places]
            slots[places] = found = self._add(*self._between_newlines(new))
            self._in_text.update(zip(new, found.tolist(), strict=True))
        return slots

    def elsewhere(self, keys: Sequence[tuple[int, bytes]]) -> npt.NDArray[np.int64]:
        """The slots of other pieces, each with what stands before it."""
        for key in set(keys).difference(self._elsewhere):
            ids = self._encode(self._in_context(*key))[self._context_tokens[Before(key[0])] :]
            self._elsewhere[key] = int(self._add(np.array(ids, np.uint32), np.array([len(ids)]))[0])
        return np.fromiter(map(self._elsewhere.__getitem__, keys), np.int64, len(keys))

    def _add(self, ids: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Slots for pieces with these ids, one behind the other, so many each."""
        first, filled = self._slots, self._filled
        self._slots, self._filled = first + len(counts), filled + len(ids)
        self.starts, self.counts = _with_room(self.starts, self._slots), _with_room(self.counts, self._slots)
        self.ids = _with_room(self.ids, self._filled)
        self.ids[filled : self._filled] = ids
        self.counts[first : self._slots] = counts
        self.starts[first : self._slots] = filled + np.cumsum(counts) - counts
        return np.arange(first, self._slots)

    def _between_newlines(self, pieces: Sequence[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of pieces without newlines behind other text, and how many each has: encoded as a text of lines."""
        ids = np.array(self._encode(b"\n".join([b"", *pieces, b""]).decode()), np.uint32)
        newlines = np.flatnonzero(ids == self._newline)
        assert len(newlines) == len(pieces) + 1, "a newline is a token of its own, and no other text gives that token"
        inside = ids[newlines[0] : newlines[-1]]
        return inside[inside != self._newline], np.diff(newlines) - 1

    def _in_context(self, before: int, piece: bytes) -> str:
        return self._contexts[Before(before)] + piece.decode()

    def _encode(self, text: str) -> list[int]:
        found: list[int] = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return found

    def token_offsets(self, before: int, piece: bytes) -> list[tuple[int, int]]:
        """Where each token of a piece starts and ends in it, in bytes."""
        key = (before, piece)
        if key not in self._offsets:
            if len(self._offsets) > _MOST_PIECES:
                self._offsets.clear()
            skipped = len(self._contexts[Before(before)])
            found = self._backend.encode(self._in_context(before, piece), add_special_tokens=False).offsets
            text = piece.decode()
            self._offsets[key] = [
                (len(text[: max(0, start - skipped)].encode()), len(text[: end - skipped].encode()))
                for start, end in found[self._context_tokens[Before(before)] :]
            ]
        return self._offsets[key]


def _with_room(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The array, or a longer copy that holds ``size`` elements."""
    if size <= len(array):
        return array
    longer = np.zeros(max(size, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer
