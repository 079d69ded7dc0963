"""The parent of a tool's runs: imports the tool once, then forks a confined child for each tune.

Flow: ``tool_processes`` starts ``python -I -B warm_parent.py CONTROL FOLDER SCRIPT`` and asks for runs over the socket
CONTROL (a file descriptor). Each is a run of the function ``main`` of the module SCRIPT, or, where that is empty, of a
program. The import is most of a short run: verovio takes 0.13 s, the fork of a process that has it 5 ms. A child
knows nothing of earlier tunes, since this process, which is not confined, does nothing but fork.

A request is its length in four bytes and JSON of that length (`Run`), and brings three file descriptors: a socket that
stands for the run, standard output, and standard error. Over the run's socket comes its exit status in four bytes,
negative for a signal; once the other side has closed that socket, or its half, the run is killed. When CONTROL closes,
which it does with the end of whoever holds it, however that ends, all runs are killed, FOLDER is removed and this
process ends. It also does after `IDLE_S` seconds without a run.
"""

import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGE_FOLDER.parent))  # python -I does not look beside a script

from chatmusician.music.children.confinement import confine  # noqa: E402 -- found by the line above

IDLE_S = 600.0
LENGTH = struct.Struct("!I")
STATUS = struct.Struct("!i")
DESCRIPTORS_MOST = 4096
REFUSED = 3
"""Exit status of a script that ends with ``SystemExit`` and a message that is fit to show to a user."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is asked for."""

    arguments: list[str]
    """Of the script, or the program's path and its arguments."""
    directory: str
    """Where it runs; the only place it writes to."""
    environment: dict[str, str]
    reads: list[str]
    """What it may read besides programs, libraries, Python with its packages, and this package."""
    cpu_seconds: int
    memory_bytes: int
    file_bytes: int


class WarmParent:
    """The loop that starts, follows and ends runs.

    Args:
        control: where requests come from.
        script: the module of this package to run; empty for programs.
    """

    def __init__(self, *, control: socket.socket, script: str) -> None:
        self._control = control
        self._script = script
        self._runs: dict[int, socket.socket] = {}  # by process id
        self._bell, self._ringer = socket.socketpair()  # for ends of processes
        for end in (self._bell, self._ringer):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)

    def serve(self) -> None:
        """Start what is asked for until nobody can ask any more, or nobody has for long."""
        while events := self._selector.select(None if self._runs else IDLE_S):
            for key, _ in events:
                if key.fileobj is self._bell:
                    self._bell.recv(1024)
                    self._reap()
                elif key.fileobj is self._control:
                    if not self._accept():
                        return
                elif key.data in self._runs:  # or it ended while the bell was answered
                    self._selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs."""
        for process in list(self._runs):
            os.kill(process, signal.SIGKILL)
            self._finish(process)

    def _accept(self) -> bool:
        """Read a request and start the run; False where there will be no more."""
        head, descriptors, _, _ = socket.recv_fds(self._control, LENGTH.size, 3)
        if len(head) < LENGTH.size:
            return False
        body = bytearray()
        missing = LENGTH.unpack(head)[0]
        while len(body) < missing:
            if not (piece := self._control.recv(missing - len(body))):
                return False
            body += piece
        line = socket.socket(fileno=descriptors[0])
        try:
            process = os.fork()
        except OSError:  # no room for another process: the line closes without a status
            line.close()
        else:
            if process == 0:
                _become(Run(**json.loads(body)), descriptors[1:], script=self._script)
            self._runs[process] = line
            self._selector.register(line, selectors.EVENT_READ, data=process)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        return True

    def _reap(self) -> None:
        for process in list(self._runs):
            if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                self._finish(process)

    def _finish(self, process: int) -> None:
        """Wait for a run that is over or killed, kill what it started, and report how it ended."""
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        with suppress(OSError):  # nobody is left
            os.killpg(process, signal.SIGKILL)  # while the number of its group is still taken
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        line = self._runs.pop(process)
        if line in self._selector.get_map():
            self._selector.unregister(line)
        with suppress(OSError):  # nobody listens
            line.send(STATUS.pack(status))
        line.close()


def _become(run: Run, streams: list[int], *, script: str) -> None:
    """In the child: confine it and run the tool. Does not return."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # the last two are ignored by Python
            signal.signal(number, signal.SIG_DFL)
        for stream, target in zip(streams, (1, 2), strict=True):
            os.dup2(stream, target)
        os.closerange(3, DESCRIPTORS_MOST)
        os.chdir(run.directory)
        os.environ.clear()
        os.environ.update(run.environment)
        confine(
            cpu_seconds=run.cpu_seconds,
            memory_bytes=run.memory_bytes,
            file_bytes=run.file_bytes,
            directory=run.directory,
            reads=[sys.prefix, sys.base_prefix, str(PACKAGE_FOLDER), *run.reads],
            may_execute=not script,
        )
        if not script:
            os.execv(run.arguments[0], run.arguments)
        import_module(script).main(*run.arguments)
        sys.stdout.flush()
        status = 0
    except SystemExit as refusal:
        os.write(2, f"{refusal}\n".encode())
        status = REFUSED
    except BaseException:  # noqa: BLE001 -- nothing may go back to the loop
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _serve(control: int, folder: str, script: str) -> None:
    if script:
        with suppress(Exception):  # each run meets it again, and reports it
            import_module(script)
    parent = WarmParent(control=socket.socket(fileno=control), script=script)
    try:
        parent.serve()
    finally:
        parent.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2], sys.argv[3])
