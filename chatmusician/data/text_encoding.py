"""From texts to token ids, with the place of every token in its text: the plain way, by the tokenizer itself.

`chatmusician.data.piece_encoding` gives the same for tokenizers whose texts may be cut. Places are counted in bytes of
UTF-8, since loss masks and bits per byte are.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_BATCH = 1 << 18
"""Characters that are encoded at once: a token with its offsets takes some 100 bytes until it is an array."""


class Encoding(Protocol):
    """The tokens of a batch of texts.

    ``ids`` [tokens] has the texts one behind the other; the tokens of text i end before ``ends[i]``, its bytes number
    ``byte_lengths[i]`` (both [texts]).
    """

    @property
    def ids(self) -> npt.NDArray[np.uint32]:
        """See the class."""

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """See the class."""

    @property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """See the class."""

    def tokens_over(self, text: int, start: int, end: int) -> tuple[int, int]:
        """The run of tokens, counted within their text, that stand for any of its bytes ``start`` to ``end``."""

    def byte_start(self, text: int, token: int) -> int:
        """The byte of its text at which a token begins; the length of the text behind the last token."""


class Encoder(Protocol):
    """Gives the ids of the model's own tokenizer, without adding special tokens."""

    def __call__(self, texts: Sequence[str]) -> Encoding:
        """Encode a batch of texts."""


class PlainEncoder:
    """Calls the tokenizer on every text."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer

    def __call__(self, texts: Sequence[str]) -> "PlainEncoding":
        """See `Encoder`."""
        found = [
            (np.array(encoded.ids, np.uint32), np.array(encoded.offsets, np.int64).reshape(-1, 2))
            for batch in _batches(texts)
            for encoded in self._backend.encode_batch(batch, add_special_tokens=False)
        ]
        return PlainEncoding(texts, [ids for ids, _ in found], [offsets for _, offsets in found])


class PlainEncoding:
    """The tokens of `PlainEncoder`, with the offsets that the tokenizer gave."""

    def __init__(
        self, texts: Sequence[str], ids: Sequence[npt.NDArray[np.uint32]], offsets: Sequence[npt.NDArray[np.int64]]
    ) -> None:
        self.ids: npt.NDArray[np.uint32] = np.concatenate([np.zeros(0, np.uint32), *ids])
        self.ends: npt.NDArray[np.int64] = np.cumsum([len(part) for part in ids], dtype=np.int64)
        self._offsets = [
            part if text.isascii() else _bytes_before(text)[part] for text, part in zip(texts, offsets, strict=True)
        ]
        self.byte_lengths: npt.NDArray[np.int64] = np.array([len(text.encode()) for text in texts], np.int64)

    def tokens_over(self, text: int, start: int, end: int) -> tuple[int, int]:
        """See `Encoding`."""
        starts, ends = self._offsets[text].T
        return int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(starts, end, side="left"))

    def byte_start(self, text: int, token: int) -> int:
        """See `Encoding`."""
        offsets = self._offsets[text]
        return int(offsets[token, 0]) if token < len(offsets) else int(self.byte_lengths[text])


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _bytes_before(text: str) -> npt.NDArray[np.int64]:
    """How many bytes stand before each character, and before the end: [characters + 1]."""
    octets = np.frombuffer(text.encode(), np.uint8)
    return np.append(np.flatnonzero((octets & 0xC0) != 0x80), len(octets))
