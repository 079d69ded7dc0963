"""Time and memory of merging an adapter, against PEFT and against copying the files.

    python experiments/benchmarks/merge.py [--rounds 3] [--no-7b] [--folder DIR]

Writes a base of 1.1 billion random parameters (hidden 2048, 22 layers, intermediate 5632, 4 key-value heads, float16,
three shards) and an adapter (rank 64, seven projections), then takes turns: copying the base's weights, PEFT's
``merge_and_unload`` with ``save_pretrained``, and `chatmusician.export.merging.merge_adapter`; each in a process of its
own, timed from after its imports until everything is on the disk. Then the same merge at the shapes of LLaMA2-7B
(13.5 GB; needs 28 GB of disk). Everything is removed afterwards. The last line is JSON:

- ``speed_vs_peft``: PEFT's time over ours; ``time_vs_copy``: our time over the copy's; medians of the rounds' ratios;
- ``peak_mib``, ``peak_mib_7b``: the most memory our process held, private and shared together;
- ``seconds_7b``: our time at 7B.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SMALL = {"hidden": 2048, "layers": 22, "intermediate": 5632, "heads": 32, "kv_heads": 4, "shard": 800_000_000}
LLAMA2_7B = {"hidden": 4096, "layers": 32, "intermediate": 11008, "heads": 32, "kv_heads": 32, "shard": 2_000_000_000}
VOCABULARY = 32_000
RANK = 64
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def main() -> None:
    """Run the comparison and print its figures; or, in a child, one turn of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each contender takes")
    parser.add_argument("--no-7b", action="store_true", help="leave LLaMA2-7B's shapes out")
    parser.add_argument("--folder", help="where to work; default: the system's temporary folder")
    parser.add_argument("--turn", nargs=2, metavar=("CONTENDER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turn:
        take_turn(arguments.turn[0], Path(arguments.turn[1]))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="merge-benchmark-") as place:
        figures = compare(Path(place) / "small", rounds=arguments.rounds)
        shutil.rmtree(Path(place) / "small")
        if not arguments.no_7b:
            make_pair(Path(place) / "7b", LLAMA2_7B)
            ours = run_turn("ours", Path(place) / "7b")
            print(f"7B: {ours['seconds']:.1f} s, {ours['peak_mib']:.0f} MiB", flush=True)
            figures |= {"peak_mib_7b": round(ours["peak_mib"]), "seconds_7b": round(ours["seconds"], 1)}
    print(json.dumps(figures))


def compare(folder: Path, *, rounds: int) -> dict[str, float]:
    """Turns of all contenders on the small model."""
    make_pair(folder, SMALL)
    turns: dict[str, list[dict[str, float]]] = {"copy": [], "peft": [], "ours": []}
    for number in range(1, rounds + 1):
        for contender, results in turns.items():
            results.append(run_turn(contender, folder))
        line = ", ".join(f"{c} {r[-1]['seconds']:.2f} s {r[-1]['peak_mib']:.0f} MiB" for c, r in turns.items())
        print(f"round {number}: {line}", flush=True)

    def ratio(over: str, under: str) -> float:
        pairs = zip(turns[over], turns[under], strict=True)
        return round(statistics.median(a["seconds"] / b["seconds"] for a, b in pairs), 2)

    peak = round(max(turn["peak_mib"] for turn in turns["ours"]))
    return {"speed_vs_peft": ratio("peft", "ours"), "time_vs_copy": ratio("ours", "copy"), "peak_mib": peak}


def run_turn(contender: str, folder: Path) -> dict[str, float]:
    """One turn in a process of its own: its seconds and its largest resident size."""
    os.sync()  # what the turn before left to be written is not this one's
    command = [sys.executable, __file__, "--turn", contender, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(folder / "out")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def take_turn(contender: str, folder: Path) -> None:
    """Do one contender's work in this process and print what it took."""
    work = {"copy": copy_files, "peft": merge_with_peft, "ours": merge_here}[contender](folder)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def copy_files(folder: Path) -> Any:
    """What moving the bytes alone costs."""

    def work() -> None:
        (folder / "out").mkdir()
        for file in sorted((folder / "base").glob("*.safetensors")):
            shutil.copyfile(file, folder / "out" / file.name)
        flush(folder / "out")

    return work


def merge_with_peft(folder: Path) -> Any:
    """The usual way."""
    import peft
    import torch
    import transformers

    def work() -> None:
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float16)
        merged = peft.PeftModel.from_pretrained(base, str(folder / "adapter")).merge_and_unload()
        merged.save_pretrained(folder / "out", max_shard_size="800MB")
        flush(folder / "out")

    return work


def merge_here(folder: Path) -> Any:
    """Ours; it flushes by itself."""
    import torch  # noqa: F401 -- its import is not what is timed

    from chatmusician.export.merging import merge_adapter

    return lambda: merge_adapter(
        base=folder / "base",
        adapter=folder / "adapter",
        output=folder / "out",
        max_shard_bytes=json.loads((folder / "shard.json").read_text()),
    )


def flush(folder: Path) -> None:
    """Wait until the files are on the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def make_pair(folder: Path, size: dict[str, int]) -> None:
    """A base of random float16 weights and an adapter of random float32 ones, with what a folder of each needs."""
    import torch

    from chatmusician.export.folders import ADAPTER_WEIGHTS
    from chatmusician.export.reading import TORCH_NAMES
    from chatmusician.export.shards import Rows, Spec, write_shards

    def random(spec: Spec) -> Rows:
        def rows(start: int, stop: int) -> torch.Tensor:
            generator = torch.Generator().manual_seed(start)
            value = torch.randn((stop - start, *spec.shape[1:]), generator=generator) * 0.02
            return value.to(getattr(torch, TORCH_NAMES[spec.dtype]))

        return rows

    for name in ("base", "adapter"):
        (folder / name).mkdir(parents=True)
    (folder / "shard.json").write_text(str(size["shard"]))
    write_shards(folder / "base", base_specs(size, Spec), random, max_shard_bytes=size["shard"])
    write_shards(folder / "adapter", adapter_specs(size, Spec), random)
    (folder / "adapter" / "model.safetensors").rename(folder / "adapter" / ADAPTER_WEIGHTS)
    write_json(folder / "base" / "config.json", base_config(size))
    write_json(
        folder / "adapter" / "adapter_config.json",
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16, "target_modules": PROJECTIONS},
    )
    write_json(folder / "base" / "tokenizer.json", {})  # copied, never read


def base_config(size: dict[str, int]) -> dict[str, Any]:
    """config.json of a Llama."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": size["hidden"],
        "intermediate_size": size["intermediate"],
        "num_hidden_layers": size["layers"],
        "num_attention_heads": size["heads"],
        "num_key_value_heads": size["kv_heads"],
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "dtype": "float16",
    }


def projections(size: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Module of a layer -> [out, in]."""
    hidden, wide = size["hidden"], size["intermediate"]
    keys = hidden // size["heads"] * size["kv_heads"]
    attention = {"q_proj": (hidden, hidden), "k_proj": (keys, hidden), "v_proj": (keys, hidden)}
    mlp = {"gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide)}
    return {f"self_attn.{name}": shape for name, shape in {**attention, "o_proj": (hidden, hidden)}.items()} | {
        f"mlp.{name}": shape for name, shape in mlp.items()
    }


def base_specs(size: dict[str, int], spec: Any) -> list[Any]:
    """The tensors of the base."""
    hidden = size["hidden"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (VOCABULARY, hidden)}
    for layer in range(size["layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {prefix + name: shape for name, shape in projections(size).items()}
        shapes |= {prefix + name: (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    shapes |= {"model.norm": (hidden,), "lm_head": (VOCABULARY, hidden)}
    return [spec(name=f"{name}.weight", shape=shape, dtype="F16") for name, shape in shapes.items()]


def adapter_specs(size: dict[str, int], spec: Any) -> list[Any]:
    """The tensors of the adapter."""
    specs = []
    for layer in range(size["layers"]):
        for name, (out, into) in projections(size).items():
            module = f"base_model.model.model.layers.{layer}.{name}"
            specs.append(spec(name=f"{module}.lora_A.weight", shape=(RANK, into), dtype="F32"))
            specs.append(spec(name=f"{module}.lora_B.weight", shape=(out, RANK), dtype="F32"))
    return specs


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content))


if __name__ == "__main__":
    main()
