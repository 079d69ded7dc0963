"""What ``python -m chatmusician.prepare inspect=FOLDER`` does: print rows, read everything, write a report.

Rows are printed before the pass over all shards begins, so that a look at a folder of any size starts at once.
"""

import os
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import track

from chatmusician.data.inspection.document_text import print_rows
from chatmusician.data.inspection.folder import Shard, open_folder
from chatmusician.data.inspection.look import Follow, look_at
from chatmusician.data.shards import write_bytes
from chatmusician.reporting.report import render_text, report_files

EXAMPLES = 8
"""Documents of the printed rows that the report shows too."""


def inspect(*, directory: Path, split: str | None, first_row: int, rows: int, output: Path) -> None:
    """Print ``rows`` rows of a split from ``first_row`` on, then totals, and write a report to ``output``.

    Without ``split`` they are of the first one that has rows.

    Raises:
        UserError: the folder is not prepared, or damaged, or has no such split or row.
    """
    folder = open_folder(directory)
    split = folder.splits[0] if split is None else split
    console = Terminal()
    print_rows(console, folder.rows(split, first=first_row, count=rows), folder.tokenizer)
    look = look_at(folder, follow=_progress(Console(stderr=True)))
    from chatmusician.data.inspection.sections import left_out_line, sections_of, totals_table  # loads matplotlib

    console.print(f"\n{render_text(totals_table(look))}\n{left_out_line(look)}")
    again = (document for row in folder.rows(split, first=first_row, count=rows) for document in row.documents)
    sections = sections_of(look, islice(again, EXAMPLES))
    output.mkdir(parents=True, exist_ok=True)
    for name, content in report_files(f"Prepared data in {directory}", sections).items():
        write_bytes(output / name, content)
    console.print(f"report: {output / 'report.html'}")


class Terminal(Console):
    """Standard output, where nothing in a text is markup and a reader may leave, as ``head`` does."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Go on in silence, for the report: rich would end the process here."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what is still in the buffer would fail at exit
        os.close(nowhere)


def _progress(console: Console) -> Follow:
    """A bar for each split in a terminal, gone when it is read; nothing elsewhere."""

    def follow(shards: Iterable[Shard], split: str, total: int) -> Iterable[Shard]:
        hidden = not console.is_terminal
        return track(shards, f"reading {split}", total, console=console, transient=True, disable=hidden)

    return follow
