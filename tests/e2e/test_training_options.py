"""Options of training, by the command: 4 bits, bfloat16, accumulation; and a run that cannot be is refused at once."""

import csv
import json
from pathlib import Path

import pytest
import torch
from commands import run, small_corpus
from safetensors.torch import load_file

LAYERS = 2


def test_an_adapter_beside_4_bits_in_bfloat16(workplace: Path) -> None:
    """The CPU takes 16-bit products, and the export is merged with the base as it was before quantising."""
    pytest.importorskip("bitsandbytes")
    run(
        workplace,
        "train",
        "+experiment=nano_sft",
        "optim=paper",
        "lora=rslora",
        "model.backbone.path=out/pretrain/model",
        "model.backbone.load_in_4bit=true",
        "model.backbone.dtype=bfloat16",
        "trainer.precision=bf16-mixed",
        "data.directory=out/data/sft",
        "data.global_batch=4",
        "data.micro_batch=2",
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "callbacks.merge_and_export.compose=null",
        "hydra.run.dir=four-bits",
        *small_corpus("+"),
    )
    folder = workplace / "four-bits"
    with (folder / "csv" / "metrics.csv").open() as file:
        validated = [row["step"] for row in csv.DictReader(file) if row["val/bits_per_byte"]]
    assert validated == ["1", "3"]  # after the second and the fourth optimizer step, of two micro-batches each

    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert len(state) == LAYERS * 7 * 2
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert json.loads((folder / "adapter" / "adapter_config.json").read_text())["use_rslora"] is True
    report = json.loads((folder / "export.json").read_text())
    assert report["merge"]["low_rank"] == LAYERS * 7
    base = load_file(workplace / "out" / "pretrain" / "model" / "model.safetensors")
    merged = load_file(folder / "model" / "model.safetensors")
    differ = {name for name in base if not torch.equal(base[name], merged[name])}
    assert differ == {name for name in base if "_proj" in name}
    assert "quantization_config" not in json.loads((folder / "model" / "config.json").read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_what_cannot_be_run_here_is_refused_before_anything_is_prepared(workplace: Path) -> None:
    overrides = ["+experiment=sft_78k", "data.micro_batch=3", "model.backbone.path=nowhere", "logger=csv"]
    refused = run(workplace, "train", *overrides, "hydra.run.dir=refused", status=2)
    first, *problems = refused.stderr.strip().splitlines()[-4:]
    assert first == "error: the configuration has 3 mistakes"
    assert problems[0].startswith("  trainer.accelerator=gpu: torch ")
    assert problems[1].startswith("  data.global_batch=8: is not a multiple of data.micro_batch=3 x 8 ranks")
    assert problems[2].startswith("  model.backbone.path=nowhere: does not exist: train one")
    assert not list((workplace / "refused").glob("checkpoints"))
    assert not (workplace / "outputs" / "data" / "sft_78k").exists()
