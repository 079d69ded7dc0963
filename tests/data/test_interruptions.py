"""What becomes of a folder whose preparing is killed, waits, or finds the disk full: real processes over real files."""

import gzip
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_folders import bytes_of

from chatmusician.data.columns import TextColumn
from chatmusician.data.mixtures import Mixture
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.data.shards import Manifest
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.data.units import Run, Unit
from chatmusician.errors import UserError

FORK = multiprocessing.get_context("fork")

SETTINGS = PackingSettings(seq_len=64, eos=True, window=16)
TOKENIZER = TrainedTokenizer(vocab_size=300, documents=100)
MIXTURE = {"categories": {"all": ["bach", "dolly"]}, "shares": {"bach": 1, "dolly": 2}, "repeats": {"bach": 2}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """600 rows as lines, Parquet and packed lines, every 50th of them bad."""
    folder = tmp_path_factory.mktemp("rows")
    draw = random.Random(11)
    rows = [
        {"text": "" if n % 50 == 7 else f"{n} " + " ".join(draw.choices(["A2", "Bc", "|", "é"], k=draw.randint(5, 60)))}
        | {"src": draw.choice(["bach", "dolly"])}
        for n in range(600)
    ]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    (folder / "a.jsonl").write_bytes(b"".join(lines[:200]))
    pq.write_table(pa.Table.from_pylist(rows[200:400]), folder / "b.parquet", row_group_size=80)
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[400:])))
    return sorted(folder.iterdir())


def corpus(files: list[Path], *, mixture: dict[str, Any] | None = None, unit_bytes: int = 1000) -> RowCorpus:
    source = RowSource(columns=TextColumn(), files=[str(file) for file in files], source="src", unit_bytes=unit_bytes)
    drawn = None if mixture is None else Mixture(name="m", **mixture)
    return RowCorpus(sources={"rows": source}, mixture=drawn, held_out=0.1, max_rejected=0.05)


def prepare_rows(found: RowCorpus, directory: Path, *, workers: int = 1, **settings: Any) -> Manifest:
    settings = {"tokenizer": TOKENIZER, "settings": SETTINGS, **settings}
    return prepare(corpus=found, directory=directory, workers=workers, **settings)


@pytest.fixture(scope="module")
def drawn(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture, prepared by one process without a stop."""
    directory = tmp_path_factory.mktemp("drawn") / "data"
    prepare_rows(corpus(files, mixture=MIXTURE), directory)
    return directory


def said_by(child: ForkProcess, messages: Any) -> str:
    """Why a process was refused that has ended; nothing if it was not, or was killed."""
    child.join()
    try:
        return messages.recv()
    except EOFError:
        return ""


def start(act: Callable[[], Any]) -> tuple[ForkProcess, Any, int]:
    """A process that does something: it, what it says if it is refused, and a pipe.

    The pipe is closed once the process and its workers are gone, which have no other output.
    """
    messages, says = FORK.Pipe(duplex=False)
    read, write = os.pipe()

    def run() -> None:
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        try:
            act()
        except UserError as error:
            says.send(str(error))

    child = FORK.Process(target=run)
    child.start()
    os.close(write)
    says.close()
    return child, messages, read


def wait_until_gone(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os.close(pipe)


def count_files(directory: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(directory))


def workers_of(process: int) -> list[int]:
    """The processes that an engine started, by their command."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


@pytest.mark.parametrize("mixture", [None, MIXTURE], ids=["all", "mixture"])
def test_workers_change_no_byte(files: list[Path], drawn: Path, tmp_path: Path, mixture: dict[str, Any] | None) -> None:
    if mixture is None:
        prepare_rows(corpus(files), tmp_path / "1")
    expected = bytes_of(drawn if mixture else tmp_path / "1")
    for workers in (2, 3):
        manifest = prepare_rows(corpus(files, mixture=mixture), tmp_path / str(workers), workers=workers)
        assert bytes_of(tmp_path / str(workers)) == expected
    assert min(manifest.splits[split].total("documents") for split in ("train", "validation", "test")) > 20
    assert len((tmp_path / "2" / "quarantine.jsonl").read_text().splitlines()) == 12


def test_a_run_that_is_killed_twenty_times_ends_in_the_same_bytes(
    files: list[Path], drawn: Path, tmp_path: Path
) -> None:
    """The process is killed, or a worker that it started, when so and so many more files are there.

    A run that comes to its end before is begun anew in an empty folder.
    """
    directory = tmp_path / "data"
    draw = random.Random(2024)
    killed = {"process": 0, "worker": 0}
    while sum(killed.values()) < 20:
        workers = draw.choice([2, 2, 3])

        def act(workers: int = workers) -> None:
            tempfile.tempdir = str(tmp_path)  # where a process that is killed leaves the task of its workers
            prepare_rows(corpus(files, mixture=MIXTURE), directory, workers=workers)

        child, messages, pipe = start(act)
        assert child.pid is not None
        files_then = count_files(directory) + draw.choice([1, 2, 5, 10, 25, 50])
        whom = draw.choice(list(killed))
        while child.is_alive():
            targets = [child.pid] if whom == "process" else workers_of(child.pid)
            if targets and count_files(directory) >= files_then:
                os.kill(draw.choice(targets), signal.SIGKILL)
                killed[whom] += 1
                break
            child.join(0.002)
        message = said_by(child, messages)
        wait_until_gone(pipe)
        if (directory / "manifest.json").exists():
            prepare_rows(corpus(files, mixture=MIXTURE), directory)
            assert bytes_of(directory) == bytes_of(drawn)
            shutil.rmtree(directory)
        elif whom == "worker":
            assert f"one of data.prepare_workers={workers} processes was killed, perhaps for its memory" in message
    assert min(killed.values()) > 3
    prepare_rows(corpus(files, mixture=MIXTURE), directory, workers=2)
    assert bytes_of(directory) == bytes_of(drawn)


class _Gated(RowCorpus):
    """Waits before its first unit until a gate is opened."""

    def __init__(self, inner: RowCorpus, *, reached: Any, gate: Any) -> None:
        self.__dict__.update(inner.__dict__)
        self._reached, self._gate = reached, gate

    def units(self, run: Run[Any, Any]) -> Iterator[Unit]:
        self._reached.set()
        assert self._gate.wait(300)
        return super().units(run)


class _Opens(logging.Handler):
    """Opens a gate when something is said."""

    def __init__(self, gate: Any) -> None:
        super().__init__()
        self.said: list[str] = []
        self._gate = gate

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        self._gate.set()


def test_the_second_of_two_runs_waits_and_says_so(files: list[Path], drawn: Path, tmp_path: Path) -> None:
    reached, gate, read_again = FORK.Event(), FORK.Event(), FORK.Event()
    found = corpus(files, mixture=MIXTURE)
    first = FORK.Process(target=prepare_rows, args=(_Gated(found, reached=reached, gate=gate), tmp_path))
    first.start()
    assert reached.wait(300)
    opens = _Opens(gate)
    logger = logging.getLogger("chatmusician.data.preparation")
    logger.addHandler(opens)
    try:
        second = _Gated(corpus(files, mixture=MIXTURE), reached=read_again, gate=gate)
        manifest = prepare_rows(second, tmp_path)
    finally:
        logger.removeHandler(opens)
    first.join()
    assert first.exitcode == 0
    assert opens.said == [f"waiting for another run that prepares {tmp_path}"]
    assert not read_again.is_set()  # all was done
    assert manifest == prepare_rows(found, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(drawn)


def test_a_full_disk_leaves_nothing_half_written_and_the_run_goes_on(files: list[Path], tmp_path: Path) -> None:
    """No file may be longer than a limit: the settings, the tokenizer, a shard and then the manifest do not fit.

    Shards are longer than the tokenizer since a row of 4096 tokens has 12 kB.
    """
    whole, directory = tmp_path / "whole", tmp_path / "data"
    settings = PackingSettings(seq_len=4096)
    prepare_rows(corpus(files), whole, settings=settings)
    limits = {
        "asked.json": 100,
        "tokenizer": 3000,
        "train": (whole / "tokenizer" / "tokenizer.json").stat().st_size + 1,
        "manifest.json": max(path.stat().st_size for path in whole.rglob("*.arrow")) + 1,
    }
    assert list(limits.values()) == sorted(limits.values())
    assert limits["manifest.json"] < (whole / "manifest.json").stat().st_size
    for name, limit in limits.items():

        def act(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            prepare_rows(corpus(files), directory, settings=settings)

        child, messages, pipe = start(act)
        message = said_by(child, messages)
        wait_until_gone(pipe)
        assert "cannot be written (File too large); choose another data.directory" in message
        assert "\n" not in message
        kept = [path for path in directory.rglob("*") if path.is_file()]
        assert all(path.stat().st_size < limit for path in kept if path.suffix != ".json" or path.name == name)
        assert not [path for path in kept if path.suffix == ".partial"]
        assert not (directory / "manifest.json").exists()
        assert (name in ("train", "manifest.json")) == (directory / "tokenizer" / "tokenizer.json").exists()
    assert len(list(directory.rglob("*.arrow"))) > 10
    prepare_rows(corpus(files), directory, settings=settings)
    assert bytes_of(directory) == bytes_of(whole)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("columns", "corpus.sources.rows.columns.chat is False there and True here"),
        ("mixture", "corpus.mixture.name is 'm' there and 'other' here; corpus.mixture.rows is None there and 7 here"),
        ("no mixture", "corpus.mixture is {'name': 'm', "),
        ("unit_bytes", "corpus.sources.rows.unit_bytes is 1000 there and 1001 here"),
        ("file", "corpus.sources.rows.files[0].content is '"),
        ("fewer files", "corpus.sources.rows.files[2] is {'name': 'c.jsonl.gz', "),
        (
            "other files",
            "corpus.sources.rows.files[0].content is '",
        ),
        ("held_out", "corpus.held_out is 0.1 there and 0.2 here"),
        ("tokenizer", "tokenizer.vocab_size is 300 there and 301 here"),
        ("seq_len", "seq_len is 64 there and 65 here"),
    ],
)
def test_a_folder_prepared_otherwise_is_refused_with_both_values(
    files: list[Path], drawn: Path, tmp_path: Path, change: str, difference: str
) -> None:
    options: dict[str, Any] = {"columns": TextColumn(), "source": "src", "unit_bytes": 1000}
    options["files"] = [str(file) for file in files]
    of_corpus: dict[str, Any] = {"mixture": Mixture(name="m", **MIXTURE), "held_out": 0.1}
    settings: dict[str, Any] = {}
    if change == "columns":
        options["columns"] = TextColumn(chat=True)
    elif change == "mixture":
        of_corpus["mixture"] = Mixture(**{**MIXTURE, "name": "other", "rows": 7})
    elif change == "no mixture":
        of_corpus["mixture"] = None
    elif change == "unit_bytes":
        options["unit_bytes"] = 1001
    elif change == "file":
        changed = tmp_path / "a.jsonl"
        changed.write_bytes(files[0].read_bytes().replace(b"bach", b"BACH", 1))
        options["files"][0] = str(changed)
    elif change == "fewer files":
        options["files"].pop()
    elif change == "other files":
        options["files"].reverse()
    elif change == "held_out":
        of_corpus["held_out"] = 0.2
    elif change == "tokenizer":
        settings["tokenizer"] = TrainedTokenizer(vocab_size=301, documents=100)
    else:
        settings["settings"] = PackingSettings(seq_len=65, eos=True, window=16)
    other = RowCorpus(sources={"rows": RowSource(**options)}, **of_corpus)
    before = bytes_of(drawn)
    with pytest.raises(UserError) as refused:
        prepare_rows(other, drawn, **settings)
    message = str(refused.value)
    assert message.startswith(f"{drawn} was prepared otherwise: {difference}")
    assert message.endswith("; choose another data.directory, or replace it with data.overwrite=true")
    assert ("; and 2 more; choose" in message) == (change == "other files")
    assert bytes_of(drawn) == before
