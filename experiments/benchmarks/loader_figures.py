"""How fast prepared shards are served to the training loop, and how long the first batch takes.

    python experiments/benchmarks/loader_figures.py FOLDER [--rounds 5] [--micro-batch 1] [--global-batch 8]

FOLDER holds prepared data. The last line is JSON, medians of the rounds:

- ``tokens_per_s``: packed tokens (padding, 1% or so, included) that one process on one core makes into batches,
  without loader processes; of the passes over the training split the first, which checks and maps every shard, is one;
- ``first_batch_s``: from reading the manifest to the first batch of the first epoch, in a fresh process, from after its
  imports; files are in the page cache;
- ``resumed_batch_s``: the same to the first batch after half an epoch, as a resumed run reads it.

Other benchmarks call `loader_figures`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

TOKENS_A_PASS = 500_000_000
"""A pass over more data ends here."""


@dataclass(frozen=True, kw_only=True)
class LoaderFigures:
    """What the loader does with one prepared folder."""

    tokens_per_s: float
    first_batch_s: float
    resumed_batch_s: float


def main() -> None:
    """Measure a folder and print its figures; or, in a child, one turn of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="prepared data")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each kind")
    parser.add_argument("--micro-batch", type=int, default=1, help="rows in a batch")
    parser.add_argument("--global-batch", type=int, default=8, help="rows in an optimizer step")
    parser.add_argument("--turn", choices=["passes", "first", "resumed"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"micro_batch": arguments.micro_batch, "global_batch": arguments.global_batch}
    if arguments.turn == "passes":
        print(json.dumps(time_passes(arguments.folder, rounds=arguments.rounds, **options)))
    elif arguments.turn:
        print(json.dumps([time_first_batch(arguments.folder, resumed=arguments.turn == "resumed", **options)]))
    else:
        print(json.dumps(asdict(loader_figures(arguments.folder, rounds=arguments.rounds, **options))))


def loader_figures(folder: Path, *, rounds: int = 5, micro_batch: int = 1, global_batch: int = 8) -> LoaderFigures:
    """The figures of a prepared folder, each turn in a process of its own."""

    def turn(kind: str) -> list[float]:
        sizes = ["--micro-batch", str(micro_batch), "--global-batch", str(global_batch), "--rounds", str(rounds)]
        command = [sys.executable, __file__, str(folder), "--turn", kind, *sizes]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
        return seconds

    return LoaderFigures(
        tokens_per_s=round(statistics.median(turn("passes"))),
        first_batch_s=round(statistics.median(turn("first")[0] for _ in range(rounds)), 4),
        resumed_batch_s=round(statistics.median(turn("resumed")[0] for _ in range(rounds)), 4),
    )


def time_passes(folder: Path, *, rounds: int, micro_batch: int, global_batch: int) -> list[float]:
    """Tokens per second of each of some passes in this process."""
    import torch

    torch.set_num_threads(1)
    datamodule = data_module(folder, micro_batch=micro_batch, global_batch=global_batch)
    datamodule.setup()
    datamodule.trainer = trainer()
    loader = datamodule.train_dataloader()
    batches = TOKENS_A_PASS // (micro_batch * datamodule.settings.seq_len)
    speeds = []
    for epoch in range(rounds):
        loader.sampler.set_epoch(epoch)
        started = time.perf_counter()
        tokens = sum(batch["input_ids"].numel() for batch in islice(loader, batches))
        speeds.append(tokens / (time.perf_counter() - started))
    return speeds


def time_first_batch(folder: Path, *, resumed: bool, micro_batch: int, global_batch: int) -> float:
    """Seconds from a prepared folder to a batch."""
    from transformers import AutoTokenizer  # noqa: F401 -- its import is not what is timed

    datamodule = data_module(folder, micro_batch=micro_batch, global_batch=global_batch)
    datamodule.trainer = trainer()
    started = time.perf_counter()
    datamodule.setup()
    if resumed:
        middle = datamodule.steps_per_epoch() // 2
        datamodule.load_state_dict({"epoch": 0, "step_in_epoch": middle, "seed": datamodule.seed})
    next(iter(datamodule.train_dataloader()))
    return time.perf_counter() - started


def data_module(folder: Path, *, micro_batch: int, global_batch: int) -> Any:
    """The data module of a prepared folder; what it was prepared from is not needed."""
    from chatmusician.data.datamodule import PackedDataModule
    from chatmusician.data.shards import load_manifest

    manifest = load_manifest(folder)
    if manifest is None:
        raise SystemExit(f"{folder} holds no prepared data")
    nothing: Any = None
    return PackedDataModule(
        corpus=nothing,
        tokenizer=nothing,
        directory=str(folder),
        seq_len=manifest.settings["seq_len"],
        global_batch=global_batch,
        micro_batch=micro_batch,
    )


def trainer() -> Any:
    """A trainer that is asked for its ranks and not run."""
    import logging

    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


if __name__ == "__main__":
    main()
