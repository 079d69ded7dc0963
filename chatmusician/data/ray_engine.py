"""The units of a corpus on a Ray cluster, for input that one machine would read for days.

Flow: items -> chunks -> a Ray Data dataset of each, an item a block -> the task on every core -> results in order. Ray
Data takes a list, and the items are an iterator that may be longer than memory, so it gets them in chunks. Each chunk
is begun before the one before it is read to the end, or cores would wait for the slowest item of each: 32 items of
0.2 s took 3.4 s on two cores, 3.7 s with one chunk at a time.

Every node needs this package, in the same version (it is compared), and has to see the files of the corpus and the
prepared folder under the same paths; relative ones count from where the command was started. Shards and records are
renamed into place when they are whole, so a unit whose worker process died is begun again and leaves the same bytes.
"""

import logging
import os
import pickle
import signal
import socket
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from chatmusician.data.answers import answer_of, result_in
from chatmusician.data.code_version import code_version, modules_of
from chatmusician.errors import UserError, first_line

_ITEMS_A_CORE = 2
"""In a chunk. Two chunks are in flight."""

_RETRIES = 3
"""How often an item is begun again whose worker process died."""

_SECONDS_TO_ANSWER = 10
"""How long the cluster may take to accept a connection."""


class RayCluster:
    """The cluster at ``RAY_ADDRESS``, which is left running, or one of this machine's cores, which ends with the work.

    At most four items a core are in flight or wait for those before them. A worker process loads the task once.

    Raises:
        UserError: Ray is not installed.
    """

    def __init__(self) -> None:
        if find_spec("ray") is None:
            raise UserError("engine='ray' needs Ray, which is not installed: pip install 'chatmusician[ray]'")

    def __call__(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """See `chatmusician.data.engines.Engine`.

        Raises:
            UserError: there is no cluster, it has another version of this package, or the worker process of an item
                died again and again.
        """
        with _connected():
            import ray
            from ray.data.exceptions import ExecutionTimeoutError

            stored = _StoredTask(reference=ray.put(pickle.dumps(task)), folder=Path.cwd(), code=_code())
            try:
                yield from _results(stored, iter(items))
            except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
                cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
                raise UserError(
                    f"engine='ray' gave up: {first_line(cause).rstrip('.')}. What is done is kept. Run it again "
                    "with this package on every node, and smaller units (data.window, corpus.unit_bytes) if memory was "
                    "short"
                ) from error


@contextmanager
def _connected() -> Iterator[None]:
    """A cluster for as long as the block lasts; the one that this process is connected to, where there is one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        # Ray takes the machine's own address for 127.0.0.1, and then listens on all there are, unless it is told that
        # it is no cluster. It reads this, on any system, when it is imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    on_sigterm = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    try:
        _connect(address)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own gives another exit status
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    """Join a cluster, or start one where the address is ``local``."""
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        ray.init(address=address, include_dashboard=False, **quiet)
        return
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "://" not in address:  # where nothing listens, Ray tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
        ray.init(address=address, **quiet)
    except Exception as error:
        raise UserError(
            f"RAY_ADDRESS={address}: no Ray cluster can be used there ({first_line(error).rstrip('.')}); start one "
            "with `ray start --head`, or unset RAY_ADDRESS to use this machine"
        ) from error


def _cores() -> int:
    """Cores of the cluster, as it is now."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _results(task: "_StoredTask", items: Iterator[Any]) -> Iterator[Any]:
    """The results of all items, with two chunks under way."""
    begun: deque[_Chunk] = deque()
    try:
        while chunk := list(islice(items, _ITEMS_A_CORE * _cores())):
            begun.append(_Chunk(task, chunk))
            if len(begun) > 1:
                yield from begun[0].results()
                begun.popleft()
        for last in begun:
            yield from last.results()
    finally:
        for unfinished in begun:
            unfinished.close()


class _Chunk:
    """Some items that are being worked on."""

    def __init__(self, task: "_StoredTask", items: Sequence[Any]) -> None:
        import ray.data

        _log_to_file_only()
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.op_resource_reservation_enabled = False  # with it, one of two cores had nothing to do
        with ray.data.DataContext.current(context), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")  # retries have no other place
            rows = ray.data.from_items([{"item": pickle.dumps(item)} for item in items], override_num_blocks=len(items))
            answers = rows.map(partial(_do, task=task), max_retries=_RETRIES)
        self._bundles = answers.iter_internal_ref_bundles()  # begins; iter_rows has threads that closing does not end

    def results(self) -> Iterator[Any]:
        """The results, in the order of the items."""
        import ray

        for bundle in self._bundles:
            for block in ray.get(list(bundle.block_refs)):
                yield from (result_in(row["answer"]) for row in block.to_pylist())

    def close(self) -> None:
        """End the work that is not done. Threads that outlive the connection to Ray would end this process."""
        self._bundles = iter(())


def _log_to_file_only() -> None:
    """Leave the log of Ray Data to the file in Ray's folder; on the console, it has a line for each chunk."""
    log = logging.getLogger("ray.data")
    for handler in list(log.handlers):
        if handler.name == "console":
            log.removeHandler(handler)


@dataclass(frozen=True, kw_only=True)
class _StoredTask:
    """A task in the object store, the folder that relative paths count from, and the version of the code.

    It is stored as bytes: arrays in an object that Ray stores cannot be written to when it is read.
    """

    reference: Any
    folder: Path
    code: str

    def load(self) -> Callable[[Any], Any]:
        """In a worker: the task, as the items before have left it."""
        global _loaded
        if _loaded is None or _loaded[0] != self.reference:
            import ray

            if _code() != self.code:
                raise UserError(
                    f"the node {socket.gethostname()} of the Ray cluster has another version of chatmusician than this "
                    "machine; install the same on both"
                )
            os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism
            with suppress(OSError):  # absolute paths need no folder that all nodes have
                os.chdir(self.folder)
            _loaded = self.reference, pickle.loads(ray.get(self.reference))
        return _loaded[1]


def _code() -> str:
    """The version of the code that makes shards."""
    return code_version(modules_of("chatmusician.data"))


_loaded: tuple[Any, Callable[[Any], Any]] | None = None


def _do(row: dict[str, Any], *, task: _StoredTask) -> dict[str, Any]:
    """In a worker: do one item. What it raises is an answer too, which Ray does not wrap, log or try again."""
    return {"answer": answer_of(lambda item: task.load()(pickle.loads(item)), row["item"])}
