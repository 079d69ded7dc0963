"""The callback in a real fit, with modules that keep the contract of the training code and no more."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bases import MODULES, make_base
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from chatmusician.callbacks.merge_and_export import MergeAndExport
from chatmusician.errors import UserError
from chatmusician.export.checkpoints import open_checkpoint
from chatmusician.export.merging import merge_adapter
from chatmusician.export.saving import save_model_folder
from chatmusician.export.trained import ExportFacts, export_trained
from chatmusician.generation.decoding import Decoding

MANIFEST = {"summary": {"train": {"trained_tokens": 1234, "sources": {"reels": {"documents": 5, "tokens": 99}}}}}


class Data(LightningDataModule):
    def __init__(self, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
        super().__init__()
        self.tokenizer_folder = folder / "tokenizer"
        tokenizer.save_pretrained(self.tokenizer_folder)

    def manifest(self) -> dict[str, Any]:
        return MANIFEST

    def train_dataloader(self) -> DataLoader:
        return DataLoader([torch.arange(3, 30)] * 3)


class Module(LightningModule):
    def __init__(self, model: Any, base_path: str | None, interrupt: bool = False) -> None:
        super().__init__()
        self.model, self.base_path, self.interrupt, self.rate = model, base_path, interrupt, 0.0

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        if self.interrupt and index == 1:
            raise KeyboardInterrupt
        loss = self.model(input_ids=batch, labels=batch).loss
        self.log("train/loss", loss)
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in trained}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=self.rate)


def fit(
    module: Module,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    output: Path,
    *,
    rate: float = 1e-2,
    **options: Any,
) -> None:
    module.rate = rate
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(folder, name="csv", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            MergeAndExport(output=str(output), recipe="nano", **options),
            ModelCheckpoint(
                dirpath=folder / "checkpoints",
                filename="{step}",
                every_n_train_steps=1,
                monitor="train/loss",
                save_top_k=1,
                save_last=True,
            ),
        ],
    )
    trainer.fit(module, datamodule=Data(tokenizer, folder))


def with_lora(tokenizer: PreTrainedTokenizerBase, **options: Any) -> Any:
    whole = {"modules_to_save": ["lm_head"], **options}
    lora = LoraConfig(**{"r": 4, "lora_alpha": 16, "target_modules": MODULES, "task_type": "CAUSAL_LM", **whole})
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
    logged = (tmp_path / "csv" / "metrics.csv").read_text()
    assert f"{report['figures']['export/bytes']}" in logged
    assert report["figures"]["export/bytes"] > report["merge"]["bytes"]
    card = (output / "model" / "README.md").read_text()
    assert "+experiment=nano" in card
    assert "| reels | 5 | 99 |" in card
    assert "LoRA of rank 4, alpha 16, on down_proj" in card
    assert "| optimizer steps | 3 |" in card


def state_of(file: Path) -> dict[str, torch.Tensor]:
    return load_file(file / "model.safetensors")


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dora": True}, {"target_modules": ["q_proj", "embed_tokens"]}, {"trainable_token_indices": [5, 9]}],
    ids=str,
)
@pytest.mark.parametrize("base_is_on_disk", [True, False])
def test_a_checkpoint_gives_what_the_run_exported(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, options: dict[str, Any], base_is_on_disk: bool
) -> None:
    base = tmp_path / "the-base"
    save_model_folder(model=make_base(len(tokenizer)), tokenizer=tokenizer, output=base)
    model = with_lora(tokenizer, **options)
    output = tmp_path / "run"
    fit(Module(model, str(base) if base_is_on_disk else None), tokenizer, tmp_path, output)
    opened = open_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert opened.step == 3
    again = tmp_path / "again"
    facts = ExportFacts.of_checkpoint(opened.facts)
    if not base_is_on_disk:
        with pytest.raises(UserError, match="the base of these weights was made by their run and is not among them"):
            export_trained(state=opened.state, facts=facts, output=again)
    place = None if base_is_on_disk else str(output / "base")
    report = export_trained(state=opened.state, facts=facts, output=again, base=place)
    assert report.agreement is not None and report.agreement.same_argmax == 1.0
    for part in ("model/model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (again / part).read_bytes() == (output / part).read_bytes(), part
    merged = state_of(again / "model")
    expected = model.merge_and_unload().state_dict()
    assert all(torch.equal(merged[name], value) for name, value in expected.items())


def test_a_checkpoint_of_another_version_is_refused() -> None:
    with pytest.raises(UserError, match=r"written by another version of this project: .*'colour'"):
        ExportFacts.of_checkpoint({"model_config": {}, "colour": "blue"})


def test_peft_reads_the_adapter_that_is_written(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    base = tmp_path / "the-base"
    save_model_folder(model=make_base(len(tokenizer)), tokenizer=tokenizer, output=base)
    model = with_lora(tokenizer, use_dora=True, target_modules=["q_proj", "embed_tokens"])
    fit(Module(model, str(base)), tokenizer, tmp_path, tmp_path / "run")
    own, reloaded = (
        model,
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "run" / "adapter")),
    )
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        torch.testing.assert_close(reloaded(input_ids=ids).logits, own.eval()(input_ids=ids).logits)


def test_another_base_is_refused_by_its_numbers(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    base, other = tmp_path / "the-base", tmp_path / "other"
    save_model_folder(model=make_base(len(tokenizer)), tokenizer=tokenizer, output=base)
    fit(Module(with_lora(tokenizer), str(base)), tokenizer, tmp_path, tmp_path / "run")
    changed = make_base(len(tokenizer))
    with torch.no_grad():
        changed.model.layers[1].mlp.up_proj.weight[0, 0] += 0.25
    save_model_folder(model=changed, tokenizer=tokenizer, output=other)
    with pytest.raises(UserError, match=r"other is not the base that .*adapter was trained on: .* other numbers"):
        merge_adapter(base=other, adapter=tmp_path / "run" / "adapter", output=tmp_path / "out")
    save_model_folder(model=make_base(len(tokenizer) + 8), tokenizer=tokenizer, output=other, overwrite=True)
    with pytest.raises(UserError, match="its tensors have other names, dtypes or shapes"):
        merge_adapter(base=other, adapter=tmp_path / "run" / "adapter", output=tmp_path / "out")
    save_model_folder(
        model=make_base(len(tokenizer)), tokenizer=tokenizer, output=other, overwrite=True, max_shard_bytes=60_000
    )
    merge_adapter(base=other, adapter=tmp_path / "run" / "adapter", output=tmp_path / "out")  # the same, in shards


@pytest.mark.parametrize("options", [{"weights": "first"}, {"every_n_steps": 0}, {"gguf": "q9"}], ids=str)
def test_what_cannot_be_exported_is_refused_before_training(options: dict[str, Any]) -> None:
    (name, value) = next(iter(options.items()))
    with pytest.raises(UserError, match=f"{name}={value}"):
        MergeAndExport(output="run", **options)


def test_a_base_that_cannot_be_read_ends_the_run_at_its_start(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"nowhere has no model\.safetensors"):
        fit(Module(with_lora(tokenizer), str(tmp_path / "nowhere")), tokenizer, tmp_path, tmp_path / "run")
    assert not (tmp_path / "checkpoints").exists()


def test_the_best_checkpoint_is_exported_where_asked_for(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """At this rate the loss is lowest before the third step has moved the weights."""
    model = make_base(len(tokenizer))
    fit(Module(model, None), tokenizer, tmp_path, tmp_path / "run", weights="best", rate=0.5)
    (best,) = [path for path in (tmp_path / "checkpoints").iterdir() if path.name != "last.ckpt"]
    opened = open_checkpoint(best)
    assert opened.step < 3
    assert json.loads((tmp_path / "run" / "export.json").read_text())["step"] == opened.step
    exported = state_of(tmp_path / "run" / "model")
    assert all(torch.equal(exported[name], value) for name, value in opened.state.items())


def test_a_run_is_exported_on_the_way_too(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    fit(Module(make_base(len(tokenizer)), None), tokenizer, tmp_path, tmp_path / "run", every_n_steps=2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["export.json", "model", "step-000002"]
    early, late = state_of(tmp_path / "run" / "step-000002" / "model"), state_of(tmp_path / "run" / "model")
    assert not torch.equal(early["lm_head.weight"], late["lm_head.weight"])
    assert json.loads((tmp_path / "run" / "step-000002" / "export.json").read_text())["step"] == 2


def test_a_failed_export_on_the_way_does_not_stop_training(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step-000002").write_text("in the way")
    fit(Module(make_base(len(tokenizer)), None), tokenizer, tmp_path, tmp_path / "run", every_n_steps=2)
    assert "training goes on, but the export at step 2 failed: " in caplog.text
    assert json.loads((tmp_path / "run" / "export.json").read_text())["step"] == 3


def test_the_card_shows_a_score_or_the_log_says_why_not(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decoding = Decoding(max_new_tokens=20)
    options: dict[str, Any] = {"compose": "A reel, please.", "decoding": decoding}
    fit(Module(make_base(len(tokenizer)), None), tokenizer, tmp_path, tmp_path / "run", **options)
    assert "the model card has no score: none of 4 answers to 'A reel, please.' has a tune that parses" in caplog.text
    generation = json.loads((tmp_path / "run" / "model" / "generation_config.json").read_text())
    assert generation["max_new_tokens"] == 20


def test_a_full_model_is_saved(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = make_base(len(tokenizer), tie_word_embeddings=True)
    fit(Module(model, None), tokenizer, tmp_path, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["export.json", "model"]
    checkpoint = open_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    export_trained(state=checkpoint.state, facts=ExportFacts.of_checkpoint(checkpoint.facts), output=tmp_path / "again")
    again = tmp_path / "again" / "model" / "model.safetensors"
    assert again.read_bytes() == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    assert "| started from | random weights |" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_failed_export_keeps_the_checkpoint_and_raises(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the checkpoints are safe, but the export to .* failed: .*Not a directory"):
        fit(Module(make_base(len(tokenizer)), None), tokenizer, tmp_path, tmp_path / "file" / "run")
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3


def test_interrupted_training_exports_nothing(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Module(make_base(len(tokenizer)), None, interrupt=True), tokenizer, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
