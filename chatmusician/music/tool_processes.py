"""Where runs of tools are asked for: one parent process a tool, started when first needed, which forks each run.

Flow: ``sandbox`` -> `parent_of` -> `ToolParent.run` -> a process with `chatmusician.music.children.warm_parent` -> a
confined child. A parent ends with this process, in whatever way that ends, and by itself after ten minutes without a
run. Its runs have their directories in its folder, which it removes when it ends.
"""

import atexit
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from chatmusician.music.children.warm_parent import LENGTH, STATUS, Run

CHILDREN = Path(__file__).parent / "children"
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # a cluster's Python may not start without them
KILL_S = 5.0
"""Seconds that a parent has to report that it killed a run, or to end, before it is killed itself."""


class ParentEnded(Exception):
    """The parent of a run ended before the run: after long idleness, or for want of memory."""


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run ended, and what it printed."""

    exit_status: int
    """Negative for a signal."""
    stdout: bytes
    stderr: bytes


class ToolParent:
    """A process that forks the runs of one script, a module of `chatmusician.music.children`; of programs without.

    Raises:
        OSError: the system has no room for another process, or for files.
    """

    def __init__(self, script: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chatmusician-"))
        self._sending = threading.Lock()
        self._control, theirs = socket.socketpair()
        module = f"chatmusician.music.children.{script}" if script else ""
        program = [sys.executable, "-I", "-B", str(CHILDREN / "warm_parent.py")]
        try:
            self._process = subprocess.Popen(
                [*program, str(theirs.fileno()), str(self.folder), module],
                env=environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a Ctrl-C is meant for us
            )
        except OSError:
            self._control.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        finally:
            theirs.close()

    @property
    def process_id(self) -> int:
        """Of the parent itself."""
        return self._process.pid

    def run(self, run: Run, *, timeout_s: float, output_bytes: int) -> RunEnd:
        """Have a run made, and wait for it and all that it started to end.

        Args:
            run: what to run; its directory is in `folder`.
            timeout_s: wall-clock seconds, after which it is killed.
            output_bytes: how much of standard output, and of standard error, is kept; the rest is read and dropped.

        Raises:
            ParentEnded: see there.
            TimeoutError: it took longer.
            OSError: the system has no room for pipes.
        """
        deadline = time.monotonic() + timeout_s
        with ExitStack() as ours:
            with ExitStack() as theirs:
                line, far_end = socket.socketpair()
                ours.enter_context(line)
                theirs.enter_context(far_end)
                outputs, descriptors = [], [far_end.fileno()]
                for _ in range(2):
                    reading, writing = os.pipe()
                    outputs.append(ours.enter_context(os.fdopen(reading, "rb", buffering=0)))
                    descriptors.append(theirs.enter_context(os.fdopen(writing, "wb", buffering=0)).fileno())
                self._ask(run, descriptors)
            try:
                return _follow(line, outputs, deadline=deadline, output_bytes=output_bytes)
            except ParentEnded:
                raise
            except BaseException:
                self._stop(line)
                raise

    def _ask(self, run: Run, descriptors: list[int]) -> None:
        request = json.dumps(asdict(run)).encode()
        try:
            with self._sending:  # runs of several threads do not mix
                socket.send_fds(self._control, [LENGTH.pack(len(request))], descriptors)
                self._control.sendall(request)
        except OSError as error:
            raise ParentEnded from error

    def _stop(self, line: socket.socket) -> None:
        """Have the run killed, and wait until it is."""
        with suppress(OSError):  # the parent has ended
            line.shutdown(socket.SHUT_WR)
        line.settimeout(KILL_S)
        try:
            line.recv(STATUS.size)
        except TimeoutError:
            self._process.kill()  # the run goes with it

    def close(self) -> None:
        """End the process, and with it what it runs."""
        self._control.close()
        try:
            self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self) -> None:
        """In a fork of this process: leave the parent to the process that started it."""
        self._control.close()
        self._process.returncode = 0  # not a child of this process, which may not wait for it


def _follow(line: socket.socket, outputs: Sequence[FileIO], *, deadline: float, output_bytes: int) -> RunEnd:
    """Read what a run prints, keeping some, and its exit status, to the end of all three.

    Not to the end of the run alone: what it leaves running may hold its outputs open, and is killed after it.
    """
    kept = {output.fileno(): bytearray() for output in outputs}
    status = b""
    with selectors.DefaultSelector() as selector:
        for descriptor in (line.fileno(), *kept):
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            for key, _ in selector.select(remaining_s):
                chunk = os.read(key.fd, 65536)
                if key.fd in kept:
                    kept[key.fd] += chunk[: output_bytes - len(kept[key.fd])]
                else:
                    status += chunk
                if not chunk:
                    selector.unregister(key.fd)
    if not status:
        raise ParentEnded
    stdout, stderr = kept.values()
    return RunEnd(exit_status=STATUS.unpack(status)[0], stdout=bytes(stdout), stderr=bytes(stderr))


def environment(directory: Path) -> dict[str, str]:
    """The environment variables of a process that has ``directory`` for its home."""
    kept = {key: os.environ[key] for key in INHERITED if key in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(directory), "TMPDIR": str(directory), **kept}


_parents: dict[str, ToolParent] = {}
_starting = threading.Lock()


def parent_of(script: str) -> ToolParent:
    """The parent of a script's runs, started if there is none.

    Raises:
        OSError: see `ToolParent`.
    """
    with _starting:
        if script not in _parents:
            _parents[script] = ToolParent(script)
        return _parents[script]


def discard(script: str, parent: ToolParent) -> None:
    """Let go of a parent that has ended, so that the next run starts another."""
    with _starting:
        if _parents.get(script) is parent:
            del _parents[script]
    parent.close()


@atexit.register
def close_all() -> None:
    """End all parents; the next run starts them again."""
    while _parents:
        _parents.popitem()[1].close()


def _leave_parents() -> None:
    """In a fork of this process, such as a worker of a loader: the parents are not its own."""
    global _starting
    for parent in _parents.values():
        parent.forget()
    _parents.clear()
    _starting = threading.Lock()  # another thread may have held it at the fork


os.register_at_fork(after_in_child=_leave_parents)
