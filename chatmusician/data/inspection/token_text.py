"""Token ids back to text: which stretches bear loss, and nothing in them that a terminal would obey.

A character may be spread over several byte tokens, so tokens are not decoded one by one. A stretch is what decoding
the document up to its end adds to decoding it up to its beginning; a character whose bytes lie in two stretches belongs
to the one with its last byte.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chatmusician.reporting.report import FAINT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_OURS = frozenset("⟨⟩") | frozenset(FAINT)
"""Characters that mean something here, which a document cannot say by itself."""


@dataclass(frozen=True, kw_only=True)
class TextRun:
    """A stretch of a document's text whose tokens are all alike."""

    text: str
    trained: bool
    special: bool
    """Special tokens, such as ``</s>``."""


def text_runs(tokenizer: "Tokenizer", ids: npt.NDArray[Any], loss_mask: npt.NDArray[np.bool_]) -> tuple[TextRun, ...]:
    """A document's ids [n] as text, cut where the loss mask [n] changes and around special tokens.

    Ids that the tokenizer does not have are shown by number.
    """
    numbers = ids.tolist()
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    unknown = {number for number in set(numbers) if tokenizer.id_to_token(number) is None}
    kinds = np.array([(number in special) + 2 * (number in unknown) for number in numbers]) + 4 * loss_mask
    cuts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(numbers)]
    whole = tokenizer.decode(numbers, skip_special_tokens=False)
    runs, done = [], 0
    for begin, end in pairwise(cuts):
        so_far = tokenizer.decode(numbers[:end], skip_special_tokens=False)
        while not whole.startswith(so_far):  # it ends within a character
            so_far = so_far[:-1]
        shown = max(done, len(so_far))  # bytes that are no character can look like one until others follow
        text = visible(whole[done:shown])
        if numbers[begin] in unknown:
            text += "".join(f"⟨id {number}⟩" for number in numbers[begin:end])
        done = shown
        if text:
            runs.append(TextRun(text=text, trained=bool(loss_mask[begin]), special=numbers[begin] in special))
    return tuple(runs)


def visible(text: str) -> str:
    """A text in which only newlines act: control characters as their pictures, other unseen ones by number.

    >>> visible("a\\x1b[2J\\u202eb")
    'a␛[2J⟨U+202E⟩b'
    """
    return "".join(map(_shown, text))


def visible_line(text: str) -> str:
    """The same on one line."""
    return visible(text).replace("\n", "␊")


def _shown(character: str) -> str:
    if character == "\n" or (character.isprintable() and character not in _OURS):
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
