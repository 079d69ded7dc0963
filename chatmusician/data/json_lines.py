"""JSON lines in fixed runs, plain, gzip or zstd.

A run of a plain local file is a range of bytes that ends with a line, so that many processes read one file at once.
Compressed and remote files can only be read from the front: their runs carry the lines with them. A line longer than
``max_row_bytes`` is skipped without ever being held whole.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from chatmusician.data.raw_rows import RawRow, RowRun, is_remote, open_file, unreadable

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}

_BLOCK = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class LineRange:
    """Lines of a plain local file: its bytes from ``start`` to ``end``."""

    file: str
    start: int
    end: int
    first_line: int
    max_row_bytes: int

    @property
    def begins_file(self) -> bool:
        """See `chatmusician.data.raw_rows.RowRun`."""
        return self.start == 0

    def rows(self) -> Iterator[RawRow]:
        """See `chatmusician.data.raw_rows.RowRun`."""
        with Path(self.file).open("rb") as stream:
            stream.seek(self.start)
            yield from _parsed(stream, self.end - self.start, self.first_line, self.max_row_bytes)


@dataclass(frozen=True, kw_only=True)
class CarriedLines:
    """Lines that came out of a stream. ``skipped`` are the numbers of lines that were too long to carry."""

    file: str
    content: bytes
    first_line: int
    skipped: tuple[int, ...]
    max_row_bytes: int

    @property
    def begins_file(self) -> bool:
        """See `chatmusician.data.raw_rows.RowRun`."""
        return self.first_line == 1

    def rows(self) -> Iterator[RawRow]:
        """See `chatmusician.data.raw_rows.RowRun`."""
        yield from _parsed(io.BytesIO(self.content), len(self.content), self.first_line, self.max_row_bytes)
        yield from (RawRow(line, None, _too_long(self.max_row_bytes)) for line in self.skipped)


def line_runs(file: str, *, unit_bytes: int, max_row_bytes: int) -> Iterator[RowRun]:
    """The runs of a file of JSON lines, each of about ``unit_bytes``."""
    compression = COMPRESSIONS.get(Path(file).suffix)
    try:
        if compression is None and not is_remote(file):
            yield from _ranges(file, unit_bytes, max_row_bytes)
            return
        with open_file(file) as stream:
            source: BinaryIO = pa.CompressedInputStream(stream, compression) if compression else stream
            yield from _carried(file, source, unit_bytes, max_row_bytes)
    except (OSError, pa.ArrowException) as error:
        yield unreadable(file, error)


def _ranges(file: str, unit_bytes: int, max_row_bytes: int) -> Iterator[LineRange]:
    start, first_line = 0, 1
    place, lines = 0, 0  # how far the file is read, and how many lines end there since `start`
    with Path(file).open("rb") as stream:
        while block := stream.read(_BLOCK):
            done = 0
            while (end := block.find(b"\n", max(done, start + unit_bytes - 1 - place))) >= 0:
                lines += block.count(b"\n", done, end + 1)
                done = end + 1
                yield LineRange(
                    file=file, start=start, end=place + done, first_line=first_line, max_row_bytes=max_row_bytes
                )
                start, first_line, lines = place + done, first_line + lines, 0
            lines += block.count(b"\n", done)
            place += len(block)
    if place > start:
        yield LineRange(file=file, start=start, end=place, first_line=first_line, max_row_bytes=max_row_bytes)


def _carried(file: str, source: BinaryIO, unit_bytes: int, max_row_bytes: int) -> Iterator[RowRun]:
    """Cut a stream into runs; what was read before an error is kept."""
    held = bytearray()
    line, skipping = 1, False
    skipped: list[int] = []

    def run(end: int) -> CarriedLines:
        return CarriedLines(
            file=file,
            content=bytes(held[:end]),
            first_line=line,
            skipped=tuple(skipped),
            max_row_bytes=max_row_bytes,
        )

    error: Exception | None = None
    while True:
        try:
            block = source.read(_BLOCK)
        except (OSError, pa.ArrowException, EOFError) as failure:
            error, block = failure, b""
        if not block:
            break
        held += block
        if skipping:
            end = held.find(b"\n")
            if end < 0:
                held.clear()
                continue
            del held[: end + 1]
            skipping, line = False, line + 1
        end = held.rfind(b"\n") + 1
        if len(held) - end > max_row_bytes:
            lines = held.count(b"\n", 0, end)
            skipped.append(line + lines)
            yield run(end)
            line, skipping = line + lines, True
            skipped.clear()
            held.clear()
        elif end >= unit_bytes:
            yield run(end)
            line += held.count(b"\n", 0, end)
            del held[:end]
    if error is not None:
        del held[held.rfind(b"\n") + 1 :]  # the line that the error is in
    if held:
        yield run(len(held))
    if error is not None:
        line += held.count(b"\n")
        yield unreadable(file, error, line=line, begins_file=line == 1)


def _parsed(stream: BinaryIO, length: int, first_line: int, max_row_bytes: int) -> Iterator[RawRow]:
    number = first_line
    while length > 0 and (line := stream.readline(min(length, max_row_bytes + 1))):
        length -= len(line)
        if len(line) > max_row_bytes and not line.endswith(b"\n"):
            while length > 0 and (rest := stream.readline(min(length, _BLOCK))):
                length -= len(rest)
                if rest.endswith(b"\n"):
                    break
            yield RawRow(number, None, _too_long(max_row_bytes))
        else:
            yield _row(number, line)
        number += 1


def _row(number: int, line: bytes) -> RawRow:
    if number == 1:
        line = line.removeprefix(_BYTE_ORDER_MARK)
    if not line.strip():
        return RawRow(number, None, "an empty line")
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return RawRow(number, None, f"not UTF-8: byte {line[error.start]:#04x} at {error.start}")
    except RecursionError:
        return RawRow(number, None, "JSON that is nested too deep")
    except ValueError as error:
        return RawRow(number, None, f"not JSON: {error}")
    if not isinstance(values, dict):
        return RawRow(number, None, f"JSON of a {type(values).__name__}, not of an object")
    return RawRow(number, values)


def _too_long(max_row_bytes: int) -> str:
    return f"longer than corpus.max_row_bytes={max_row_bytes}"
