"""Documents as text: which stretches of them bear loss, and how rows are printed in the terminal.

Each document stands between borders. With colours its trained and its masked text are of different ones; without (no
terminal, or NO_COLOR) masked text stands in ⟦ ⟧::

    row 7: 2 documents, 5 of 8 tokens
    ┌ document 1 of 2: tokens 0 to 2 (3, of which 2 trained), source reels
    │ ⟦a⟧BC
    ├ document 2 of 2: tokens 3 to 4 (2, of which 1 trained), source jigs
    │ ⟦d⟧E
    └ padding: 3 tokens

A character may be spread over several byte tokens, so tokens are not decoded one by one. A stretch is what decoding
the document up to its end adds to decoding it up to its beginning; a character whose bytes lie in two stretches belongs
to the one with its last byte. Nothing in a text is obeyed by the terminal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.text import Text

from chatmusician.data.inspection.folder import PackedDocument, PackedRow
from chatmusician.reporting.report import FAINT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAINED, MASKED, SPECIAL, BORDER = "green", "yellow", "bold underline", "cyan"

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


def describe(document: PackedDocument) -> str:
    """A document's place in its row, its tokens and its source, on one line."""
    end, trained = document.start + len(document.ids) - 1, int(document.loss_mask.sum())
    return (
        f"document {document.place} of {document.neighbours}: tokens {document.start} to {end} "
        f"({len(document.ids)}, of which {trained} trained), source {visible_line(document.source)}"
    )


def print_rows(console: Console, rows: Iterable[PackedRow], tokenizer: "Tokenizer") -> None:
    """Print rows with all their documents, the first after a line that says what is what, while somebody reads."""
    colours = console.color_system is not None and not console.no_color
    for number, row in enumerate(rows):
        if console.quiet:
            return
        if number == 0:
            console.print(_legend(colours))
        documents = len(row.documents)
        tokens = sum(len(document.ids) for document in row.documents)
        console.print(f"\nrow {row.row}: {_counted(documents, 'document')}, {tokens} of {tokens + row.padding} tokens")
        for document in row.documents:
            corner = "┌" if document.place == 1 else "├"
            console.print(Text(f"{corner} {describe(document)}", BORDER))
            text = _styled(text_runs(tokenizer, document.ids, document.loss_mask), colours=colours)
            for line in text.split("\n", allow_blank=True):
                console.print(Text("│ ", BORDER) + line)
        padding = f"padding: {_counted(row.padding, 'token')}" if row.padding else "no padding"
        console.print(Text(f"└ {padding}", BORDER))


def _styled(runs: Iterable[TextRun], *, colours: bool) -> Text:
    """The text of a document for the terminal."""
    text = Text()
    for trained, group in groupby(runs, key=lambda run: run.trained):
        before, after = ("", "") if trained or colours else FAINT
        text.append(before)
        for run in group:
            text.append(run.text, f"{TRAINED if trained else MASKED}{' ' + SPECIAL if run.special else ''}")
        text.append(after)
    return text


def _legend(colours: bool) -> Text:
    trained = TextRun(text="trained on", trained=True, special=False)
    masked = TextRun(text="masked, without loss", trained=False, special=False)
    special = TextRun(text="special tokens", trained=True, special=True)
    shown = [_styled([run], colours=colours) for run in ((trained, masked, special) if colours else (trained, masked))]
    return Text(", ").join(shown) + "; a document's first token has nothing before it and is never trained on"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
