"""What a job's process tells the process that started it: the error it ended with, or what its body returned.

::

    launching  starts ``python -m chatmusician.train ...`` with the name of a file and a pipe in its environment
    entry      adopts them: from now on an error goes into the file, not to standard error
    launching  reads the files of all ranks and shows the error that came first

A rank that loses its peer fails too, often before the peer's own message is out; only who has the messages of all can
put the cause first. The pipe is never written to: it is closed when the starting process ends, however that
ends, and the job ends then too.
"""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "CHATMUSICIAN_OUTCOME"
PIPE = "CHATMUSICIAN_STARTER"
LAST_WORDS_S = 60.0
"""How long a job that has lost its starter may take to write a checkpoint."""

_place: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a process said at its end."""

    time: float
    """Seconds since the epoch."""
    text: str = ""
    """Its error as it would stand on standard error, or ''."""
    value: Any = None
    """What its body returned, if that can be JSON."""


class JobFailedError(Exception):
    """A job's processes failed; ``text`` is the error of the one that failed first, as it is to be shown."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text, status)
        self.text, self.status = text, status


def adopt() -> None:
    """Take over what the starting process left in the environment, if one did; processes started from here do not."""
    global _place
    file, pipe = os.environ.pop(FILE, None), os.environ.pop(PIPE, None)
    _place = None if file is None else Path(file)
    if pipe is not None:
        threading.Thread(target=_end_with_the_starter, args=(int(pipe),), daemon=True).start()


def is_started() -> bool:
    """Whether another process of ours started this one and waits for what it tells."""
    return _place is not None


def tell_error(text: str) -> None:
    """Show an error, or leave it to the process that started this one."""
    if _place is None:
        sys.stderr.write(text)
    else:
        _write(_place, {"time": time.time(), "text": text})


def tell_value(value: Any) -> None:
    """Leave what a body returned to the process that started this one, if one did."""
    if _place is not None:
        _write(_place, {"time": time.time(), "value": value})


def read_told(place: Path) -> Told | None:
    """What a process said into its file; None if it was not able to."""
    try:
        return Told(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _write(place: Path, content: dict[str, Any]) -> None:
    partial = place.with_suffix(".partial")
    partial.write_text(json.dumps(content, default=str), encoding="utf-8")
    partial.replace(place)


def _end_with_the_starter(pipe: int) -> None:
    os.read(pipe, 1)  # returns once the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_WORDS_S)
    os.killpg(os.getpid(), signal.SIGKILL)  # a job's process leads a group of its own
