"""Tasks and rows for the tests of engines, in a module that worker processes can import."""

import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chatmusician.data.raw_rows import RawRow, RowRun
from chatmusician.data.rows import RowSource
from chatmusician.errors import UserError


class Counting:
    """Gives the item, the process that does it, and how many it has done with this task."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, item: int) -> tuple[int, int, int]:
        self.done += 1
        return item, os.getpid(), self.done


@dataclass(frozen=True)
class FourthFirst:
    """Does not end the first of the items before the fourth one is being done, and so two others are done."""

    fifo: Path

    def __call__(self, item: int) -> int:
        if item == 0:
            self.fifo.read_text()
        elif item == 3:
            self.fifo.write_text("")
        return -item


class NotCopied(Exception):
    """Cannot be read again when it is pickled."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


ERRORS = {
    "user": UserError("data.seq_len=1: a row needs at least 2 tokens"),
    "system": OSError(errno.ENOSPC, "No space left on device", "/data/train"),
    "fault": ZeroDivisionError("division by zero"),
    "not copied": NotCopied("the unit", "too long"),
}


def fail_at_five(job: tuple[int, str]) -> int:
    item, kind = job
    if item == 5:
        raise ERRORS[kind]
    return item


def die_at_five(item: int) -> int:
    if item == 5:
        os.kill(os.getpid(), 9)
    return item


def tell_and_wait(fifo: Path) -> None:
    """Tell the process to whoever reads the fifo, and do nothing until it is killed."""
    fifo.write_text(str(os.getpid()))
    threading.Event().wait()


def wait_if_told(fifo: Path | None) -> None:
    if fifo is not None:
        tell_and_wait(fifo)


@dataclass(frozen=True)
class FatefulRun:
    """Rows whose first and third reading do not end. ``readings`` keeps the process of each."""

    run: RowRun
    fifo: Path
    readings: Path

    @property
    def file(self) -> str:
        return self.run.file

    @property
    def begins_file(self) -> bool:
        return self.run.begins_file

    def rows(self) -> Iterator[RawRow]:
        with self.readings.open("a+") as readings:
            readings.seek(0)
            before = len(readings.readlines())
            readings.write(f"{os.getpid()}\n")
        if before in (0, 2):
            tell_and_wait(self.fifo)
        yield from self.run.rows()


class FatefulSource(RowSource):
    """Rows with a `FatefulRun` among them."""

    fifo: Path
    readings: Path

    def runs(self) -> Iterator[RowRun]:
        for number, run in enumerate(super().runs()):
            yield FatefulRun(run, self.fifo, self.readings) if number == 5 else run
