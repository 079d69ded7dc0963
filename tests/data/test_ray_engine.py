"""On a real cluster of two worker processes on this machine, which listens on 127.0.0.1 alone."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_tasks import Counting, FatefulSource, FourthFirst, die_at_five, fail_at_five
from prepared_folders import bytes_of

from chatmusician.data import units
from chatmusician.data.columns import TextColumn
from chatmusician.data.mixtures import Mixture
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.ray_engine import RayCluster
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.data.shards import Manifest
from chatmusician.data.tokenizers import PretrainedTokenizer, TrainedTokenizer, save_tokenizer, train_bpe
from chatmusician.errors import UserError

DO_ONE = "from chatmusician.data.ray_engine import RayCluster; list(RayCluster()(abs, [1]))"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[str]:
    """A cluster of two cores that this process is connected to; its address."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # as `RayCluster` does, before ray is imported
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # of the workers
        ray = pytest.importorskip("ray", reason="Ray (the extra ray) is not installed")
        options = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
        on_sigterm = signal.getsignal(signal.SIGTERM)
        started = ray.init(address="local", num_cpus=2, **options)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has one of its own, which other tests do not expect
        yield started.address_info["gcs_address"]
        ray.shutdown()


@pytest.fixture
def unused() -> Iterator[int]:
    """A port that is bound, so that nobody else listens on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_results_come_in_the_order_of_the_items(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert list(RayCluster()(FourthFirst(tmp_path / "fifo"), range(10))) == [-item for item in range(10)]


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []
    results = RayCluster()(abs, (taken.append(n) or n for n in range(30)))
    assert next(results) == 0
    assert len(taken) == 8  # four a core
    assert list(results) == list(range(1, 30))


def test_a_worker_keeps_the_task_from_item_to_item() -> None:
    done: dict[int, list[int]] = {}
    for _, process, number in RayCluster()(Counting(), range(20)):
        done.setdefault(process, []).append(number)
    assert os.getpid() not in done
    assert len(done) < 10
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in done.values())


def test_no_items_no_results() -> None:
    assert list(RayCluster()(abs, iter(()))) == []


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("user", UserError, "data.seq_len=1: a row needs at least 2 tokens"),
        ("system", OSError, "[Errno 28] No space left on device: '/data/train'"),
        ("fault", ZeroDivisionError, "division by zero"),
        ("not copied", RuntimeError, "NotCopied: the unit: too long"),
    ],
)
def test_what_a_task_raises_arrives_as_it_is(kind: str, error: type[Exception], message: str) -> None:
    taken: list[int] = []
    results = RayCluster()(fail_at_five, ((taken.append(n) or n, kind) for n in range(100)))
    with pytest.raises(error) as failure:
        list(results)
    assert type(failure.value) is error
    assert str(failure.value) == message
    assert "in fail_at_five" in "".join(failure.value.__notes__)
    assert len(taken) < 100
    assert list(RayCluster()(abs, [-1, -2])) == [1, 2]  # the cluster goes on


def test_an_item_that_kills_every_process_is_given_up() -> None:
    message = (
        r"engine='ray' gave up: The worker died unexpectedly .*\. What is done is kept\. Run it again with this "
        r"package on every node, and smaller units \(data\.window, corpus\.unit_bytes\) if memory was short"
    )
    with pytest.raises(UserError, match=f"^{message}$") as failure:
        list(RayCluster()(die_at_five, range(8)))
    assert "\n" not in str(failure.value)


def write_rows(folder: Path) -> Path:
    """200 rows of two sources, about 9 kB."""
    rows = [
        {"text": f"X:{n}\nK:G\n{'GABc ' * (n % 9 + 1)}|", "src": "irishman" if n % 3 else "music knowledge"}
        for n in range(200)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepare_mixture(source: RowSource, folder: Path, directory: Path, *, engine: str, **settings: Any) -> Manifest:
    """90 of the rows, which takes a census of all of them."""
    mixture = Mixture(
        name="m",
        categories={"verbal": ["music knowledge"], "score": ["irishman"]},
        shares={"verbal": 1, "score": 2},
        rows=90,
    )
    if not (folder / "bpe").exists():
        save_tokenizer(train_bpe(["X:1\nK:G\nGABc GABc |"], vocab_size=265), folder / "bpe")
    return prepare(
        corpus=RowCorpus(sources={"rows": source}, mixture=mixture, held_out=0.1),
        tokenizer=PretrainedTokenizer(path=str(folder / "bpe")),
        settings=PackingSettings(**{"seq_len": 32, "eos": True, "window": 8, **settings}),
        directory=directory,
        engine=engine,
    )


def kill_those_that_tell(fifo: Path, killed: list[int], *, times: int) -> None:
    for _ in range(times):
        killed.append(int(fifo.read_text()))
        os.kill(killed[-1], signal.SIGKILL)


def test_processes_killed_in_a_unit_leave_the_same_bytes(tmp_path: Path) -> None:
    """One in the census and one in the packing, both in the same unit."""
    options: dict[str, Any] = {
        "columns": TextColumn(),
        "files": [str(write_rows(tmp_path))],
        "source": "src",
        "unit_bytes": 300,
    }
    local = prepare_mixture(RowSource(**options), tmp_path, tmp_path / "local", engine="local")
    fateful = FatefulSource(**options)
    fateful.fifo, fateful.readings = tmp_path / "fifo", tmp_path / "readings"
    os.mkfifo(fateful.fifo)
    killed: list[int] = []
    killer = threading.Thread(
        target=kill_those_that_tell, args=(fateful.fifo, killed), kwargs={"times": 2}, daemon=True
    )
    killer.start()
    manifest = prepare_mixture(fateful, tmp_path, tmp_path / "ray", engine="ray")
    killer.join()
    readings = list(map(int, fateful.readings.read_text().split()))
    assert len(readings) == 4
    assert readings[0::2] == killed
    assert readings[1] != readings[0] and readings[3] not in killed
    assert os.getpid() not in readings
    assert len(manifest.splits["train"].shards) > 20
    assert manifest == local
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "local")


def test_an_error_of_a_unit_is_one_for_the_user(tmp_path: Path) -> None:
    source = RowSource(columns=TextColumn(), files=[str(write_rows(tmp_path))], source="src", unit_bytes=300)
    with pytest.raises(UserError, match=r"rows\.jsonl:\d+: \d+ tokens do not fit seq_len=16; set data\.overlong"):
        prepare_mixture(source, tmp_path, tmp_path / "data", engine="ray", seq_len=16, overlong="error")


def test_the_command_works_on_the_cluster_at_ray_address(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With paths that are relative to a folder in which the cluster was not started."""
    write_rows(tmp_path)
    monkeypatch.chdir(tmp_path)
    overrides = ["data.corpus.sources.rows.files=[rows.jsonl]", "data.corpus.sources.rows.unit_bytes=3000"]
    done = subprocess.run(
        [sys.executable, "-m", "chatmusician.prepare", "corpus=texts", "engine=ray", "name=small", *overrides],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("prepared: outputs/data/small\n")
    assert not {"ray", "dataset"} & set(re.findall(r"\w+", done.stdout.lower()))
    prepare(
        corpus=RowCorpus(
            sources={"rows": RowSource(columns=TextColumn(), files=["rows.jsonl"], unit_bytes=3000)}, held_out=0.01
        ),
        tokenizer=TrainedTokenizer(vocab_size=1024),
        settings=PackingSettings(seq_len=256, eos=True),
        directory=Path("local"),
    )
    assert bytes_of(Path("outputs/data/small")) == bytes_of(Path("local"))
    assert list(RayCluster()(abs, [-1, -2])) == [1, 2]  # it was left running


def test_a_cluster_with_another_version_of_the_code_is_refused(cluster: str, tmp_path: Path) -> None:
    changed_copy = tmp_path / "changed/chatmusician"
    shutil.copytree(Path(units.__file__).parents[1], changed_copy)
    with (changed_copy / "data/units.py").open("a") as changed:
        changed.write("\nSPLITS = SPLITS[:1]\n")
    done = subprocess.run(
        [sys.executable, "-c", DO_ONE],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": cluster, "PYTHONPATH": str(tmp_path / "changed")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    message = r"has another version of chatmusician than this machine; install the same on both$"
    assert re.search(f"^chatmusician.errors.UserError: the node .* {message}", done.stderr, re.MULTILINE)


INTERRUPTED = """
import sys
from pathlib import Path
from engine_tasks import wait_if_told
from chatmusician.config.failures import reported, terminable
from chatmusician.data.ray_engine import RayCluster
if __name__ == "__main__":
    with reported(), terminable():
        list(RayCluster()(wait_if_told, [None, Path(sys.argv[1]), *[None] * 1000]))
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("stop", "status", "told"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "")])
def test_a_cluster_of_this_machine_is_not_seen_from_outside_and_ends_with_the_work(
    tmp_path: Path, request: pytest.FixtureRequest, stop: signal.Signals, status: int, told: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    driver = subprocess.Popen(
        [sys.executable, script, tmp_path / "fifo"],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        stderr=subprocess.PIPE,
        text=True,
    )
    request.addfinalizer(driver.kill)
    worker = int((tmp_path / "fifo").read_text())
    started = psutil.Process(driver.pid).children(recursive=True)
    assert worker in {process.pid for process in started}
    heard = {
        connection.laddr.ip
        for process in [psutil.Process(driver.pid), *started]
        for connection in process.net_connections("inet")
        if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    }
    assert heard <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    driver.send_signal(stop)
    assert driver.communicate()[1] == told
    assert driver.returncode == status
    assert psutil.wait_procs(started, timeout=60)[1] == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{unused}", "[Errno 111] Connection refused"),
        ("somewhere", "Invalid address format: somewhere"),
    ],
)
def test_a_cluster_that_there_is_not_is_one_error(address: str, reason: str, unused: int) -> None:
    address = address.format(unused=unused)
    done = subprocess.run(
        [sys.executable, "-c", DO_ONE],
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    message = (
        f"chatmusician.errors.UserError: RAY_ADDRESS={address}: no Ray cluster can be used there ({reason}); start one "
        "with `ray start --head`, or unset RAY_ADDRESS to use this machine"
    )
    assert done.stderr.splitlines()[-1] == message
