"""Where the units of a corpus are worked on: processes of this machine, or a cluster (`chatmusician.data.ray_engine`).

The task of an engine is sent to each worker once, however many items it is done with, so that what the task remembers
(the ids of pieces of text, an open file) serves all items of a worker.
"""

import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread, current_thread, main_thread
from typing import Any, Protocol

from chatmusician.errors import UserError

ENGINES = ("local", "ray")


class Engine(Protocol):
    """A `chatmusician.data.units.Run` that may use other processes: task, items and results can be pickled."""

    def __call__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results, as they are asked for; a bounded number of items is in flight."""


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

    At most two items a process are in flight, and as many results wait for those before them.
    """

    workers: int

    def __call__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """See `Engine`."""
        if self.workers <= 1:
            yield from map(task, items)
            return
        with _started(task, workers=self.workers - 1) as pool:
            results: deque[Future[Any]] = deque()
            for item in items:
                if not _sent(item, pool, results, at_most=2 * (self.workers - 1)):
                    results.append(_done_here(task, item))
                while results and (_is_done(results[0]) or len(results) >= 4 * self.workers):
                    yield _awaited(results.popleft())
            while results:
                yield _awaited(results.popleft())


@contextmanager
def _started(task: Callable[[Any], Any], *, workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that know the task. What they have not begun when the block ends is not done.

    The task lies in a file: it has megabytes, of which the pipe to a process that starts takes 64 kB ahead. If that
    process were killed before it has read the rest, this one would wait for ever.
    """
    others = set(active_children())
    with NamedTemporaryFile(prefix="chatmusician-") as file:
        try:
            pickle.dump(task, file)
            file.flush()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{file.name}: cannot be written ({reason}); set TMPDIR to another folder") from error
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(file.name,))
        try:
            yield pool
        except BrokenProcessPool:
            # The pool ends the workers that it has when one is gone, and waits for ever for one that began meanwhile.
            for process in set(active_children()) - others:
                process.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _stops_held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM are dealt with behind the block: the locks of a pool do not bear an exception out of nowhere.

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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _sent(item: Any, pool: ProcessPoolExecutor, results: deque[Future[Any]], *, at_most: int) -> bool:
    """Whether the item was given to the workers: not if they have as many that are not done."""
    with _stops_held_back():
        if sum(not result.done() for result in results) >= at_most:
            return False
        with _without_ctrl_c():
            results.append(pool.submit(_do, item))
        return True


def _is_done(result: Future[Any]) -> bool:
    with _stops_held_back():
        return result.done()


def _awaited(result: Future[Any]) -> Any:
    while True:
        with _stops_held_back():
            if wait([result], timeout=0.1).done:
                return result.result()


def _done_here(task: Callable[[Any], Any], item: Any) -> Future[Any]:
    """The result, or the error, which is raised when the results before it are given: the same in every run."""
    future: Future[Any] = Future()
    try:
        future.set_result(task(item))
    except Exception as error:  # noqa: BLE001 -- the future raises it
        future.set_exception(error)
    return future


_task: Callable[[Any], Any]


def _begin(file: str) -> None:
    """In a worker: keep the task of a file, and end when the process that started it is gone, killed perhaps."""
    global _task
    _task = pickle.loads(Path(file).read_bytes())
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _do(item: Any) -> Any:
    return _task(item)
