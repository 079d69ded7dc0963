"""The real fine-tuning recipe at LLaMA2-7B's true shapes, on a machine without a GPU: does it fit, and does it run?

    python experiments/benchmarks/smoke_7b.py [--shapes 7b] [--steps 2] [--rows 2] [--seq-len 256] [--folder DIR]

Writes random bfloat16 weights once (13.5 GB in shards of 2 GB; the 32,000-piece tokenizer is mistral-common's) and
instructions made from random notes, then runs ``python -m chatmusician.train +experiment=sft_78k`` on them as one CPU
process: bfloat16 products, gradient checkpointing, the paper's adapter with embeddings and head, two optimizer steps, a
validation and the checkpoints. No model is exported. The last line is JSON:

- ``peak_private_gib``: the most private memory of the processes together, which nothing can take back;
- ``peak_mapped_gib``: the most of their file pages, those of the base's weights: the system may drop them and read
  them again; ``peak_resident_gib``: the most of both together;
- ``peak_process_gib``: the largest process, by the system's own record (``ru_maxrss``), private and mapped;
- ``seconds_per_step``, ``checkpoint_gib``, ``trained_parameters``, ``losses``.

A machine that runs out of memory takes other work with it, so the run is ended where less than 600 MiB are left.
``--shapes tiny`` tries the script itself, in half a minute.
"""

import argparse
import csv
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from random_llama import SHAPES, write_base, write_instructions

GIB = 1024**3
LEFT_AT_LEAST = 600 * 1024**2
"""Bytes of available memory under which the run is ended."""
SECONDS_BETWEEN_LOOKS = 0.2


def main() -> int:
    """Write what is missing, run the recipe, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", choices=sorted(SHAPES), default="7b", help="of the model")
    parser.add_argument("--steps", type=int, default=2, help="optimizer steps")
    parser.add_argument("--rows", type=int, default=2, help="rows in an optimizer step, computed one at a time")
    parser.add_argument("--seq-len", type=int, default=256, help="tokens in a row")
    parser.add_argument("--folder", default="outputs/smoke_7b", help="where weights, data and the run are")
    parser.add_argument("overrides", nargs="*", help="further overrides of the recipe, such as lora=released")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run ends with this script
    folder = Path(arguments.folder) / arguments.shapes
    write_base(folder / "base", SHAPES[arguments.shapes])
    write_instructions(folder / "instructions.jsonl")
    shutil.rmtree(folder / "run", ignore_errors=True)
    command = recipe(folder, steps=arguments.steps, rows=arguments.rows, seq_len=arguments.seq_len)
    memory = run_watched([*command, *arguments.overrides])
    if memory.status:
        print(f"the run ended with status {memory.status}{memory.reason}", file=sys.stderr)
        return 1
    print(json.dumps(memory.figures() | figures(folder / "run")))
    return 0


def recipe(folder: Path, *, steps: int, rows: int, seq_len: int, trainer: str = "cpu") -> list[str]:
    """The command: the recipe as it is, but for where weights and rows are, and how many."""
    return [
        *(sys.executable, "-m", "chatmusician.train", "+experiment=sft_78k", f"trainer={trainer}", "logger=csv"),
        f"model.backbone.path={folder / 'base'}",
        "trainer.precision=bf16-mixed",
        f"trainer.max_steps={steps}",
        f"trainer.val_check_interval={steps}",
        "trainer.check_val_every_n_epoch=null",
        "trainer.log_every_n_steps=1",
        "+trainer.limit_val_batches=1",
        "data.corpus.sources.sft.path=null",
        f"data.corpus.sources.sft.files=[{folder / 'instructions.jsonl'}]",
        "data.corpus.held_out=0.02",
        f"data.directory={folder / 'data'}",
        "data.overwrite=true",
        f"data.seq_len={seq_len}",
        f"data.global_batch={rows}",
        "data.prepare_workers=1",
        "data.loader_workers=0",
        f"callbacks.throughput.window={rows}",
        "callbacks.merge_and_export=null",
        f"hydra.run.dir={folder / 'run'}",
    ]


@dataclass
class Watched:
    """How a run ended, and the most memory that was seen, in bytes."""

    private: int = 0
    mapped: int = 0
    resident: int = 0
    available_least: int = field(default=1 << 62)
    seconds: float = 0.0
    status: int = 0
    reason: str = ""

    def look(self, process: int) -> None:
        """Take the figures of a process and all that it started."""
        private = mapped = 0
        for identifier in descendants(process):
            status = fields_of(Path(f"/proc/{identifier}/status"))
            private += status.get("RssAnon", 0) + status.get("RssShmem", 0)
            mapped += status.get("RssFile", 0)
        self.private = max(self.private, private)
        self.mapped = max(self.mapped, mapped)
        self.resident = max(self.resident, private + mapped)
        self.available_least = min(self.available_least, available())

    def figures(self) -> dict[str, float]:
        """The figures of memory, for the last line."""
        return {
            "peak_private_gib": round(self.private / GIB, 2),
            "peak_mapped_gib": round(self.mapped / GIB, 2),
            "peak_resident_gib": round(self.resident / GIB, 2),
            "peak_process_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / GIB, 2),
            "seconds": round(self.seconds, 1),
        }


def run_watched(command: list[str]) -> Watched:
    """Run a command in a session of its own, and end it where memory gets scarce."""
    print(" ".join(command), flush=True)
    seen = Watched()
    started = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, seen, ended))
    watcher.start()
    try:
        seen.status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        ended.set()
        watcher.join()
    seen.seconds = time.monotonic() - started
    return seen


def _watch(process: int, seen: Watched, ended: threading.Event) -> None:
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        seen.look(process)
        if seen.available_least < LEFT_AT_LEAST:
            seen.reason = f": ended by this script, since {seen.available_least >> 20} MiB of memory were left"
            os.killpg(process, signal.SIGKILL)
            return


def descendants(process: int) -> Iterator[int]:
    """A process and all that it started, by the kernel's list of children."""
    yield process
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))
    except OSError:  # it has ended
        return


def fields_of(path: Path) -> dict[str, int]:
    """The numbers of ``/proc/.../status`` or ``/proc/meminfo``, in bytes; {} for a process that has ended."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(number) * 1024 for name, number, _ in pairs}


def available() -> int:
    """Bytes that can be had without swapping."""
    return fields_of(Path("/proc/meminfo"))["MemAvailable"]


def figures(run: Path) -> dict[str, Any]:
    """What the run says of itself."""
    metrics = json.loads((run / "metrics.json").read_text())
    with (run / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    seconds = [float(row["throughput/step_s"]) for row in rows if row.get("throughput/step_s")]
    losses = [float(row["train/loss"]) for row in rows if row.get("train/loss")]
    if not losses or not all(math.isfinite(loss) for loss in losses):
        raise SystemExit(f"the losses are not finite: {losses}")
    checkpoint = run / "checkpoints" / "last.ckpt"
    return {
        "parameters": metrics["parameters"],
        "trained_parameters": metrics["trained_parameters"],
        "seconds_per_step": [round(step, 1) for step in seconds],
        "checkpoint_gib": round(checkpoint.stat().st_size / GIB, 2),
        "checkpoint_bytes_per_trained_parameter": round(checkpoint.stat().st_size / metrics["trained_parameters"], 2),
        "losses": [round(loss, 3) for loss in losses],
    }


if __name__ == "__main__":
    sys.exit(main())
