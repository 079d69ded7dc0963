import errno
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_tasks import ERRORS, fail_at_five
from tiny_corpus import Texts

from chatmusician.data.engines import LocalProcesses, WorkerKilled, find_engine
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.errors import UserError


class Counted:
    """A task that says in which process it was done, and the how many-th of that process it was."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, item: int) -> tuple[int, int, int]:
        self.times += 1
        return item, os.getpid(), self.times


def refuse_seven(item: int) -> int:
    if item == 7:
        raise UserError("seven cannot be read")
    return item


def kill_a_worker(item: int) -> int:
    if item == 5 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_results_are_in_the_order_of_the_items(workers: int) -> None:
    results = list(LocalProcesses(workers=workers)(Counted(), iter(range(60))))
    assert [item for item, _, _ in results] == list(range(60))
    processes = {process for _, process, _ in results}
    assert os.getpid() in processes
    assert len(processes) <= max(1, workers)
    assert not multiprocessing.active_children()


def test_a_task_lives_as_long_as_its_worker() -> None:
    """So what it remembers serves all its items: the how many-th each is counts up in each process."""
    times = defaultdict(list)
    for _, process, how_many in LocalProcesses(workers=2)(Counted(), range(200)):
        times[process].append(how_many)
    assert all(sorted(these) == list(range(1, len(these) + 1)) for these in times.values())


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_few_items_are_taken_ahead_of_the_results(workers: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(300):
            taken += 1
            yield item

    for given, _ in enumerate(LocalProcesses(workers=workers)(Counted(), items())):
        assert taken - given <= 4 * workers + 1


def find_no_space(item: int) -> int:
    if multiprocessing.parent_process() is not None:
        raise OSError(errno.ENOSPC, "No space left on device", f"{item}.arrow")
    return item


def test_what_a_worker_cannot_write_is_told_with_its_name() -> None:
    with pytest.raises(OSError, match="No space left on device") as failure:
        for _ in range(100):  # until a worker has begun, this process does the items
            list(LocalProcesses(workers=2)(find_no_space, range(50)))
    assert failure.value.errno == errno.ENOSPC
    assert str(failure.value.filename).endswith(".arrow")


class Wide:
    """A task that takes a megabyte to send."""

    def __init__(self) -> None:
        self.content = bytes(1 << 20)

    def __call__(self, item: int) -> int:
        return item


def _within(kind: int, limit: int, workers: int, result: Any) -> None:
    resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
    try:
        for _ in LocalProcesses(workers=workers)(Wide(), range(10**9)):
            pass
    except UserError as error:
        result.send(str(error))


def refused_within(kind: int, limit: int, *, workers: int) -> str:
    """What a process is told that has so much of something."""
    told, tells = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_within, args=(kind, limit, workers, tells))
    child.start()
    tells.close()
    message: str = told.recv()
    child.join()
    assert child.exitcode == 0
    return message


def test_a_temporary_folder_that_is_full_is_one_line() -> None:
    message = refused_within(resource.RLIMIT_FSIZE, 1 << 16, workers=2)
    assert message.endswith(": cannot be written (File too large); set TMPDIR to another folder")


def test_more_processes_than_the_system_starts_are_one_line() -> None:
    """Here for want of open files: each worker takes three of them, and what it starts with more for a moment."""
    limit = len(list(Path("/proc/self/fd").iterdir())) + 20
    message = refused_within(resource.RLIMIT_NOFILE, limit, workers=50)
    assert re.fullmatch(
        r"data\.prepare_workers: after (\d+) no further process can be started \(Too many open files\); use \1", message
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_behind_the_results_before_it_and_ends_the_workers(workers: int) -> None:
    results = LocalProcesses(workers=workers)(refuse_seven, range(100))
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(UserError, match="seven cannot be read"):
        next(results)
    assert not multiprocessing.active_children()


def test_an_error_of_the_items_ends_the_workers() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise UserError("no more items")

    with pytest.raises(UserError, match="no more items"):
        list(LocalProcesses(workers=2)(Counted(), items()))
    assert not multiprocessing.active_children()


def test_results_that_are_not_waited_for_end_the_workers() -> None:
    results = LocalProcesses(workers=2)(Counted(), range(1000))
    assert next(results)[0] == 0
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_not_waited_for() -> None:
    """Until a worker has begun, this process does the items."""
    with pytest.raises(WorkerKilled):
        for _ in range(100):
            list(LocalProcesses(workers=2)(kill_a_worker, [5] * 50))
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_while_others_start_is_told_as_such() -> None:
    """The first to be there is killed a little later each time: before it runs, in its start, and at work."""
    for milliseconds in (0, 0, 1, 2, 5, 10, 20, 50, 100, 200):
        killed: list[int] = []

        def kill(after: float = milliseconds / 1000, killed: list[int] = killed) -> None:
            while not (workers := multiprocessing.active_children()):
                pass
            time.sleep(after)
            workers[0].kill()
            killed.extend(worker.pid or 0 for worker in workers[:1])

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(WorkerKilled) as told:
            for _ in LocalProcesses(workers=6)(Wide(), range(10**9)):
                pass
        killer.join()
        assert str(told.value) == f"the process {killed[0]} was killed"
        assert not multiprocessing.active_children()


class Long:
    """A task whose answers are as long as its items, and one byte more."""

    def __call__(self, item: bytes) -> bytes:
        return item + b"!"


def test_items_and_answers_wider_than_a_pipe_pass_both_ways() -> None:
    items = [bytes([number]) * (1 << 18) for number in range(40)]
    assert list(LocalProcesses(workers=3)(Long(), items)) == [item + b"!" for item in items]
    results = LocalProcesses(workers=3)(Long(), items)
    assert next(results) == items[0] + b"!"
    results.close()  # type: ignore[attr-defined]  # it is a generator; answers that nobody reads stand in the pipes
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", list(ERRORS))
@pytest.mark.parametrize("workers", [2, 3])
def test_what_a_task_raises_arrives_as_it_is(workers: int, kind: str) -> None:
    kept = type(ERRORS[kind]) if kind != "not copied" else RuntimeError
    with pytest.raises(kept) as failure:
        list(LocalProcesses(workers=workers)(fail_at_five, [(number, kind) for number in range(100)]))
    assert str(failure.value) == (str(ERRORS[kind]) if kept is not RuntimeError else "NotCopied: the unit: too long")
    assert "in fail_at_five" in "".join(failure.value.__notes__)


def give_what_cannot_be_sent(item: int) -> Any:
    return threading.Lock() if item == 5 else item


def test_a_result_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(TypeError, match="pickle"):
        list(LocalProcesses(workers=2)(give_what_cannot_be_sent, range(10)))
    assert not multiprocessing.active_children()


STOPPED = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from test_engines import Counted
from chatmusician.data.engines import LocalProcesses

def items():
    for item in range(10**9):
        if item == int(sys.argv[2]):
            print("ready", flush=True)
        yield item

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        for _ in LocalProcesses(workers=3)(Counted(), items()):
            pass
    except (KeyboardInterrupt, SystemExit) as stop:
        sys.exit(type(stop).__name__)
"""


@pytest.mark.parametrize(("what", "raised"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "SystemExit")])
@pytest.mark.parametrize("items", [1, 200, 5000])
def test_a_stop_of_all_processes_is_this_ones_to_deal_with(
    tmp_path: Path, what: signal.Signals, raised: str, items: int
) -> None:
    """Sent while the workers start, and while they work: they say nothing, and are gone when their output is closed."""
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    process = subprocess.Popen(
        [sys.executable, script, Path(__file__).parent, str(items)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, what)
    _, errors = process.communicate(timeout=300)
    assert errors == f"{raised}\n"
    assert process.returncode == 1


def test_engines_have_names() -> None:
    assert find_engine("local", workers=3) == LocalProcesses(workers=3)


def test_an_engine_that_there_is_not_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^engine='spark': use one of local, ray$"):
        prepare(
            corpus=Texts({"train": ["ab"]}),
            tokenizer=TrainedTokenizer(vocab_size=259),
            settings=PackingSettings(seq_len=4),
            directory=tmp_path / "data",
            engine="spark",
        )
    assert not (tmp_path / "data").exists()


def test_without_ray_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"^engine='ray' needs Ray, which is not installed: pip install 'chatmusician\[ray\]'$"
    with pytest.raises(UserError, match=message):
        find_engine("ray", workers=1)
