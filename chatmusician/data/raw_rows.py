"""Rows as files hold them, in fixed runs that any process can read.

What a file contains never raises: a row that cannot be read is a `RawRow` with a reason, and so is a file, or the rest
of one. A disk or a network that fails does raise: it may work the next time, so nothing must be recorded of the file.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from chatmusician.errors import UserError, first_line

_OF_CONTENT = (pa.ArrowException, ValueError, TypeError, LookupError, EOFError, BadGzipFile, zlib.error)


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
    """The word that a file, or what is left of it, cannot be read.

    Raises:
        UserError: the fault is not one of its content.
    """
    if not is_of_content(error):
        raise out_of_reach(file, error) from error
    row = RawRow(line, None, reason=first_line(error), lost_file=True)
    return GivenRows(file=file, begins_file=begins_file, given=(row,))


def is_of_content(error: Exception) -> bool:
    """Whether an error is about what a file contains, and not about the disk or the network."""
    by_arrow = type(error) is OSError and error.errno is None  # the system's errors have a number, or a class
    return by_arrow or (isinstance(error, _OF_CONTENT) and not isinstance(error, MemoryError))


def out_of_reach(file: str, error: Exception) -> UserError:
    """What is said of a file that cannot be read now."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error  # `fsspec` says no more than the name
    return UserError(f"{file} cannot be read ({first_line(cause)}); run again when it can: what is done is kept")


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
