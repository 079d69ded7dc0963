"""Findings as tables on a terminal, and as lines that ``grep`` can read in a pipe or a file."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from chatmusician.diagnosis.findings import Finding, Section, State

_COLOURS = {State.FACT: "dim", State.OK: "green", State.OPTIONAL: "yellow", State.MISSING: "red", State.BROKEN: "red"}


def print_section(section: Section) -> None:
    """Print a section to standard output."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(_table(section))
    else:
        print("\n".join(lines(section)))


def lines(section: Section) -> list[str]:
    """A title, a line for each finding, and an empty line."""
    width = max((len(finding.name) for finding in section.findings), default=0)
    return [section.title, *(_line(finding, width) for finding in section.findings), ""]


def _line(finding: Finding, width: int) -> str:
    remedy = f"  -> {finding.remedy}" if finding.remedy else ""
    return f"  {finding.state:<8}  {finding.name:<{width}}  {finding.found}{remedy}"


def _table(section: Section) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=section.title, title_justify="left", title_style="bold", box=None, show_header=False)
    for _ in range(3):
        table.add_column(vertical="top", overflow="fold")
    for finding in section.findings:
        found = Text(finding.found)
        if finding.remedy:
            found.append(f"\n{finding.remedy}", style="bold")
        table.add_row(Text(finding.state, style=_COLOURS[finding.state]), Text(finding.name), found)
    return table


def as_json(sections: Iterable[Section]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(section) for section in sections]
