"""Where the units of a corpus are worked on: processes of this machine, or a cluster (`chatmusician.data.ray_engine`).

The task of an engine is sent to each worker once, however many items it is done with, so that what the task remembers
(the ids of pieces of text, an open file) serves all items of a worker.
"""

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from tempfile import NamedTemporaryFile
from threading import Thread, current_thread, main_thread
from typing import Any, Protocol

from chatmusician.data.answers import answer_of, result_in
from chatmusician.errors import UserError

ENGINES = ("local", "ray")


class Engine(Protocol):
    """A `chatmusician.data.units.Run` that may use other processes: task, items and results can be pickled."""

    def __call__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results, as they are asked for; a bounded number of items is in flight."""


class WorkerKilled(RuntimeError):
    """A process of `LocalProcesses` is gone without a word."""


def find_engine(name: str, *, workers: int) -> Engine:
    """The engine of a name.

    Raises:
        UserError: there is none of that name, or its package is not installed.
    """
    if name == "local":
        return LocalProcesses(workers=workers)
    if name == "ray":
        from chatmusician.data.ray_engine import RayCluster

        return RayCluster()
    raise UserError(f"engine={name!r}: use one of {', '.join(ENGINES)}")


@dataclass(frozen=True, kw_only=True)
class LocalProcesses:
    """Processes of this machine, this one among them, so that work begins while the others start.

    At most two items a process are in flight, and as many results wait for those before them. The standard library's
    pool is not used: its threads and locks bear neither an exception out of nowhere, as Ctrl-C is, nor a worker that is
    killed while another starts. Here each worker has two pipes, and this process has one thread.
    """

    workers: int

    def __call__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """See `Engine`.

        Raises:
            WorkerKilled: a worker is gone.
        """
        if self.workers <= 1:
            yield from map(task, items)
            return
        with _in_file(task) as file, _ended(_Team(file, at_most=self.workers - 1)) as team:
            answers: deque[_Answer] = deque()
            for item in items:
                answers.append(team.ask(item) or _Answer(answer_of(task, item)))
                while answers and (answers[0].content is not None or len(answers) >= 4 * self.workers):
                    yield team.awaited(answers.popleft())
            while answers:
                yield team.awaited(answers.popleft())


@dataclass
class _Answer:
    """What becomes of an item. An error is raised in its turn, behind the results before it: the same in every run."""

    content: bytes | None = None
    """As `chatmusician.data.answers` writes it; None until it is given."""


class _Worker:
    """A process that answers items in their order, with the pipes to it and from it."""

    def __init__(self, file: str) -> None:
        context = get_context("spawn")
        theirs, self._items = context.Pipe(duplex=False)
        self.answers, says = context.Pipe(duplex=False)
        self.process = context.Process(target=_serve, args=(file, theirs, says), daemon=True)
        self.process.start()
        theirs.close()
        says.close()
        self.asked: deque[_Answer] = deque()
        """What it has not answered."""

    def ask(self, item: Any) -> _Answer:
        """The answer, which is given later. The worker reads at once, so that this process does not wait for it."""
        try:
            self._items.send(item)
        except BrokenPipeError as error:
            raise self._killed() from error
        answer = _Answer()
        self.asked.append(answer)
        return answer

    def read(self) -> None:
        """One answer, which may have to be waited for."""
        try:
            content = self.answers.recv_bytes()
        except (EOFError, OSError) as end:  # between two answers, or in one
            raise self._killed() from end
        self.asked.popleft().content = content

    def dismiss(self) -> None:
        """No further item: it ends when it is done with the one it is at."""
        self._items.close()

    def join(self) -> None:
        """Wait for the end. What it still says is read, for it would wait for that, but by bytes: a message may be torn
        where an exception came while it was read.
        """
        while os.read(self.answers.fileno(), 1 << 16):
            pass
        self.answers.close()
        self.process.join()

    def _killed(self) -> WorkerKilled:
        return WorkerKilled(f"the process {self.process.pid} was killed")


class _Team:
    """The workers of a run; one is started when those that there are have enough to do."""

    def __init__(self, file: str, *, at_most: int) -> None:
        self.members: list[_Worker] = []
        self._file, self._at_most = file, at_most

    def ask(self, item: Any) -> _Answer | None:
        """The answer of a worker; None if each has two items that it has not answered.

        Raises:
            UserError: the system starts no further process.
            WorkerKilled: a worker is gone.
        """
        self._read(timeout=0)
        if len(self.members) < self._at_most and all(worker.asked for worker in self.members):
            self._start_another()
        worker = min(self.members, key=lambda worker: len(worker.asked))
        return worker.ask(item) if len(worker.asked) < 2 else None

    def _start_another(self) -> None:
        try:
            with _stops_held_back(), _without_ctrl_c():
                self.members.append(_Worker(self._file))
        except OSError as error:
            there_are = len(self.members) + 1
            raise UserError(
                f"data.prepare_workers: after {there_are} no further process can be started "
                f"({error.strerror or error}); use {there_are}"
            ) from error

    def awaited(self, answer: _Answer) -> Any:
        """The result once it is there.

        Raises:
            Exception: the task's own.
            WorkerKilled: a worker is gone.
        """
        while answer.content is None:
            self._read(timeout=None)
        return result_in(answer.content)

    def _read(self, *, timeout: float | None) -> None:
        """What the workers have said."""
        by_pipe = {worker.answers: worker for worker in self.members}
        for pipe in wait(list(by_pipe), timeout=timeout):
            by_pipe[pipe].read()  # type: ignore[index]  # `wait` also takes sockets


@contextmanager
def _ended(team: _Team) -> Iterator[_Team]:
    """Workers end with the block: what they have not begun is not done. A second stop while they end kills them."""
    try:
        yield team
    finally:
        try:
            for worker in team.members:
                worker.dismiss()
            for worker in team.members:
                worker.join()
        except BaseException:
            for worker in team.members:
                worker.process.kill()
            raise


@contextmanager
def _in_file(task: Callable[[Any], Any]) -> Iterator[str]:
    """The task lies in a file: it has megabytes, of which the pipe to a process that starts takes 64 kB ahead.

    If that process were killed before it has read the rest, this one would wait for ever.
    """
    with NamedTemporaryFile(prefix="chatmusician-") as file:
        try:
            pickle.dump(task, file)
            file.flush()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{file.name}: cannot be written ({reason}); set TMPDIR to another folder") from error
        yield file.name


@contextmanager
def _stops_held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM are dealt with behind the block: a process that is half started would tell of it.

    To block the signals is not enough: the system then gives them to another thread, a numeric library's perhaps, and
    Python calls the handler in this one all the same. Where this is not the main thread, no handler is ever called.
    """
    if current_thread() is not main_thread():
        yield
        return
    came: list[int] = []
    handlers = {what: signal.getsignal(what) for what in (signal.SIGINT, signal.SIGTERM)}
    ours = {what: handler for what, handler in handlers.items() if callable(handler)}
    for what in ours:
        signal.signal(what, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for what, handler in ours.items():
            signal.signal(what, handler)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started in the block never get Ctrl-C, which goes to all processes of a run.

    This one ends its workers, once they are done with what they are at.
    """
    resource_tracker.ensure_running()  # it comes with the first process, and would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _Inbox:
    """In a worker: the items, read as they come, so that who sends them never waits."""

    items: "SimpleQueue[Any]" = field(default_factory=SimpleQueue)
    ended: bool = False

    def fill(self, pipe: Connection) -> None:
        try:
            while True:
                self.items.put(pipe.recv())
        except (EOFError, OSError):  # between two items, or in one
            self.ended = True
            self.items.put(None)  # there is no such item: it wakes who waits for one

    def __iter__(self) -> Iterator[Any]:
        while True:
            item = self.items.get()
            if self.ended:
                return
            yield item


def _serve(file: str, items: Connection, answers: Connection) -> None:
    """In a worker: do items until no more come, and end at once when the process that started it is gone, killed."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    inbox = _Inbox()
    Thread(target=watch, daemon=True).start()
    Thread(target=inbox.fill, args=(items,), daemon=True).start()
    task = pickle.loads(Path(file).read_bytes())
    for item in inbox:
        answers.send_bytes(answer_of(task, item))
