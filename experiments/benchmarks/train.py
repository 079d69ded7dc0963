"""Speed and memory of training, against TRL and against the original's loop.

    python experiments/benchmarks/train.py [--rounds 3] [--steps 4] [--folder DIR]

A Llama of hidden size 512 (8 layers, 8 heads, intermediate 1376, vocabulary 32,000, random weights, float32), LoRA of
rank 64 on the seven projections with dropout 0.1, AdamW, clipping at 1. The documents are instructions made from the
folk tunes, one of six tasks a tune, in the chat template, with the loss on answers, tokenised with the 32,000-piece
tokenizer inside mistral-common. Needs trl and mistral-common (pip install 'chatmusician[benchmarks,dev]').

The contenders take turns, each in a process of its own, on all cores:

- ``ours``: `CausalLanguageModel` and `PackedDataModule` under Lightning's Trainer, a step of 8 rows of 1,024 tokens,
  one at a time;
- ``trl``: SFTTrainer with packing into rows of 1,024 and its defaults (gradient checkpointing among them), also a step
  of 8 rows, one at a time: it joins the rows of a batch into one sequence, which attention without flash kernels pays
  for by the square; ``trl_faster``: the same without gradient checkpointing;
- ``original``: the loop of the released code: 8 documents padded to the longest of them, gradient checkpointing.

A turn takes ``--steps`` steps (four times as many of the original's, which have fewer tokens) and times them without
the first two micro-batches. The last line is JSON:

- ``useful_tokens_vs_trl``, ``useful_tokens_vs_original``: our tokens a second, padding not counted, over theirs,
  medians of the rounds' ratios; ``useful_tokens_vs_trl_faster``: over TRL's without checkpointing;
- ``memory_vs_trl``: our largest resident size over that of ``trl``, which is the smaller of TRL's two;
- ``share_of_peak``: the operations that our steps need over what matrix products reach, the better of before and
  after in the same process;
- ``loss_difference``: of ours on one packed row from those of TRL and of the original on the same documents, relative;
- ``tokens_per_s``, ``peak_mib``: medians, by contender; ``limit_tokens_per_s``: what our share of 1 would be.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONTENDERS = ("ours", "trl", "trl_faster", "original")


def main() -> None:
    """Run the comparison and print its figures; or, in a child, one turn of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each contender takes")
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of a turn")
    parser.add_argument("--folder", help="where to work, kept and used again; default: a temporary folder")
    parser.add_argument("--turn", nargs=2, metavar=("CONTENDER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    if arguments.turn:
        contender, folder = arguments.turn
        print(json.dumps(take_turn(contender, Path(folder), steps=arguments.steps)))
        return
    with tempfile.TemporaryDirectory(prefix="train-benchmark-") as place:
        folder = Path(arguments.folder or place)
        run_turn("make", folder, steps=0)
        losses = run_turn("losses", folder, steps=0)
        print(json.dumps(losses), flush=True)
        figures = compare(folder, rounds=arguments.rounds, steps=arguments.steps)
    others = [losses[name] / losses["ours"] - 1 for name in ("trl", "original")]
    print(json.dumps({**figures, "loss_difference": float(f"{max(map(abs, others)):.1e}")}))


def compare(folder: Path, *, rounds: int, steps: int) -> dict[str, Any]:
    """Turns of all contenders, and what comes of them."""
    turns: dict[str, list[dict[str, float]]] = {contender: [] for contender in CONTENDERS}
    for number in range(1, rounds + 1):
        for contender, results in turns.items():
            results.append(run_turn(contender, folder, steps=steps))
            speed, peak = results[-1]["tokens_per_s"], results[-1]["peak_mib"]
            print(f"round {number}, {contender}: {speed:.0f} tokens/s, {peak:.0f} MiB", flush=True)

    def median(contender: str, figure: str) -> float:
        return statistics.median(turn[figure] for turn in turns[contender])

    def ratio(over: str, under: str) -> float:
        pairs = zip(turns[over], turns[under], strict=True)
        return round(statistics.median(a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs), 2)

    return {
        "useful_tokens_vs_trl": ratio("ours", "trl"),
        "useful_tokens_vs_original": ratio("ours", "original"),
        "useful_tokens_vs_trl_faster": ratio("ours", "trl_faster"),
        "memory_vs_trl": round(median("ours", "peak_mib") / median("trl", "peak_mib"), 2),
        "share_of_peak": round(median("ours", "share_of_peak"), 3),
        "limit_tokens_per_s": round(median("ours", "limit_tokens_per_s")),
        "tokens_per_s": {contender: round(median(contender, "tokens_per_s")) for contender in turns},
        "peak_mib": {contender: round(median(contender, "peak_mib")) for contender in turns},
    }


def run_turn(contender: str, folder: Path, *, steps: int) -> dict[str, float]:
    """One turn in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--steps", str(steps), "--turn", contender, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def take_turn(contender: str, folder: Path, *, steps: int) -> dict[str, float]:
    """Do one contender's work in this process; what it took."""
    sys.path.insert(0, str(Path(__file__).parent))
    import train_contenders as contenders

    if contender == "make":
        contenders.make(folder)
        return {}
    if contender == "losses":
        return contenders.losses(folder)
    if contender == "ours":
        result = contenders.train_here(folder, steps=steps)
    elif contender == "original":
        result = contenders.train_as_the_original(folder, steps=4 * steps)
    else:
        result = contenders.train_with_trl(folder, steps=steps, checkpointing=contender == "trl")
    return result | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
