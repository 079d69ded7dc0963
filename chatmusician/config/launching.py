"""Runs a job in processes of its own: one a device of this machine, and in a sweep one at least for each job.

::

    this process (Hydra)                     rank 0                       rank 1 ...
      start ------------------------------> python -m chatmusician.train the same
      wait                                   terminal, metrics.json       ranks/rank-1.log
      SIGTERM, SIGUSR1, Ctrl-C ------------> the same signal ------------> the same signal
      first error of all, status, value <--- outcome file <-------------- outcome file

The ranks compose the job's config again from its overrides, with ``hydra.run.dir`` pinned to its folder; this process
never imports torch and joins no group. They find one another as under torchrun, whose variables they get. Not torchrun
itself, for what happens at the end: it stops all ranks as soon as one ends with a status, kills them 30 s after a
signal, in the middle of a checkpoint or long after a rank is stuck, prints a table of its own, and is one more process
with torch (4 s here). The port of the ranks is held, bound but not listening, by this process: nobody else is given it.

When a rank fails, the others are told to stop and have ``GRACE_S`` seconds; a rank that waits in a collective for a
dead peer would wait for minutes.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from chatmusician.config.failures import INTERRUPTED, TERMINATED
from chatmusician.config.outcomes import FILE, PIPE, Told, read_told
from chatmusician.errors import STOPPED

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GRACE_S = 5.0
SAME_REQUEST_S = 5.0
"""Schedulers send several signals for one reason; a checkpoint takes the time that it takes."""
POLL_S = 0.05
_LOST_PEER = re.compile(r"Connection (closed|reset|refused)|Broken pipe|timed out|(recv|send)Bytes|NCCL|gloo", re.I)
"""In the last line of the error of a rank whose peer is gone."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    status: int
    """0, or what a single process would have exited with."""
    value: Any = None
    """What the body returned on rank 0."""
    text: str = ""
    """The error to show, with its line ends."""
    stopped: bool = False
    """Whether this process was asked to stop."""


@dataclass(kw_only=True)
class Rank:
    """One process of a job."""

    number: int
    process: subprocess.Popen[bytes]
    outcome_file: Path
    log: Path | None
    """Where its output goes; None for the terminal."""
    ended: float | None = None
    """A time shortly before its end was seen, so that it comes before what it led to elsewhere."""
    killed: bool = False
    """Whether we killed it, after the grace."""

    @property
    def told(self) -> Told | None:
        """Its last words."""
        return read_told(self.outcome_file)


@dataclass(kw_only=True)
class Watch:
    """What has happened to a job's ranks so far."""

    ranks: list[Rank]
    signals: list[int] = field(default_factory=list)
    asked: float = 0.0
    """When the first signal came."""
    deadline: float | None = None

    def forward(self, number: int, _frame: object = None) -> None:
        """Pass a signal on to the ranks; after another request they have the grace and no more."""
        now = time.monotonic()
        if self.signals and now - self.asked > SAME_REQUEST_S:
            self.deadline = now + GRACE_S
        if not self.signals:
            self.asked = now
        self.signals.append(number)
        self.send(number)

    def send(self, number: int) -> None:
        """Send a signal to the ranks that still run."""
        for rank in self.ranks:
            rank.process.send_signal(number)  # does nothing once it has been waited for


def run_job_processes(
    command: Sequence[str],
    *,
    count: int,
    folder: Path,
    cwd: Path,
    shown: bool = True,
    wanted: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Run ``python COMMAND`` in ``count`` processes and wait for all of them.

    Args:
        command: behind the interpreter.
        count: ranks; one alone is no rank, and is not told that it is one.
        folder: the job's, for ``ranks/rank-N.log``.
        cwd: where the ranks run.
        shown: rank 0 writes to the terminal; otherwise to a log as the others do.
        wanted: asked every second; if it says no, the job is stopped as by SIGTERM.
    """
    with ExitStack() as stack:
        told = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatmusician-")))
        pipe = stack.enter_context(_pipe())
        port = stack.enter_context(_held_port())
        watch = Watch(ranks=[])
        stack.enter_context(_forwarding(watch))
        for number in range(count):
            log = None if number == 0 and shown else folder / "ranks" / f"rank-{number}.log"
            variables = {FILE: str(told / f"{number}.json"), PIPE: str(pipe)} | _rank_variables(number, count, port)
            process = _start(command, variables, cwd=cwd, log=log, pipe=pipe)
            watch.ranks.append(Rank(number=number, process=process, outcome_file=told / f"{number}.json", log=log))
        if watch.signals:  # one came before the last was there
            watch.send(watch.signals[-1])
        _wait(watch, wanted)
        return _outcome(watch)


def _start(
    command: Sequence[str], variables: Mapping[str, str], *, cwd: Path, log: Path | None, pipe: int
) -> "subprocess.Popen[bytes]":
    output: IO[bytes] | None = None
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    try:
        return subprocess.Popen(
            [sys.executable, "-u", "-X", "faulthandler", *command],
            cwd=cwd,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(pipe,),
            process_group=0,  # Ctrl-C at the terminal comes to us alone, and goes on from here once
        )
    finally:
        if output is not None:
            output.close()


def _rank_variables(number: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would set; and the cores of this machine shared out."""
    if count == 1:
        return {}
    rank, size = str(number), str(count)
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": "0",
        "NODE_RANK": "0",
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"chatmusician-{os.getpid()}",  # how Lightning knows that the ranks are there
    }
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // count))
    return variables


@contextmanager
def _pipe() -> Iterator[int]:
    """The end for the ranks to read from; the other one closes with this process."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def _held_port() -> Iterator[int]:
    """A free port of this machine that only who asks for it by number is given."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as rank 0 does, so that both may bind it
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def _forwarding(watch: Watch) -> Iterator[None]:
    """Signals to this process go to the ranks; one that is ignored here (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in FORWARDED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, watch.forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _wait(watch: Watch, wanted: Callable[[], bool]) -> None:
    """Until all ranks have ended, by themselves or not."""
    looked = asked = time.time()
    try:
        while any(rank.ended is None for rank in watch.ranks):
            for rank in watch.ranks:
                if rank.ended is None and rank.process.poll() is not None:
                    rank.ended = looked
                    _stop_the_others(watch, rank.process.returncode)
            looked = time.time()
            if watch.deadline is not None and time.monotonic() > watch.deadline:
                _kill(watch)
            if looked - asked > 1 and not watch.signals:
                asked = looked
                if not wanted():
                    watch.forward(signal.SIGTERM)
            time.sleep(POLL_S)
    finally:
        _kill(watch)


def _stop_the_others(watch: Watch, status: int) -> None:
    """After a rank's end; one that has saved a checkpoint leaves the others all the time that theirs takes."""
    if status in (0, STOPPED) or watch.deadline is not None:
        return
    watch.deadline = time.monotonic() + GRACE_S
    if not watch.signals:
        watch.send(signal.SIGTERM)


def _kill(watch: Watch) -> None:
    """End what still runs, with the processes that it has started."""
    for rank in watch.ranks:
        if rank.process.poll() is None:
            rank.killed = True
            os.killpg(rank.process.pid, signal.SIGKILL)
            rank.process.wait()


def _outcome(watch: Watch) -> Outcome:
    for rank in watch.ranks:
        if rank.log is not None and rank.log.stat().st_size == 0:
            rank.log.unlink()
    failed = [rank for rank in watch.ranks if rank.process.returncode != 0]
    stopped = bool(watch.signals)
    if not failed:
        told = watch.ranks[0].told
        return Outcome(status=0, value=None if told is None else told.value, stopped=stopped)
    first = min(failed, key=_order)
    return Outcome(status=_status(first, watch.signals), text=_text(first, watch), stopped=stopped)


def _order(rank: Rank) -> tuple[bool, float]:
    """Causes before consequences, and the earlier before the later."""
    told, status = rank.told, rank.process.returncode
    if told is not None and told.text:
        last = told.text.strip().splitlines()[-1]
        return bool(_LOST_PEER.search(last)), told.time
    consequence = rank.killed or status in (-signal.SIGTERM, -signal.SIGABRT, TERMINATED)
    return consequence, rank.ended or 0.0


def _status(rank: Rank, signals: Sequence[int]) -> int:
    status = rank.process.returncode
    if status > 0:
        return status
    if -status in signals:  # before it could set a handler
        return INTERRUPTED if -status == signal.SIGINT else TERMINATED
    return TERMINATED if rank.killed and signals else 1


def _text(rank: Rank, watch: Watch) -> str:
    """The error of the rank that failed first, then where to look further."""
    name = f"rank {rank.number}" if len(watch.ranks) > 1 else "the job's process"
    told, status = rank.told, rank.process.returncode
    if told is not None and told.text:
        same = [other.told is not None and other.told.text == told.text for other in watch.ranks]
        return told.text + (
            "" if all(same) or rank.log is None else f"{name} of {len(watch.ranks)} failed first\n{_log_line(rank)}"
        )
    if status < 0 and -status not in watch.signals and not rank.killed:
        cause = signal.Signals(-status).name
        memory = "; if by nobody, memory has run out" if cause == "SIGKILL" else ""
        return f"error: {name} (pid {rank.process.pid}) was killed by {cause}{memory}\n{_log_line(rank)}"
    if status in (INTERRUPTED, TERMINATED, STOPPED) or watch.signals:
        return ""
    return f"error: {name} (pid {rank.process.pid}) ended with status {status}\n{_log_line(rank)}"


def _log_line(rank: Rank) -> str:
    return f"its output is in {rank.log}\n" if rank.log is not None and rank.log.exists() else ""
