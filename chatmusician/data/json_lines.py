"""JSON lines in fixed runs, plain, gzip or zstd.

A run of a plain local file is a range of bytes that ends with a line, so that many processes read one file at once.
Compressed and remote files can only be read from the front: their runs carry the lines with them. A line longer than
``max_row_bytes`` is skipped without ever being held whole. Of a compressed file that breaks off, all lines before the
break are kept.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from chatmusician.data.raw_rows import RawRow, RowRun, is_of_content, is_remote, open_file, out_of_reach, unreadable

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
        try:
            with Path(self.file).open("rb") as stream:
                stream.seek(self.start)
                yield from _parsed(stream, self.end - self.start, self.first_line, self.max_row_bytes)
        except OSError as error:
            raise out_of_reach(self.file, error) from error


@dataclass(frozen=True, kw_only=True)
class CarriedLines:
    """Lines that came out of a stream. ``skipped``: behind them is one that is too long to carry."""

    file: str
    begins_file: bool
    content: bytes
    first_line: int
    skipped: bool
    max_row_bytes: int

    def rows(self) -> Iterator[RawRow]:
        """See `chatmusician.data.raw_rows.RowRun`."""
        yield from _parsed(io.BytesIO(self.content), len(self.content), self.first_line, self.max_row_bytes)
        if self.skipped:
            line = self.first_line + self.content.count(b"\n")
            yield RawRow(line, None, _too_long(self.max_row_bytes))


def line_runs(file: str, *, unit_bytes: int, max_row_bytes: int) -> Iterator[RowRun]:
    """The runs of a file of JSON lines, each of about ``unit_bytes``. A file without a line is one that is lost."""
    compression = COMPRESSIONS.get(Path(file).suffix)
    if compression is None and not is_remote(file):
        runs: Iterator[RowRun] = _ranges(file, unit_bytes, max_row_bytes)
    else:
        runs = _Carrier(file, unit_bytes=unit_bytes, max_row_bytes=max_row_bytes).runs(_blocks(file, compression))
    first = next(runs, None)
    if first is None:
        yield unreadable(file, ValueError("an empty file"))
        return
    yield first
    yield from runs


def _ranges(file: str, unit_bytes: int, max_row_bytes: int) -> Iterator[LineRange]:
    start, first_line = 0, 1
    place, lines = 0, 0  # how far the file is read, and how many lines end there since `start`
    try:
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
    except OSError as error:
        raise out_of_reach(file, error) from error
    if place > start:
        yield LineRange(file=file, start=start, end=place, first_line=first_line, max_row_bytes=max_row_bytes)


class _Carrier:
    """Cuts the content of a file, as it comes, into runs that carry their lines."""

    def __init__(self, file: str, *, unit_bytes: int, max_row_bytes: int) -> None:
        self._file = file
        self._unit_bytes = unit_bytes
        self._max_row_bytes = max_row_bytes
        self._held = bytearray()
        self._line = 1
        """The number of the first line that is held, or of the one that is being skipped."""
        self._begun = False
        self._skipping = False

    def runs(self, blocks: Iterator[bytes]) -> Iterator[RowRun]:
        """The runs; what comes before an error is kept."""
        try:
            for block in blocks:
                self._held += self._without_skipped(block)
                while (end := self._held.find(b"\n", self._unit_bytes - 1)) >= 0:
                    yield self._run(end + 1)
                whole = self._held.rfind(b"\n") + 1
                if len(self._held) - whole > self._max_row_bytes:
                    yield self._run(whole, skipped=True)
                    self._skipping = True
                    self._held.clear()
        except Exception as error:  # noqa: BLE001 -- what it says of the file is told apart in `unreadable`
            del self._held[self._held.rfind(b"\n") + 1 :]  # the line that the error is in
            if self._held:
                yield self._run(len(self._held))
            yield unreadable(self._file, error, line=self._line, begins_file=not self._begun)
        else:
            if self._held:
                yield self._run(len(self._held))

    def _without_skipped(self, block: bytes) -> bytes:
        """What is left of a block behind the line that is being skipped."""
        if not self._skipping:
            return block
        end = block.find(b"\n") + 1
        if end:
            self._skipping = False
            self._line += 1
            return block[end:]
        return b""

    def _run(self, end: int, *, skipped: bool = False) -> CarriedLines:
        """Give away what is held before ``end``."""
        content = bytes(memoryview(self._held)[:end])
        del self._held[:end]
        run = CarriedLines(
            file=self._file,
            begins_file=not self._begun,
            content=content,
            first_line=self._line,
            skipped=skipped,
            max_row_bytes=self._max_row_bytes,
        )
        self._begun = True
        self._line += content.count(b"\n")
        return run


def _blocks(file: str, compression: str | None) -> Iterator[bytes]:
    """The content of a file, decompressed; all that comes before an error is given before it is raised."""
    place = 0
    try:
        with _opened(file, compression) as stream:
            while block := stream.read(_BLOCK):
                yield block
                place += len(block)
    except Exception as error:
        if is_of_content(error):
            yield _before_break(file, compression, place)
        raise


def _before_break(file: str, compression: str | None, place: int) -> bytes:
    """What can be read from ``place`` on: a read that fails gives nothing of what it has read, but for single bytes."""
    found = bytearray()
    try:
        with _opened(file, compression) as stream:
            while place:
                place -= len(stream.read(min(place, _BLOCK)))
            while byte := stream.read(1):
                found += byte
    except Exception as error:
        if not is_of_content(error):
            raise
    return bytes(found)


@contextmanager
def _opened(file: str, compression: str | None) -> Iterator[BinaryIO]:
    with open_file(file) as stream:
        yield pa.CompressedInputStream(stream, compression) if compression else stream


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
    line = line.rstrip(b"\r\n")
    if not line.strip():
        return RawRow(number, None, "an empty line")
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return RawRow(number, None, f"not UTF-8: byte {line[error.start]:#04x} at {error.start}")
    except RecursionError:
        return RawRow(number, None, "JSON that is nested too deep")
    except json.JSONDecodeError as error:
        return RawRow(number, None, f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}")
    except ValueError as error:  # a number of thousands of digits
        return RawRow(number, None, f"not JSON: {error}")
    if not isinstance(values, dict):
        return RawRow(number, None, f"JSON of a {type(values).__name__}, not of an object")
    return RawRow(number, values)


def _too_long(max_row_bytes: int) -> str:
    return f"longer than corpus.max_row_bytes={max_row_bytes}"
