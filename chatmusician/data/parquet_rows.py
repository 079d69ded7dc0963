"""Rows of Parquet files in fixed runs.

A run is some rows of one row group, by the size that the file states, so a group of any size is read in bounded memory
and by many processes. Within a group Parquet can only be read from the front; a process that has read up to a run goes
on from there, so each process reads a group once, not once a run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from chatmusician.data.raw_rows import RawRow, RowRun, first_line, is_remote, open_file, unreadable

_BATCH = 256
"""Rows that are decoded at once."""


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
        return self.group == self.start == 0

    def rows(self) -> Iterator[RawRow]:
        """See `chatmusician.data.raw_rows.RowRun`."""
        number = self.first_row + self.start + 1
        try:
            for batch in _cursor_at(self).batches(self.stop):
                for row in table_rows(batch, first_line=number):
                    yield self._checked(row)
                number += len(batch)
        except (OSError, pa.ArrowException) as error:
            _forget_cursor()
            yield RawRow(number, None, f"rows {number} to {self.first_row + self.stop}: {first_line(error)}", True)

    def _checked(self, row: RawRow) -> RawRow:
        size = sum(len(value) for value in (row.values or {}).values() if isinstance(value, str))
        if size <= self.max_row_bytes:
            return row
        return RawRow(row.line, None, f"longer than corpus.max_row_bytes={self.max_row_bytes}")


def parquet_runs(file: str, *, columns: Sequence[str], unit_bytes: int, max_row_bytes: int) -> Iterator[RowRun]:
    """The runs of a Parquet file, each of about ``unit_bytes`` of the columns that are read."""
    try:
        opened = _open(file)
        there = opened.schema_arrow.names
        if missing := [column for column in columns if column not in there]:
            raise ValueError(f"no column {missing[0]!r}; there are {', '.join(there)}")
        metadata = opened.metadata
        first_row = 0
        for group in range(metadata.num_row_groups):
            facts = metadata.row_group(group)
            rows = facts.num_rows
            size = sum(
                facts.column(index).total_uncompressed_size
                for index in range(facts.num_columns)
                if facts.column(index).path_in_schema.split(".")[0] in columns
            )
            step = max(1, min(rows, rows * unit_bytes // max(1, size)))
            for start in range(0, rows, step):
                yield ParquetRun(
                    file=file,
                    group=group,
                    first_row=first_row,
                    start=start,
                    stop=min(start + step, rows),
                    columns=tuple(columns),
                    max_row_bytes=max_row_bytes,
                )
            first_row += rows
    except (OSError, ValueError, pa.ArrowException) as error:
        yield unreadable(file, error)


def table_rows(batch: "pa.RecordBatch | pa.Table", *, first_line: int) -> Iterator[RawRow]:
    """The rows of a batch; one with text that is not UTF-8 is a row with a reason."""
    try:
        for offset, values in enumerate(batch.to_pylist()):
            yield RawRow(first_line + offset, values)
    except UnicodeDecodeError:
        for offset in range(len(batch)):
            try:
                values = {name: batch.column(name)[offset].as_py() for name in batch.schema.names}
                yield RawRow(first_line + offset, values)
            except UnicodeDecodeError as error:
                yield RawRow(first_line + offset, None, f"not UTF-8: byte {error.object[error.start]:#04x}")


def _open(file: str) -> Any:
    from pyarrow.parquet import ParquetFile

    if is_remote(file):
        return ParquetFile(open_file(file), buffer_size=1 << 20)
    return ParquetFile(file, memory_map=True, buffer_size=1 << 20)


class _Cursor:
    """Reads one row group from the front, and remembers how far it is."""

    def __init__(self, run: ParquetRun) -> None:
        self.group = (run.file, run.group, run.columns)
        self.row = 0
        self._batches = _open(run.file).iter_batches(
            batch_size=_BATCH, row_groups=[run.group], columns=list(run.columns), use_threads=False
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
                raise OSError(f"row group {self.group[1]} has fewer rows than it says")
            taken = batch.slice(0, stop - self.row)
            self._rest = batch.slice(len(taken)) if len(taken) < len(batch) else None
            self.row += len(taken)
            yield taken


_cursor: _Cursor | None = None


def _cursor_at(run: ParquetRun) -> _Cursor:
    """This process's cursor, at the start of a run."""
    global _cursor
    group = (run.file, run.group, run.columns)
    if _cursor is None or _cursor.group != group or _cursor.row > run.start:
        _cursor = _Cursor(run)
    _cursor.skip_to(run.start)
    return _cursor


def _forget_cursor() -> None:
    global _cursor
    _cursor = None
