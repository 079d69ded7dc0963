"""Rows of Parquet files in fixed runs.

A run is some rows of one row group, by the size that the file states, so a group of any size is read by many processes
and in bounded memory: a page of each column (of 1024 rows at least, if Arrow wrote it) and what is decoded at once.
Within a group Parquet can only be read from the front; a process that has read up to a run goes on from there, so each
process reads a group once, not once a run.

Pages are held against their checksums where the file has some, which takes 0.2 s a gigabyte: a damaged page is
otherwise read as other text. All rows of a group behind one that is damaged are lost, and those of later groups not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from chatmusician.data.raw_rows import (
    GivenRows,
    RawRow,
    RowRun,
    is_of_content,
    is_remote,
    open_file,
    out_of_reach,
    unreadable,
)
from chatmusician.errors import first_line

_BATCH_ROWS, _BATCH_BYTES = 256, 1 << 22
"""What is decoded at once: so many rows, or fewer where so many have more bytes than that by the size stated."""

_RUN_ROWS = 8192
"""Most rows of a run. The size stated is that on disk: 100,000 rows of 4 kB that are 100 texts state 0.5 MB."""


@dataclass(frozen=True, kw_only=True)
class ParquetRun:
    """Rows ``start`` to ``stop`` of a row group; ``first_row`` is the number in the file of the group's first row."""

    file: str
    group: int
    first_row: int
    start: int
    stop: int
    columns: tuple[str, ...]
    max_row_bytes: int

    @property
    def begins_file(self) -> bool:
        """See `chatmusician.data.raw_rows.RowRun`."""
        return self.first_row == self.start == 0

    def rows(self) -> Iterator[RawRow]:
        """See `chatmusician.data.raw_rows.RowRun`."""
        number = self.first_row + self.start + 1
        try:
            for batch in _cursor_at(self).batches(self.stop):
                yield from table_rows(batch, first_line=number, max_row_bytes=self.max_row_bytes)
                number += len(batch)
        except Exception as error:
            _forget_cursor()
            if not is_of_content(error):
                raise out_of_reach(self.file, error) from error
            yield RawRow(number, None, f"rows {number} to {self.first_row + self.stop}: {first_line(error)}", True)


def parquet_runs(file: str, *, columns: Sequence[str], unit_bytes: int, max_row_bytes: int) -> Iterator[RowRun]:
    """The runs of a Parquet file, each of about ``unit_bytes`` of the columns that are read.

    A file of no rows has one run without any: unlike an empty file of lines, it says itself that it has none.
    """
    try:
        opened = _open(file)
        there = opened.schema_arrow.names
        if missing := [column for column in columns if column not in there]:
            raise ValueError(f"no column {missing[0]!r}; there are {', '.join(map(repr, there))[:200]}")
    except Exception as error:  # noqa: BLE001 -- what it says of the file is told apart in `unreadable`
        yield unreadable(file, error)
        return
    first_row = 0
    for group in range(opened.num_row_groups):
        facts = opened.metadata.row_group(group)
        step = min(_RUN_ROWS, _rows_of(unit_bytes, facts, columns))
        for start in range(0, facts.num_rows, step):
            yield ParquetRun(
                file=file,
                group=group,
                first_row=first_row,
                start=start,
                stop=min(start + step, facts.num_rows),
                columns=tuple(columns),
                max_row_bytes=max_row_bytes,
            )
        first_row += facts.num_rows
    if not first_row:
        yield GivenRows(file=file, begins_file=True, given=())


def table_rows(batch: "pa.RecordBatch | pa.Table", *, first_line: int, max_row_bytes: int) -> Iterator[RawRow]:
    """The rows of a batch; one that is too long, or has text that is not UTF-8, has a reason and no values."""
    try:
        rows = [RawRow(line, values) for line, values in enumerate(batch.to_pylist(), start=first_line)]
    except Exception:  # noqa: BLE001 -- one by one it is told which row, and what is wrong with it
        rows = [_row_at(batch, offset, first_line + offset) for offset in range(len(batch))]
    may_be_long = batch.nbytes > max_row_bytes
    for row in rows:
        if may_be_long and _size(row.values) > max_row_bytes:
            yield RawRow(row.line, None, f"longer than corpus.max_row_bytes={max_row_bytes}")
        else:
            yield row


def _row_at(batch: "pa.RecordBatch | pa.Table", offset: int, line: int) -> RawRow:
    try:
        columns = zip(batch.schema.names, batch.columns, strict=True)
        return RawRow(line, {name: column[offset].as_py() for name, column in columns})
    except UnicodeDecodeError as error:
        return RawRow(line, None, f"not UTF-8: byte {error.object[error.start]:#04x} at {error.start}")
    except Exception as error:  # noqa: BLE001 -- a value that Python has no type for, such as a year of five digits
        return RawRow(line, None, first_line(error))


def _size(value: Any) -> int:
    """Bytes of the text in a value."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0


def _rows_of(size: int, facts: Any, columns: Sequence[str]) -> int:
    """How many rows of a row group have so many bytes in some columns, nested ones among them; 1 at least."""
    whole = sum(
        column.total_uncompressed_size
        for column in map(facts.column, range(facts.num_columns))
        if any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in columns)
    )
    return max(1, facts.num_rows * size // max(1, whole))


def _open(file: str) -> Any:
    from pyarrow.parquet import ParquetFile

    options = {"buffer_size": 1 << 20, "page_checksum_verification": True}
    return ParquetFile(open_file(file), **options) if is_remote(file) else ParquetFile(file, memory_map=True, **options)


def _place(run: ParquetRun) -> tuple[Any, ...]:
    """What tells a row group from another, and from one of a file that was written in the place of this one."""
    if is_remote(run.file):
        return run.file, run.group, run.columns
    facts = Path(run.file).stat()
    return run.file, run.group, run.columns, facts.st_ino, facts.st_mtime_ns, facts.st_size


class _Cursor:
    """Reads one row group from the front, and remembers how far it is."""

    def __init__(self, run: ParquetRun, place: tuple[Any, ...]) -> None:
        self.place = place
        self.row = 0
        self._group = run.group
        opened = _open(run.file)
        rows = min(_BATCH_ROWS, _rows_of(_BATCH_BYTES, opened.metadata.row_group(run.group), run.columns))
        self._batches = opened.iter_batches(
            batch_size=rows, row_groups=[run.group], columns=list(run.columns), use_threads=False
        )
        self._rest: pa.RecordBatch | None = None

    def skip_to(self, row: int) -> None:
        """Pass over the rows before a row."""
        for _ in self.batches(row):
            pass

    def batches(self, stop: int) -> Iterator[pa.RecordBatch]:
        """The rows from here to before ``stop``."""
        while self.row < stop:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                raise EOFError(f"row group {self._group} has fewer rows than it says")
            taken = batch.slice(0, stop - self.row)
            self._rest = batch.slice(len(taken)) if len(taken) < len(batch) else None
            self.row += len(taken)
            yield taken


_cursor: _Cursor | None = None


def _cursor_at(run: ParquetRun) -> _Cursor:
    """This process's cursor, at the start of a run."""
    global _cursor
    place = _place(run)
    if _cursor is None or _cursor.place != place or _cursor.row > run.start:
        _cursor = _Cursor(run, place)
    _cursor.skip_to(run.start)
    return _cursor


def _forget_cursor() -> None:
    global _cursor
    _cursor = None
