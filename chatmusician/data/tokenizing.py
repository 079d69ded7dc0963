"""From documents to their tokens: ids with the loss mask, and what becomes of documents longer than a row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chatmusician.data.documents import Document
from chatmusician.data.packing import TokenDocuments
from chatmusician.data.piece_encoding import exact_encoder
from chatmusician.data.text_encoding import Encoding
from chatmusician.errors import UserError

OVERLONG = ("split", "truncate", "drop", "error")
"""What can happen to a document longer than a row."""


class DocumentTokenizer:
    """Turns documents into `TokenDocuments` with the ids of the model's own tokenizer.

    A token bears loss when any of its characters is trained on: behind ``</s>``, the text `` Assistant`` may be one
    token, of which the space is the question's.

    Args:
        tokenizer: of transformers, fast.
        seq_len: most tokens of a document.
        overlong: one of `OVERLONG`.
        bos, eos: add those tokens around every document. An added EOS is trained on where the end of the text is.
    """

    def __init__(self, *, tokenizer: Any, seq_len: int, overlong: str, bos: bool, eos: bool) -> None:
        self._encode = exact_encoder(tokenizer)
        self._bos = tokenizer.bos_token_id if bos else None
        self._eos = tokenizer.eos_token_id if eos else None
        self.seq_len = seq_len
        self.pad_id: int = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        """What rows are padded with."""
        self._overlong = overlong

    def __call__(self, documents: Sequence[Document]) -> tuple[TokenDocuments, dict[str, int]]:
        """The documents' tokens (pieces of overlong ones each a document), and how many documents met which fate.

        Raises:
            UserError: a document is longer than ``seq_len`` and ``overlong`` is ``error``.
        """
        encoding = self._encode([document.text for document in documents])
        lengths = np.diff(encoding.ends, prepend=0)
        mask, trained_bytes = _loss_masks(documents, encoding, lengths)
        ids, mask, lengths = self._with_ends(documents, encoding.ids, mask, lengths)
        whole = TokenDocuments(
            ids=ids,
            loss_mask=mask,
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            texts=np.arange(len(documents)),
            trained_bytes=trained_bytes,
        )
        return self._fitted(whole, documents, encoding)

    def _with_ends(
        self,
        documents: Sequence[Document],
        ids: npt.NDArray[Any],
        mask: npt.NDArray[np.bool_],
        lengths: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Put BOS and EOS around each document, as asked for."""
        before, behind = self._bos is not None, self._eos is not None
        if not before and not behind:
            return ids, mask, lengths
        longer = lengths + before + behind
        ends = np.cumsum(longer)
        places = np.arange(len(ids)) + np.repeat(np.arange(len(lengths)) * (before + behind) + before, lengths)
        new_ids, new_mask = np.zeros(longer.sum(), ids.dtype), np.zeros(longer.sum(), np.bool_)
        new_ids[places], new_mask[places] = ids, mask
        if self._bos is not None:
            new_ids[ends - longer] = self._bos
        if self._eos is not None:
            new_ids[ends - 1] = self._eos
            new_mask[ends - 1] = [
                bool(document.trained) and document.trained[-1][1] == len(document.text) for document in documents
            ]
        return new_ids, new_mask, longer

    def _fitted(
        self, whole: TokenDocuments, documents: Sequence[Document], encoding: Encoding
    ) -> tuple[TokenDocuments, dict[str, int]]:
        """Leave out empty documents, and deal with overlong ones by the policy."""
        fits = (whole.lengths > 0) & (whole.lengths <= self.seq_len)
        fates = {"empty": int((whole.lengths == 0).sum())}
        parts = [np.stack([whole.starts, whole.lengths, whole.texts, whole.trained_bytes])[:, fits]]
        overlong = np.flatnonzero(whole.lengths > self.seq_len).tolist()
        fates[self._overlong] = len(overlong)
        parts += [
            self._cut(text, int(whole.starts[text]), int(whole.lengths[text]), documents[text], encoding)
            for text in overlong
        ]
        starts, lengths, texts, trained_bytes = np.concatenate(parts, axis=1)
        order = np.argsort(texts, kind="stable")
        fitted = TokenDocuments(
            ids=whole.ids,
            loss_mask=whole.loss_mask,
            starts=starts[order],
            lengths=lengths[order],
            texts=texts[order],
            trained_bytes=trained_bytes[order],
        )
        return fitted, {fate: count for fate, count in fates.items() if count}

    def _cut(self, text: int, start: int, length: int, document: Document, encoding: Encoding) -> npt.NDArray[np.int64]:
        """Start, length, text and trained bytes of each piece, [4, pieces].

        Pieces share one token, so that every token is predicted once.
        """
        if self._overlong == "error":
            raise UserError(
                f"{document.origin or document.source}: {length} tokens do not fit seq_len={self.seq_len}; "
                "set data.overlong to split, truncate or drop"
            )
        if self._overlong == "drop":
            return np.zeros((4, 0), np.int64)
        spans = _byte_spans(document)
        firsts = range(0, max(1, length - 1), self.seq_len - 1) if self._overlong == "split" else (0,)
        pieces = []
        for first in firsts:
            last = min(first + self.seq_len, length)
            begin = self._byte_start(encoding, text, first + 1) if first else 0
            end = self._byte_start(encoding, text, last)
            trained = sum(max(0, min(b, end) - max(a, begin)) for a, b in spans)
            pieces.append((start + first, last - first, text, trained))
        return np.array(pieces, np.int64).T

    def _byte_start(self, encoding: Encoding, text: int, token: int) -> int:
        """The byte at which a token of the document begins, its BOS and EOS counted."""
        return encoding.byte_start(text, max(0, token - (self._bos is not None)))


def _loss_masks(
    documents: Sequence[Document], encoding: Encoding, lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """The loss mask of all tokens, and the trained bytes of each document."""
    partly = [number for number, document in enumerate(documents) if not _is_trained_whole(document)]
    trained_bytes = encoding.byte_lengths.copy()
    mask = np.ones(len(encoding.ids), np.bool_)
    for number in partly:
        spans = _byte_spans(documents[number])
        trained_bytes[number] = sum(end - start for start, end in spans)
        tokens = mask[encoding.ends[number] - lengths[number] : encoding.ends[number]]
        tokens[:] = False
        for start, end in spans:
            first, last = encoding.tokens_over(number, start, end)
            tokens[first:last] = True
    return mask, trained_bytes


def _is_trained_whole(document: Document) -> bool:
    return len(document.trained) == 1 and document.trained[0] == (0, len(document.text))


def _byte_spans(document: Document) -> list[tuple[int, int]]:
    """The trained ranges in bytes of UTF-8."""
    text = document.text
    if text.isascii():
        return list(document.trained)
    return [(len(text[:start].encode()), len(text[:end].encode())) for start, end in document.trained]
