"""Where the units of a corpus are worked on: processes of this machine, or a cluster (`chatmusician.data.ray_engine`).

The task of an engine is sent to each worker once, however many items it is done with, so that what the task remembers
(the ids of pieces of text, an open file) serves all items of a worker.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from threading import Thread
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
        with ProcessPoolExecutor(
            self.workers - 1, mp_context=get_context("spawn"), initializer=_begin, initargs=(task,)
        ) as pool:
            results: deque[Future[Any]] = deque()
            for item in items:
                if sum(not result.done() for result in results) < 2 * (self.workers - 1):
                    results.append(pool.submit(_do, item))
                else:
                    results.append(_done(task(item)))
                while results and (results[0].done() or len(results) >= 4 * self.workers):
                    yield results.popleft().result()
            while results:
                yield results.popleft().result()


def _done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


_task: Callable[[Any], Any]


def _begin(task: Callable[[Any], Any]) -> None:
    """In a worker: keep the task, and end when the process that started it is gone, killed perhaps."""
    global _task
    _task = task
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _do(item: Any) -> Any:
    return _task(item)
