import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from tiny_corpus import Texts

from chatmusician.data.columns import TextColumn
from chatmusician.data.micro_batches import Batch
from chatmusician.data.mixtures import Mixture
from chatmusician.data.packing import IGNORED
from chatmusician.data.row_stream import RowStream, StreamPlace
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.data.streaming import StreamingDataModule, StreamLoader
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.data.units import Corpus, one_by_one
from chatmusician.errors import UserError

BYTES = TrainedTokenizer(vocab_size=259)
ROWS = 240


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that are all different: ``000aaa``, of 6 to 15 bytes."""
    path = tmp_path_factory.mktemp("stream") / "rows.jsonl"
    texts = [f"{number:03d}{'abcdefgh'[number % 8] * (3 + number % 10)}" for number in range(ROWS)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def corpus(file: Path, **options: Any) -> RowCorpus:
    """Some fifteen rows a unit."""
    source = RowSource(columns=TextColumn(), files=[str(file)], unit_bytes=400)
    return RowCorpus(sources={"rows": source}, **{"held_out": 0.1, **options})


class Strategy:
    """What the loader asks of a trainer that runs alone."""

    root_device = torch.device("cpu")

    def reduce(self, value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        return value


class Alone:
    """A trainer as far as data need one; the real one is in the tests below."""

    def __init__(self, *, accumulation: int, rank: int = 0, ranks: int = 1) -> None:
        self.strategy = Strategy()
        self.max_steps, self.global_step, self.accumulate_grad_batches = 100, 0, accumulation
        self.global_rank, self.world_size = rank, ranks


def make(
    source: Corpus, directory: Path, *, workers: int = 0, rank: int = 0, ranks: int = 1, **options: Any
) -> StreamingDataModule:
    data = StreamingDataModule(
        corpus=source,
        tokenizer=BYTES,
        directory=str(directory),
        **{"seq_len": 32, "global_batch": 4 * ranks, "micro_batch": 2, "seed": 3, "held_out_units": 4, **options},
        loader_workers=workers,
    )
    data.trainer = Alone(accumulation=data.accumulation(ranks), rank=rank, ranks=ranks)  # type: ignore[assignment]
    data.prepare_data()
    data.setup()
    return data


def batches(data: StreamingDataModule) -> Iterator[Batch]:
    return iter(data.train_dataloader())


def documents(data: StreamingDataModule, found: list[Batch]) -> Counter[str]:
    """The texts in some batches."""
    texts: Counter[str] = Counter()
    for batch in found:
        for ids, positions in zip(batch["input_ids"].tolist(), batch["position_ids"].tolist(), strict=True):
            starts = [place for place, position in enumerate(positions) if position == 0]
            for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
                texts[data.tokenizer.decode([id_ for id_ in ids[start:end] if id_ > 2])] += 1
    del texts[""]  # padding
    return texts


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        for first, second in zip(one, other, strict=True)
    )


def batches_of_a_pass(data: StreamingDataModule) -> list[Batch]:
    """All that its streams give once; the last batch may begin the next pass."""
    loader = data.train_dataloader()
    assert isinstance(loader, StreamLoader)
    found = []
    for number, batch in enumerate(loader, start=1):
        found.append(batch)
        if all(place.passed for place in loader.places_after(number)):
            return found
    raise AssertionError("streams have no end")


@pytest.mark.parametrize(("workers", "ranks"), [(0, 1), (1, 1), (2, 1), (1, 2), (2, 3)])
def test_a_pass_reads_every_training_document(file: Path, tmp_path: Path, workers: int, ranks: int) -> None:
    expected = {document.text for document in corpus(file).documents("train")}
    found: Counter[str] = Counter()
    for rank in range(ranks):
        data = make(corpus(file), tmp_path, workers=workers, rank=rank, ranks=ranks)
        found += documents(data, batches_of_a_pass(data))
    assert set(found) == expected
    held_out = {document.text for split in ("validation", "test") for document in corpus(file).documents(split)}
    assert len(held_out) > 20
    assert not held_out & set(found)


def test_streams_share_nothing_in_a_pass(file: Path, tmp_path: Path) -> None:
    data = make(corpus(file), tmp_path)
    rows = {
        number: [
            row.window.ids[row.row].tobytes()
            for row in islice(RowStream(**fields(data, number, 3)).rows(StreamPlace()), 200)
            if not row.place.passed
        ]
        for number in range(3)
    }
    assert all(len(set(of_stream)) == len(of_stream) > 10 for of_stream in rows.values())
    assert not set(rows[0]) & set(rows[1]) and not set(rows[1]) & set(rows[2])


def fields(data: StreamingDataModule, stream: int, streams: int) -> dict[str, Any]:
    return {
        "corpus": data.corpus,
        "tokenize": data.settings.tokenize_with(data.tokenizer),
        "window": 4096,
        "seed": 3,
        "stream": stream,
        "streams": streams,
        "rejected": data.directory / "rejected.jsonl",
    }


def test_the_next_pass_has_the_rows_in_another_order(file: Path, tmp_path: Path) -> None:
    stream = RowStream(**fields(make(corpus(file), tmp_path), 0, 1))
    passes: dict[int, list[bytes]] = {0: [], 1: []}
    for row in stream.rows(StreamPlace()):
        if row.place.passed > 1:
            break
        passes[row.place.passed].append(row.window.ids[row.row].tobytes())
    assert passes[0] != passes[1]
    assert sorted(passes[0]) == sorted(passes[1])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_run_reads_the_very_same_batches_twice(file: Path, tmp_path: Path, workers: int) -> None:
    """Stopped after 6, and again after 4 more, in a pass or behind one; loader processes have read ahead each time."""
    whole = list(islice(batches(make(corpus(file), tmp_path, workers=workers)), 60))
    found: list[Batch] = []
    state: dict[str, Any] | None = None
    for count in (6, 4, 30, 20):
        data = make(corpus(file), tmp_path, workers=workers)
        if state is not None:
            data.load_state_dict(json.loads(json.dumps(state)))  # no more than JSON values
        reader = batches(data)
        found += islice(reader, count)
        next(reader)  # Lightning reads one batch ahead
        data.trainer.global_step = len(found) // 2  # type: ignore[union-attr, misc]
        state = data.state_dict()
    assert same(found, whole)


def test_all_micro_batches_of_a_step_know_its_tokens(file: Path, tmp_path: Path) -> None:
    found = list(islice(batches(make(corpus(file), tmp_path)), 10))
    for first, second in zip(found[::2], found[1::2], strict=True):
        trained = sum(int((batch["targets"] != IGNORED).sum()) for batch in (first, second))
        assert first["step_tokens"] == second["step_tokens"] == trained


def test_the_first_batch_waits_for_one_unit(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(corpus(file), tmp_path)
    read: list[int] = []
    monkeypatch.setattr(
        "chatmusician.data.row_stream.RowStream._unit_rows",
        _counting(RowStream._unit_rows, read),
    )
    next(batches(data))
    assert read == [0]


def _counting(method: Any, read: list[int]) -> Any:
    def counted(self: RowStream, unit: Any, number: int, passed: int, first: int) -> Any:
        read.append(number)
        return method(self, unit, number, passed, first)

    return counted


def test_validation_is_what_the_first_units_hold_out(file: Path, tmp_path: Path) -> None:
    data = make(corpus(file), tmp_path)
    units = list(corpus(file).units(one_by_one))[:4]
    expected = [d.text for unit in units for split, d in unit.read().documents if split == "validation"]
    assert 1 <= len(expected) <= 20
    found = documents(data, list(data.val_dataloader()))
    assert sorted(found.elements()) == sorted(expected)
    assert data.manifest()["summary"]["train"]["rows"] == 0


def test_a_corpus_that_is_made_by_rule_streams_too(tmp_path: Path) -> None:
    texts = Texts({"train": [f"t{number}" for number in range(20)], "validation": ["v"], "test": ["w"]})
    data = make(texts, tmp_path, window=5)
    assert set(documents(data, batches_of_a_pass(data))) == set(texts.splits["train"])
    assert documents(data, list(data.val_dataloader())) == {"v": 1}


def test_rejected_rows_are_listed_once_and_too_many_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [json.dumps({"text": f"text {number}"}) for number in range(100)]
    lines[5] = "no json"
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    data = make(corpus(tmp_path / "rows.jsonl", max_rejected=0.1), tmp_path / "data")
    batches_of_a_pass(data)
    (line,) = (tmp_path / "data" / "rejected" / "00000.jsonl").read_text().splitlines()
    assert json.loads(line)["line"] == 6
    assert "rows.jsonl, line 6: not JSON" in caplog.text
    lines[5], lines[60], lines[61] = lines[4], "no json", "none"
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    data = make(corpus(tmp_path / "rows.jsonl", held_out=0.0), tmp_path / "other", held_out_units=1)
    with pytest.raises(UserError, match=r"2 of \d+ rows were rejected, the first in .*rows.jsonl, line 61: not JSON"):
        batches_of_a_pass(data)


@pytest.mark.parametrize("workers", [0, 1])
def test_more_streams_than_units_are_refused(file: Path, tmp_path: Path, workers: int) -> None:
    source = RowSource(columns=TextColumn(), files=[str(file)])
    data = make(RowCorpus(sources={"rows": source}), tmp_path, workers=workers, rank=1, ranks=2)
    with pytest.raises(UserError, match=r"^stream 2 of 2 \(ranks x data.loader_workers\) has no training rows"):
        next(batches(data))


def test_what_cannot_stream_is_refused(file: Path, tmp_path: Path) -> None:
    mixture = Mixture(name="m", categories={"all": ["rows"]})
    with pytest.raises(UserError, match="a mixture draws from all of them; use data=packed"):
        make(corpus(file, mixture=mixture), tmp_path)
    data = make(corpus(file), tmp_path)
    data.trainer.max_steps = -1  # type: ignore[union-attr, misc]
    with pytest.raises(UserError, match=r"data=streaming has no end: give trainer.max_steps"):
        data.train_dataloader()
    data = make(corpus(file), tmp_path, ranks=2)
    data.load_state_dict({"places": [[[0, 0, 0]]], "consumed": 4, "seed": 3})
    with pytest.raises(UserError, match=r"made with 1 ranks and data.loader_workers=1, not 2 and 1: a stream"):
        data.train_dataloader()
    with pytest.raises(UserError, match=r"the checkpoint was made with data.seed=4, not 3; use that"):
        data.load_state_dict({"places": [], "consumed": 0, "seed": 4})


class Recorder(L.LightningModule):
    """A module with one weight, moved by each batch by a hash of it: equal weights, equal batches in equal order."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:  # noqa: ARG002 -- Lightning's signature
        numbers = torch.arange(batch["input_ids"].numel(), dtype=torch.float64).cos()
        return self.weight * (batch["input_ids"].flatten().double() * numbers).sum() / batch["step_tokens"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def train(folder: Path, source: RowCorpus, *, steps: int, resume: bool = False, devices: int = 1) -> float:
    """Train ``Recorder`` for so many steps and keep the checkpoint in ``folder``; its weight."""
    data = StreamingDataModule(
        corpus=source,
        tokenizer=BYTES,
        directory=str(folder / "data"),
        seq_len=32,
        global_batch=8,
        micro_batch=2,
        seed=3,
        held_out_units=4,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=steps,
        accumulate_grad_batches=data.accumulation(devices),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        check_val_every_n_epoch=None,
        val_check_interval=1000,
        limit_val_batches=0,
    )
    module = Recorder()
    checkpoint = folder / "run.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if resume else None, weights_only=False)
    trainer.save_checkpoint(checkpoint)
    return float(module.weight.detach())


def test_a_real_trainer_resumes_twice_to_the_bit(file: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = train(tmp_path / "whole", corpus(file), steps=12)
    train(tmp_path / "parts", corpus(file), steps=3)
    train(tmp_path / "parts", corpus(file), steps=8, resume=True)
    assert train(tmp_path / "parts", corpus(file), steps=12, resume=True) == whole != 0.0


TWO_RANKS = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import test_streaming as tests
file, folder = Path(sys.argv[2]), Path(sys.argv[3])
if sys.argv[4] == "whole":
    weights = [tests.train(folder, tests.corpus(file), steps=9, devices=2)]
else:
    steps, resume = int(sys.argv[4]), sys.argv[5] == "resume"
    weights = [tests.train(folder, tests.corpus(file), steps=steps, resume=resume, devices=2)]
import os
if os.environ["RANK"] == "0":
    print("weight", repr(weights[0]))
"""


def test_two_ranks_resume_twice_to_the_bit(file: Path, tmp_path: Path) -> None:
    """Real processes over gloo; each rank goes on in its own streams, though one of them writes the checkpoint."""
    script = tmp_path / "two_ranks.py"
    script.write_text(TWO_RANKS)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}", "OMP_NUM_THREADS": "1"}

    def weight(folder: str, *arguments: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
        places = [str(Path(__file__).parent), str(file), str(tmp_path / folder)]
        done = subprocess.run(
            [*command, *places, *arguments], capture_output=True, text=True, env=environment, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return next(line for line in done.stdout.splitlines() if line.startswith("weight"))

    whole = weight("whole", "whole")
    weight("parts", "2", "begin")
    weight("parts", "6", "resume")
    assert weight("parts", "9", "resume") == whole
    assert np.isfinite(float(whole.split()[1]))
