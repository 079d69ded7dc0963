"""What can be trained, and on which bases: three steps, the checkpoint and the exported model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import BACKBONE, Run, fit, make_data, make_module

from chatmusician.callbacks.merge_and_export import MergeAndExport
from chatmusician.export.checkpoints import open_checkpoint
from chatmusician.export.trained import ExportFacts, export_trained
from chatmusician.modeling.backbone import NewLlama, PretrainedLlama
from chatmusician.modeling.language_model import Adapter
from chatmusician.modeling.lora import AllWeights, Freeze, Lora

TIED = NewLlama(hidden_size=16, layers=1, heads=2, intermediate_size=32, max_length=64, tied_embeddings=True)
PLAIN = Lora(r=4, alpha=8)
PAPER = Lora(r=4, alpha=8, modules_to_save=["embed_tokens", "lm_head"])
FOUR_BITS = {"load_in_4bit": True}


@dataclass(frozen=True)
class Trained:
    run: Run
    base: dict[str, torch.Tensor]
    """Of its folder."""
    exported: dict[str, torch.Tensor]
    """By the run at its end."""
    folder: Path


@pytest.fixture
def train(corpus: Path, tmp_path: Path) -> Any:
    """Three steps on a base that is saved first; ``options`` are of its backbone."""

    def trained(
        lora: Adapter, *, new: NewLlama = BACKBONE, dtype: torch.dtype = torch.float32, **options: Any
    ) -> Trained:
        data = make_data(corpus)
        data.prepare_data()
        data.setup()
        torch.manual_seed(3)
        new.build(data.tokenizer).to(dtype).save_pretrained(tmp_path / "base")
        backbone = PretrainedLlama(path=str(tmp_path / "base"), dtype="float32", **options)
        export = MergeAndExport(output=str(tmp_path / "run"))
        run = fit(tmp_path, module=make_module(backbone=backbone, lora=lora), data=data, steps=3, callbacks=(export,))
        return Trained(
            run=run,
            base=load_file(tmp_path / "base" / "model.safetensors"),
            exported=load_file(tmp_path / "run" / "model" / "model.safetensors"),
            folder=tmp_path,
        )

    return trained


def again(trained: Trained) -> dict[str, torch.Tensor]:
    """The model that the merge command makes of the checkpoint."""
    checkpoint = open_checkpoint(trained.folder / "step=3.ckpt")
    facts = ExportFacts.of_checkpoint(checkpoint.facts)
    report = export_trained(state=checkpoint.state, facts=facts, output=trained.folder / "again")
    return load_file(report.model / "model.safetensors")


def names_in_checkpoint(trained: Trained) -> list[str]:
    return sorted(torch.load(trained.folder / "step=3.ckpt", weights_only=True)["state_dict"])


@pytest.mark.parametrize(
    ("lora", "options"),
    [
        (PAPER, {}),
        (Lora(r=4, alpha=8, use_dora=True), {}),
        (Lora(r=4, alpha=8, use_rslora=True), {}),
        (PLAIN, {"load_in_8bit": True}),
        (PAPER, FOUR_BITS),
        (Lora(r=4, alpha=8, use_dora=True), FOUR_BITS),
    ],
    ids=["paper", "dora", "rslora", "8 bits", "paper, 4 bits", "dora, 4 bits"],
)
def test_an_adapter_is_trained_kept_alone_and_merged(train: Any, lora: Lora, options: dict[str, Any]) -> None:
    """Its export compares logits of the merged model with base and adapter, of the base as it was before quantising."""
    if options:
        pytest.importorskip("bitsandbytes")
    trained = train(lora, **options)
    kinds = {name.split(".default")[0].rpartition(".")[2] for name in names_in_checkpoint(trained)}
    whole = {"modules_to_save"} if lora.modules_to_save else set()
    assert kinds == {"lora_A", "lora_B"} | whole | ({"lora_magnitude_vector"} if lora.use_dora else set())
    changed = {name for name, value in trained.exported.items() if not torch.equal(value, trained.base[name])}
    projections = {name for name in trained.base if "_proj" in name}
    assert changed == projections | ({"model.embed_tokens.weight", "lm_head.weight"} if whole else set())
    assert all(torch.equal(value, trained.exported[name]) for name, value in again(trained).items())
    assert {value.dtype for value in trained.exported.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_freezing_trains_what_is_named_and_exports_a_whole_model(train: Any, dtype: torch.dtype) -> None:
    trained = train(Freeze(modules=["layers.1.mlp", "lm_head"]), dtype=dtype)
    changed = sorted(name for name, value in trained.exported.items() if not torch.equal(value, trained.base[name]))
    named = ["lm_head", *(f"model.layers.1.mlp.{part}_proj" for part in ("down", "gate", "up"))]
    assert changed == [f"{name}.weight" for name in named]
    assert names_in_checkpoint(trained) == [f"model.{name}.weight" for name in named]
    assert {value.dtype for value in trained.exported.values()} == {dtype}
    whole = again(trained)
    assert whole.keys() == trained.base.keys()
    assert all(torch.equal(value, trained.exported[name]) for name, value in whole.items())


@pytest.mark.parametrize(("modules", "says"), [(["layers.7."], "'layers.7.'"), (["lm_head"], "head is the embedding")])
def test_names_that_are_in_no_weight_are_refused(train: Any, modules: list[str], says: str) -> None:
    from chatmusician.errors import UserError

    with pytest.raises(UserError, match=f"lora.modules: no weight has .*{says}"):
        train(Freeze(modules=modules), new=TIED)


def test_a_tied_embedding_is_trained_as_one(train: Any) -> None:
    trained = train(PAPER, new=TIED)
    assert [name for name in names_in_checkpoint(trained) if "lora" not in name] == [
        "model.base_model.model.model.embed_tokens.modules_to_save.default.weight"
    ]
    assert "lm_head.weight" not in trained.exported
    embedding = "model.embed_tokens.weight"
    assert not torch.equal(trained.exported[embedding], trained.base[embedding])


@pytest.mark.parametrize("lora", [AllWeights(), PAPER, Freeze(modules=["layers.1."])], ids=["all", "paper", "freeze"])
def test_what_is_trained_is_float32_whatever_the_base_is(tmp_path: Path, tokenizer: Any, lora: Adapter) -> None:
    """A step of 1e-4 on a weight of 1 is nothing in bfloat16, whose next number is 1.0078."""
    from chatmusician.modeling.partitioning import keep_trained_in_float32

    BACKBONE.build(tokenizer).to(torch.bfloat16).save_pretrained(tmp_path / "base")
    model = lora.attach(PretrainedLlama(path=str(tmp_path / "base"), dtype="bfloat16").build(tokenizer))
    keep_trained_in_float32(model)
    dtypes = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert dtypes <= {(True, torch.float32), (False, torch.bfloat16)}
    assert (True, torch.float32) in dtypes
