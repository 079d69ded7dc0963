"""Rows in the terminal: each document between borders, its trained and its masked text told apart.

With colours the two are of different colours; without (no terminal, or NO_COLOR) masked text stands in ⟦ ⟧::

    row 7: 2 documents, 5 of 8 tokens
    ┌ document 1 of 2: tokens 0 to 2 (3, of which 2 trained), source reels
    │ ⟦a⟧BC
    ├ document 2 of 2: tokens 3 to 4 (2, of which 1 trained), source jigs
    │ ⟦d⟧E
    └ padding: 3 tokens
"""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from chatmusician.data.inspection.folder import PackedDocument, PackedRow
from chatmusician.data.inspection.token_text import TextRun, text_runs, visible_line
from chatmusician.reporting.report import FAINT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAINED, MASKED, SPECIAL, BORDER = "green", "yellow", "bold underline", "cyan"


def make_console() -> Console:
    """A console on standard output that takes nothing in a text for markup."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_rows(console: Console, rows: Iterable[PackedRow], tokenizer: "Tokenizer") -> None:
    """Print rows with all their documents, the first after a line that says what is what."""
    colours = has_colours(console)
    for number, row in enumerate(rows):
        if number == 0:
            console.print(_legend(colours))
        documents = len(row.documents)
        tokens = sum(len(document.ids) for document in row.documents)
        console.print(f"\nrow {row.row}: {_counted(documents, 'document')}, {tokens} of {tokens + row.padding} tokens")
        for document in row.documents:
            corner = "┌" if document.place == 1 else "├"
            console.print(Text(f"{corner} {describe(document)}", BORDER))
            text = styled(text_runs(tokenizer, document.ids, document.loss_mask), colours=colours)
            for line in text.split("\n", allow_blank=True):
                console.print(Text("│ ", BORDER) + line)
        padding = f"padding: {_counted(row.padding, 'token')}" if row.padding else "no padding"
        console.print(Text(f"└ {padding}", BORDER))


def has_colours(console: Console) -> bool:
    """Whether colours can be told apart on it."""
    return console.color_system is not None and not console.no_color


def describe(document: PackedDocument) -> str:
    """A document's place in its row, its tokens and its source, on one line."""
    end, trained = document.start + len(document.ids) - 1, int(document.loss_mask.sum())
    source = "source not recorded" if document.source is None else f"source {visible_line(document.source)}"
    return (
        f"document {document.place} of {document.neighbours}: tokens {document.start} to {end} "
        f"({len(document.ids)}, of which {trained} trained), {source}"
    )


def styled(runs: Iterable[TextRun], *, colours: bool) -> Text:
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
    shown = [styled([run], colours=colours) for run in ((trained, masked, special) if colours else (trained, masked))]
    return Text(", ").join(shown) + "; a document's first token has nothing before it and is never trained on"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
