"""The callback in a real fit of three steps, with modules that keep the contract of the training code and no more."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bases import MODULES, make_base
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from chatmusician.callbacks.merge_and_export import MergeAndExport
from chatmusician.errors import UserError
from chatmusician.export.saving import save_model_folder

MANIFEST = {"summary": {"train": {"trained_tokens": 1234, "sources": {"reels": {"documents": 5, "tokens": 99}}}}}


class Data(LightningDataModule):
    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def manifest(self) -> dict[str, Any]:
        return MANIFEST

    def train_dataloader(self) -> DataLoader:
        return DataLoader([torch.arange(3, 30)] * 3)


class Module(LightningModule):
    def __init__(self, model: Any, base_path: str | None, interrupt: bool = False) -> None:
        super().__init__()
        self.model, self.base_path, self.interrupt = model, base_path, interrupt

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.interrupt and index == 1:
            raise KeyboardInterrupt
        loss = self.model(input_ids=batch, labels=batch).loss
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=1e-2)


def fit(module: Module, tokenizer: PreTrainedTokenizerBase, folder: Path, output: Path) -> None:
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            MergeAndExport(output=str(output), recipe="nano"),
            ModelCheckpoint(dirpath=folder / "checkpoints", save_last=True),
        ],
    )
    trainer.fit(module, datamodule=Data(tokenizer))


def with_lora(tokenizer: PreTrainedTokenizerBase) -> Any:
    lora = LoraConfig(r=4, lora_alpha=16, target_modules=MODULES, task_type="CAUSAL_LM", modules_to_save=["lm_head"])
    return get_peft_model(make_base(len(tokenizer)), lora)


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # one worker is right for three rows
    "ignore:.*smaller than the logging interval.*",
)


@pytest.mark.parametrize("base_is_on_disk", [True, False])
def test_lora_is_merged_with_its_base(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, base_is_on_disk: bool
) -> None:
    base = tmp_path / "the-base"
    save_model_folder(model=make_base(len(tokenizer)), tokenizer=tokenizer, output=base)
    model = with_lora(tokenizer)
    output = tmp_path / "run"
    fit(Module(model, str(base) if base_is_on_disk else None), tokenizer, tmp_path, output)

    merged = load_file(output / "model" / "model.safetensors")
    expected = model.merge_and_unload().state_dict()
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], value) for name, value in expected.items())
    assert not torch.equal(merged["lm_head.weight"], load_file(base / "model.safetensors")["lm_head.weight"])
    assert (output / "base").exists() is not base_is_on_disk

    config = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base if base_is_on_disk else output / "base")
    assert len(AutoTokenizer.from_pretrained(output / "model")) == len(tokenizer)
    report = json.loads((output / "export.json").read_text())
    assert report["merge"]["low_rank"] == 14
    assert report["merge"]["replaced"] == 1
    assert report["agreement"]["same_argmax"] == 1.0
    assert "train/loss" in report["facts"]["metrics"]
    card = (output / "model" / "README.md").read_text()
    assert "+experiment=nano" in card
    assert "| reels | 5 |" in card
    assert "LoRA of rank 4, alpha 16, on down_proj" in card
    assert "Optimizer steps: 3." in card


def test_a_full_model_is_saved(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = make_base(len(tokenizer), tie_word_embeddings=True)
    fit(Module(model, None), tokenizer, tmp_path, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["export.json", "model"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    assert "Trained from random weights." in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_failed_export_keeps_the_checkpoint_and_raises(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the checkpoints are safe, but the export to .* failed: NotADirectoryError"):
        fit(Module(make_base(len(tokenizer)), None), tokenizer, tmp_path, tmp_path / "file" / "run")
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3


def test_interrupted_training_exports_nothing(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Module(make_base(len(tokenizer)), None, interrupt=True), tokenizer, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
