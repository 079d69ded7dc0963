"""What training does on a GPU: each strategy, precision and kernel at small shapes, then the recipe at LLaMA2-7B's.

    python experiments/benchmarks/gpu.py [--parts checks,resume,speed] [--only NAME,...] [--devices 1] [--folder DIR]

Weights are random, rows are made from random notes (random_llama.py), and the recipe is as smoke_7b.py runs it.

``checks`` trains a Llama of hidden size 512 for three optimizer steps in each way that this machine has the packages
for, several at once, and compares the losses with those of float32. ``resume`` stops a run in the middle of an epoch
twice, and compares its last checkpoint with that of a run that was not stopped. ``speed`` trains the 7B recipe, one
sequence of 2,048 tokens at a time, one way after the other; a way is one of `SPEEDS`.

Each part prints a line of JSON as it ends. A way that fails is told with the last line that it said, and ends this
script with status 1.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from random_llama import SHAPES, write_base, write_instructions
from smoke_7b import recipe

SMALL = {"hidden": 512, "layers": 4, "heads": 4, "intermediate": 1376}
STEPS = 3
PARTS = ("checks", "resume", "speed")


@dataclass(frozen=True)
class Way:
    """A way to train: overrides of the recipe, and the package that it needs."""

    trainer: str = "gpu"
    overrides: tuple[str, ...] = ()
    package: str = ""
    loose: bool = False
    """Losses are not those of float32."""


CHECKS = {
    "float32": Way(overrides=("trainer.precision=32-true", "model.backbone.dtype=float32")),
    "bfloat16": Way(),
    "float16": Way(overrides=("trainer.precision=16-mixed", "model.backbone.dtype=float16")),
    "eager": Way(overrides=("model.backbone.attention=eager",)),
    "flex": Way(overrides=("model.backbone.attention=flex_attention",)),
    "flash2": Way(overrides=("model.backbone.attention=flash_attention_2",), package="flash_attn"),
    "flash3": Way(overrides=("model.backbone.attention=flash_attention_3",), package="flash_attn_interface"),
    "liger": Way(overrides=("model.backbone.liger=true",), package="liger_kernel"),
    "no_checkpointing": Way(overrides=("model.backbone.gradient_checkpointing=false",)),
    "two_rows": Way(overrides=("data.micro_batch=2",), loose=True),  # the loss that is logged is of other rows
    "slower_parts": Way(overrides=("model.faster_parts=false",)),
    "dora": Way(overrides=("model.lora.use_dora=true",), loose=True),
    "ddp": Way(trainer="ddp"),
    "zero2": Way(trainer="zero2"),
    "zero3": Way(trainer="zero3"),
    "zero2_offload": Way(trainer="zero2_offload"),
    "zero3_offload": Way(trainer="zero3_offload"),
    "qlora": Way(overrides=("model.backbone.load_in_4bit=true",), package="bitsandbytes", loose=True),
}
DETERMINISTIC = "+trainer.deterministic=true"
RESUMED = {
    "resumed": Way(),
    "resumed_deterministic": Way(overrides=(DETERMINISTIC,)),
    "resumed_slower_parts": Way(overrides=("model.faster_parts=false",)),
    "resumed_zero2": Way(trainer="zero2", overrides=(DETERMINISTIC,)),
}
SPEEDS = {
    "as_it_is": Way(),
    "slower_parts": Way(overrides=("model.faster_parts=false",)),
    "liger": Way(overrides=("model.backbone.liger=true",), package="liger_kernel"),
    "zero2": Way(trainer="zero2"),
    "no_checkpointing": Way(overrides=("model.backbone.gradient_checkpointing=false",)),
    "four_rows": Way(overrides=("data.micro_batch=4",)),
    "four_rows_liger": Way(overrides=("data.micro_batch=4", "model.backbone.liger=true"), package="liger_kernel"),
    "four_rows_slower_parts": Way(overrides=("data.micro_batch=4", "model.faster_parts=false")),
}


def main() -> int:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--only", help="ways to train; default: all")
    parser.add_argument("--devices", type=int, default=1, help="GPUs of the strategies for several")
    parser.add_argument("--at-once", type=int, default=4, help="checks that run at the same time")
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps of the part speed, of 4 sequences")
    parser.add_argument("--on", choices=("gpu", "cpu"), default="gpu", help="cpu tries this script itself")
    parser.add_argument("--folder", default="outputs/gpu", help="where weights, data and the runs are")
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1")
    parts = known(arguments.parts, PARTS)
    only = known(arguments.only, [*CHECKS, *RESUMED, *SPEEDS]) if arguments.only else None
    failed = False
    if "checks" in parts or "resume" in parts:
        folder = Path(arguments.folder) / "small"
        bench = Bench(folder, SMALL, on=arguments.on, devices=arguments.devices, seq_len=512, rows=2)
        if "checks" in parts:
            failed |= show("checks", bench.checks(only, at_once=arguments.at_once))
        if "resume" in parts:
            failed |= show("resume", bench.resumes(only, at_once=arguments.at_once))
    if "speed" in parts:
        folder = Path(arguments.folder) / "7b"
        bench = Bench(folder, SHAPES["7b"], on=arguments.on, devices=arguments.devices, seq_len=2048, rows=4)
        failed |= show("speed", bench.speeds(only, steps=arguments.steps))
    return int(failed)


def known(names: str, there_are: Iterable[str]) -> list[str]:
    """Names with commas between them, each one of those that there are."""
    unknown = sorted(set(names.split(",")) - set(there_are))
    if unknown:
        raise SystemExit(f"{unknown[0]}: use some of {', '.join(there_are)}")
    return names.split(",")


def show(part: str, results: dict[str, Any]) -> bool:
    """Print what a part gave; whether something failed."""
    print(json.dumps({part: results}), flush=True)
    return any("error" in result for result in results.values())


@dataclass
class Bench:
    """A folder with weights and rows, and the runs on them."""

    folder: Path
    shapes: dict[str, int]
    on: str
    devices: int
    seq_len: int
    rows: int
    made: bool = field(default=False, init=False)

    def checks(self, only: list[str] | None, *, at_once: int) -> dict[str, Any]:
        """Losses, peak memory and seconds a step of each way; the first prepares the data."""
        ways = chosen(CHECKS, only)
        first, rest = list(ways)[:1], list(ways)[1:]
        results = {name: self.run(name, ways[name], steps=STEPS) for name in first}
        if any("error" in result for result in results.values()):  # nothing works
            return results
        with ThreadPoolExecutor(at_once) as pool:
            results |= zip(rest, pool.map(lambda name: self.run(name, ways[name], steps=STEPS), rest), strict=True)
        exact = results.get("float32", {}).get("losses")
        for name, result in results.items():
            if exact and "losses" in result and not ways[name].loose:
                pairs = zip(result["losses"], exact, strict=True)
                result["loss_difference"] = float(f"{max(abs(loss / other - 1) for loss, other in pairs):.1e}")
        return results

    def resumes(self, only: list[str] | None, *, at_once: int) -> dict[str, Any]:
        """What `resume` says of each of `RESUMED`."""
        ways = chosen(RESUMED, only)
        self.make()
        with ThreadPoolExecutor(at_once) as pool:
            return dict(zip(ways, pool.map(self.resume, ways), strict=True))

    def resume(self, name: str) -> dict[str, Any]:
        """Whether a run that stops twice ends in the weights and moments of one that does not."""
        way = RESUMED[name]
        constant = (*way.overrides, "model.schedule.warmup=0", "model.schedule.final=1")  # whatever the run's steps are
        whole = self.run(f"{name}_whole", Way(trainer=way.trainer, overrides=constant), steps=6, dropout=True)
        for steps in (2, 4, 6):
            stopped_way = Way(trainer=way.trainer, overrides=(*constant, *(() if steps == 2 else ("resume=auto",))))
            stopped = self.run(f"{name}_stopped", stopped_way, steps=steps, dropout=True, fresh=steps == 2)
            if "error" in stopped or "error" in whole:
                return {"error": stopped.get("error") or whole.get("error")}
        runs = self.folder / "runs"
        return differences(*(runs / f"{name}_{of}" / "checkpoints" / "last.ckpt" for of in ("whole", "stopped")))

    def speeds(self, only: list[str] | None, *, steps: int) -> dict[str, Any]:
        """Tokens a second and share of the device's peak, of each way."""
        nothing_kept = ("callbacks.checkpoint=null", "callbacks.preemption=null", "+trainer.enable_checkpointing=false")
        ways = {
            name: replace(way, overrides=(*way.overrides, *nothing_kept)) for name, way in chosen(SPEEDS, only).items()
        }
        return {name: self.run(name, way, steps=steps, dropout=True) for name, way in ways.items()}

    def run(self, name: str, way: Way, *, steps: int, dropout: bool = False, fresh: bool = True) -> dict[str, Any]:
        """Train; what the run says of itself, or the last line of its error."""
        self.make()
        folder = self.folder / "runs" / name
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        trainer = way.trainer if self.on == "gpu" else f"{way.trainer}_cpu".removeprefix("gpu_")
        command = [
            *recipe(self.folder, steps=steps, rows=self.rows, seq_len=self.seq_len, trainer=trainer),
            f"hydra.run.dir={folder}",
            "callbacks.memory.window=1",
            f"callbacks.throughput.window={self.rows}",
            *(() if dropout else ("model.lora.dropout=0",)),
            *(() if way.trainer == "gpu" else (f"trainer.devices={self.devices}",)),
            *way.overrides,
        ]
        with (folder / "output").open("a") as output:
            status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        if status:
            lines = (folder / "output").read_text().strip().splitlines()
            return {"error": lines[-1][:500] if lines else f"status {status}"}
        return figures(folder)

    def make(self) -> None:
        """Weights and rows, once."""
        if not self.made:
            write_base(self.folder / "base", self.shapes)
            write_instructions(self.folder / "instructions.jsonl", count=4000)
            self.made = True


def chosen(ways: dict[str, Way], only: list[str] | None) -> dict[str, Way]:
    """Those that were asked for, or those that this machine has the packages for."""
    if only is not None:
        return {name: way for name, way in ways.items() if name in only}
    return {name: way for name, way in ways.items() if not way.package or find_spec(way.package)}


def figures(run: Path) -> dict[str, Any]:
    """Losses, the middle of the rates, and peak memory."""
    with (run / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> list[float]:
        return [float(row[name]) for row in rows if row.get(name)]

    def middle(name: str) -> float | None:
        later = sorted(column(name)[1:])  # the first step also loads kernels
        return round(later[len(later) // 2], 3) if later else None

    return {
        "losses": [round(loss, 5) for loss in column("train/loss")][:STEPS],
        "step_s": middle("throughput/step_s"),
        "tokens_per_s": middle("throughput/tokens_per_s"),
        "mfu": middle("throughput/mfu"),
        "gpu_peak_gib": round(max(column("memory/gpu_peak"), default=0.0), 2),
    }


def differences(whole: Path, stopped: Path) -> dict[str, Any]:
    """How many tensors of two checkpoints there are, and the names of those that differ in a bit."""
    import torch

    ours, theirs = (
        dict(tensors(torch.load(path, weights_only=False, map_location="cpu"))) for path in (whole, stopped)
    )
    unequal = [name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name])]
    result: dict[str, Any] = {"tensors": len(ours), "unequal": len(unequal)}
    if unequal or ours.keys() != theirs.keys():
        result["error"] = f"differs, for one in {(unequal or ['names'])[0]}"
    return result


def tensors(content: Any, place: str = "") -> Iterable[tuple[str, Any]]:
    """All tensors of nested dictionaries and lists, by their place."""
    import torch

    if isinstance(content, torch.Tensor):
        yield place, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from tensors(value, f"{place}/{key}")
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from tensors(value, f"{place}/{number}")


if __name__ == "__main__":
    sys.exit(main())
