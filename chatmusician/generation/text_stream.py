"""From token ids to the text of an answer, piece by piece.

A token can be part of a character (byte-level vocabularies) or its text can depend on its neighbours (SentencePiece
drops a leading space), so pieces are cut where the text of a few tokens more has settled. The pieces of a stream,
joined, are the text that decoding the whole answer at once gives.

Two spaces belong to the template and not to the answer: the one after ``Assistant:`` and the one before ``</s>``.
"""

from collections.abc import Sequence
from typing import Any

CONTEXT_TOKENS = 4
"""Tokens of the prompt's end that are decoded with the answer, so that the first piece keeps its leading space."""


class TextStream:
    """Turns the tokens of one answer into pieces of text.

    Args:
        tokenizer: a tokenizer of transformers.
        prompt_ids: the prompt that the answer continues.
        template: whether the template's two spaces are to be removed.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int], *, template: bool) -> None:
        self.tokenizer, self.template = tokenizer, template
        self._ids = list(prompt_ids[-CONTEXT_TOKENS:])
        self._settled, self._emitted = 0, len(self._ids)
        self._at_start = True
        self._held = ""

    def push(self, token: int) -> str:
        """The text that is certain once ``token`` is known; often empty."""
        self._ids.append(token)
        return self._pass_on(self._new_text(complete=False))

    def extend(self, tokens: Sequence[int]) -> None:
        """Take in ``tokens`` at once; their text comes with the next piece."""
        self._ids += tokens

    def finish(self, *, ended: bool) -> str:
        """The rest. ``ended``: the model ended the answer, so a space that was held back is the template's."""
        rest = self._pass_on(self._new_text(complete=True))
        return rest if ended and self.template else rest + self._held

    def _new_text(self, *, complete: bool) -> str:
        known = self._decode(self._ids[self._settled : self._emitted])
        text = self._decode(self._ids[self._settled :])
        if not complete and text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._settled, self._emitted = self._emitted, len(self._ids)
        return text[len(known) :]

    def _pass_on(self, text: str) -> str:
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix(" ") if self.template else text
        text = self._held + text
        self._held = " " if text.endswith(" ") else ""
        return text.removesuffix(" ")

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def answer_text(
    tokenizer: Any, prompt_ids: Sequence[int], answer_ids: Sequence[int], *, ended: bool, template: bool
) -> str:
    """The text of a whole answer (``answer_ids`` without the end-of-answer token), as `TextStream` gives it."""
    stream = TextStream(tokenizer, prompt_ids, template=template)
    stream.extend(answer_ids)
    return stream.finish(ended=ended)
