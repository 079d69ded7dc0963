"""Real DeepSpeed, two processes over gloo: it trains what one process trains, and its checkpoints are files as any."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import environment, run, small_corpus
from safetensors.torch import load_file

TWO_RANKS = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def settings(folder: str, *more: str) -> list[str]:
    """Six steps of AdamW on the pipeline's base, four rows a step."""
    return [
        "+experiment=nano_sft",
        "optim=paper",
        "model.backbone.path=out/pretrain/model",
        "data.directory=out/data/sft",
        "data.global_batch=4",
        "trainer.max_steps=6",
        "trainer.val_check_interval=3",
        "callbacks.merge_and_export.compose=null",
        f"hydra.run.dir={folder}",
        *small_corpus("+"),
        *more,
    ]


@pytest.fixture(scope="module")
def alone(workplace: Path) -> Path:
    """The run of one process without DeepSpeed."""
    run(workplace, "train", *settings("alone", "data.micro_batch=4"))
    return workplace / "alone"


@pytest.mark.parametrize("stage", [2, 3])
def test_two_ranks_train_what_one_process_trains(workplace: Path, alone: Path, stage: int) -> None:
    folder = f"zero{stage}"
    overrides = settings(folder, f"trainer=zero{stage}_cpu", "trainer.devices=2", "data.micro_batch=2")
    command = [*TWO_RANKS, "-m", "chatmusician.train", *overrides]
    options = {"cwd": workplace, "env": {**environment(), "OMP_NUM_THREADS": "1"}, "timeout": 600}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]  # a dict of them
    assert done.returncode == 0, done.stderr[-4000:]

    ours, theirs = (json.loads((place / "metrics.json").read_text()) for place in (workplace / folder, alone))
    assert ours["val/bits_per_byte"] == pytest.approx(theirs["val/bits_per_byte"], abs=1e-5)
    by_source = {name: value for name, value in theirs.items() if name.startswith("val/bits_per_byte/")}
    assert {name: ours[name] for name in by_source} == pytest.approx(by_source, abs=1e-5)
    assert by_source
    assert ours["optim/gradient_norm"] == pytest.approx(theirs["optim/gradient_norm"], rel=1e-3)
    assert ours["optim/lr"] == theirs["optim/lr"]
    weights, expected = (
        load_file(place / "adapter" / "adapter_model.safetensors") for place in (workplace / folder, alone)
    )
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5, msg=name)

    checkpoint = Path(folder) / "checkpoints" / "last.ckpt"
    output = f"from-{folder}"
    merged = run(workplace, "merge", f"checkpoint={checkpoint}", f"output={output}")
    assert f"{checkpoint}: 28 trained tensors, of optimizer step 6" in merged.stdout
    for part in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (workplace / output / part).read_bytes() == (workplace / folder / part).read_bytes()
