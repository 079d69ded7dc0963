"""Rows as files hold them, in fixed runs that any process can read.

What a file contains never raises: a row that cannot be read is a `RawRow` with a reason, and so is a file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol


class RawRow(NamedTuple):
    """A row as its file has it. ``values`` is None where it cannot be read, and then ``reason`` says why.

    ``line`` counts from 1; in Parquet it is the number of the row. ``lost_file``: this row and all behind it are lost.
    """

    line: int
    values: Mapping[str, Any] | None
    reason: str = ""
    lost_file: bool = False


class RowRun(Protocol):
    """Consecutive rows of one file; can be pickled."""

    @property
    def file(self) -> str:
        """The path or URL of the file."""

    @property
    def begins_file(self) -> bool:
        """Whether it is the first of its file."""

    def rows(self) -> Iterator[RawRow]:
        """Its rows; the same every time."""


@dataclass(frozen=True, kw_only=True)
class GivenRows:
    """Rows that were read already, or the word that a file cannot be."""

    file: str
    begins_file: bool
    given: Sequence[RawRow]

    def rows(self) -> Iterator[RawRow]:
        """See `RowRun`."""
        yield from self.given


def unreadable(file: str, error: Exception, *, line: int = 0, begins_file: bool = True) -> GivenRows:
    """The word that a file, or what is left of it, cannot be read."""
    row = RawRow(line, None, reason=first_line(error), lost_file=True)
    return GivenRows(file=file, begins_file=begins_file, given=(row,))


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def is_remote(file: str) -> bool:
    """Whether a file is behind a URL that ``fsspec`` opens."""
    return "://" in file


def open_file(file: str) -> BinaryIO:
    """Open a local or remote file for reading.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_remote(file):
        return Path(file).open("rb")
    import fsspec

    return fsspec.open(file, "rb").open()
