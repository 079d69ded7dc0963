"""Whole runs through Lightning: the same weights however a run is cut up."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from tiny_run import BACKBONE, LORA, Run, fit, make_data, make_module

from chatmusician.data.datamodule import PackedDataModule
from chatmusician.data.documents import Document, plain_document
from chatmusician.errors import UserError
from chatmusician.modeling.language_model import Adapter, CausalLanguageModel
from chatmusician.modeling.lora import Lora
from chatmusician.modeling.loss import summed_loss
from chatmusician.modeling.optimizers import AdamWSettings, MuonSettings, OptimizerSettings


def assert_same_weights(a: Run, b: Run) -> None:
    assert a.weights.keys() == b.weights.keys()
    for name, value in a.weights.items():
        assert torch.equal(value, b.weights[name]), name


def largest_difference(a: Run, b: Run) -> float:
    return max(float((a.weights[name] - b.weights[name]).abs().max()) for name in a.weights)


def first_batch(data: PackedDataModule) -> dict[str, torch.Tensor]:
    return next(iter(data.train_dataloader()))


@pytest.mark.parametrize(
    ("lora", "optimizer", "micro_batch"),
    [(None, MuonSettings(), 4), (LORA, AdamWSettings(lr=3e-3), 2)],
    ids=["all weights, muon", "lora with dropout, adamw, accumulation"],
)
def test_a_resumed_run_is_the_uninterrupted_one_bit_by_bit_twice(
    corpus: Path, tmp_path: Path, lora: Adapter | None, optimizer: OptimizerSettings, micro_batch: int
) -> None:
    """Three epochs of four steps: resumed within the first, and that run once more within the second.

    Loader processes, which read ahead, make no difference.
    """

    def run(name: str, resume: Path | None = None, *, loader_workers: int = 0) -> Run:
        module = make_module(lora=lora, optimizer=optimizer)
        data = make_data(corpus, micro_batch=micro_batch, loader_workers=loader_workers)
        limit = 4 * (4 // micro_batch)
        return fit(
            tmp_path / name, module=module, data=data, steps=12, resume=resume, seed=5, limit_train_batches=limit
        )

    whole = run("whole")
    assert whole.trainer.current_epoch == 3
    once = run("once", tmp_path / "whole" / "step=3.ckpt", loader_workers=1)
    twice = run("twice", tmp_path / "once" / "step=6.ckpt", loader_workers=2)
    assert_same_weights(whole, once)
    assert_same_weights(whole, twice)
    assert whole.trainer.callback_metrics["val/bits_per_byte"] == twice.trainer.callback_metrics["val/bits_per_byte"]


def test_a_resumed_run_goes_on_over_the_end_of_a_whole_epoch(corpus: Path, tmp_path: Path) -> None:
    data = make_data(corpus)
    data.prepare_data()
    data.setup()
    epoch = data.steps_per_epoch()
    whole = fit(tmp_path / "whole", module=make_module(lora=LORA), data=data, steps=2 * epoch + 2)
    for step in range(3, 2 * epoch + 2, 3):
        resumed = fit(
            tmp_path / f"from {step}",
            module=make_module(lora=LORA),
            data=make_data(corpus),
            steps=2 * epoch + 2,
            resume=tmp_path / "whole" / f"step={step}.ckpt",
        )
        assert_same_weights(whole, resumed)


class SaveInTheMiddle(L.Callback):
    """Saves after a micro-batch, as a signal would have it, wherever in its optimizer step that is."""

    def __init__(self, path: Path, *, micro_batch: int) -> None:
        self.path = path
        self.micro_batch = micro_batch

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.micro_batch:
            trainer.save_checkpoint(self.path)


def test_a_step_that_was_cut_starts_over(corpus: Path, tmp_path: Path) -> None:
    """Four micro-batches a step, saved after the 10th: two steps are whole, and half of the third is lost."""
    path = tmp_path / "cut.ckpt"
    whole = fit(
        tmp_path / "whole",
        module=make_module(lora=LORA),
        data=make_data(corpus, micro_batch=1),
        steps=5,
        callbacks=(SaveInTheMiddle(path, micro_batch=9),),
    )
    resumed = fit(
        tmp_path / "resumed",
        module=make_module(lora=LORA),
        data=make_data(corpus, micro_batch=1),
        steps=5,
        resume=path,
    )
    assert_same_weights(whole, resumed)


def test_one_trajectory_however_a_global_batch_is_cut(corpus: Path, tmp_path: Path) -> None:
    runs = [
        fit(
            tmp_path / f"{micro_batch}",
            module=make_module(),
            data=make_data(corpus, global_batch=8, micro_batch=micro_batch),
            steps=5,
        )
        for micro_batch in (1, 8, 2)
    ]
    start = fit(tmp_path / "start", module=make_module(), data=make_data(corpus), steps=0)
    assert largest_difference(runs[0], start) > 1e-3
    assert largest_difference(runs[0], runs[1]) < 1e-6
    assert largest_difference(runs[0], runs[2]) < 1e-6


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 1)])
def test_a_run_may_go_on_with_other_micro_batches(corpus: Path, tmp_path: Path, before: int, after: int) -> None:
    whole = fit(tmp_path / "whole", module=make_module(), data=make_data(corpus, micro_batch=before), steps=12)
    resumed = fit(
        tmp_path / "resumed",
        module=make_module(),
        data=make_data(corpus, micro_batch=after),
        steps=12,
        resume=tmp_path / "whole" / "step=3.ckpt",
    )
    assert resumed.trainer.global_step == 12
    assert resumed.trainer.current_epoch == whole.trainer.current_epoch > 0
    assert largest_difference(whole, resumed) < 1e-5


def test_the_same_seed_gives_the_same_run_and_another_another(corpus: Path, tmp_path: Path) -> None:
    runs = [
        fit(tmp_path / f"{index}", module=make_module(lora=LORA), data=make_data(corpus), steps=2, seed=seed)
        for index, seed in enumerate((5, 5, 6))
    ]
    assert_same_weights(runs[0], runs[1])
    assert largest_difference(runs[0], runs[2]) > 1e-3


def test_the_first_loss_with_an_adapter_is_that_of_the_base(corpus: Path, tmp_path: Path) -> None:
    lora = Lora(r=4, alpha=8, dropout=0.0)
    base = fit(tmp_path / "base", module=make_module(), data=make_data(corpus), steps=0)
    adapted = fit(tmp_path / "adapted", module=make_module(lora=lora), data=make_data(corpus), steps=0)
    batch = first_batch(base.data)
    (expected, tokens), (nats, same) = summed_loss(base.module.model, batch), summed_loss(adapted.module.model, batch)
    assert tokens == same > 0
    assert torch.equal(expected, nats)


def test_a_checkpoint_holds_the_trained_weights_only(corpus: Path, tmp_path: Path) -> None:
    run = fit(tmp_path, module=make_module(lora=LORA), data=make_data(corpus), steps=3)
    state = torch.load(tmp_path / "step=3.ckpt", weights_only=False)["state_dict"]
    assert state.keys() == {name for name, value in run.module.named_parameters() if value.requires_grad}
    assert all("lora_" in name or "modules_to_save" in name for name in state)
    assert sum(value.numel() for value in state.values()) < sum(value.numel() for value in run.weights.values())


@pytest.mark.parametrize("other", [Lora(r=4, alpha=8, target_modules=["q_proj"]), None])
def test_a_checkpoint_of_another_adapter_is_refused(corpus: Path, tmp_path: Path, other: Adapter | None) -> None:
    fit(tmp_path, module=make_module(lora=LORA), data=make_data(corpus), steps=3)
    with pytest.raises(UserError, match=r"the checkpoint is of another model or adapter: .* resume with the config"):
        fit(
            tmp_path / "other",
            module=make_module(lora=other),
            data=make_data(corpus),
            steps=6,
            resume=tmp_path / "step=3.ckpt",
        )


class SeesDropout(L.Callback):
    """What the model is in while it trains: its modes, and its loss on one batch with two seeds."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.training: list[bool] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: Any) -> None:
        assert isinstance(pl_module, CausalLanguageModel)
        self.training.append(all(module.training for module in pl_module.model.modules()))
        if trainer.global_step == 1:  # lora_B is no longer zero
            for seed in (0, 1):
                torch.manual_seed(seed)
                self.losses.append(summed_loss(pl_module.model, batch)[0].item())


def test_dropout_is_live_in_training_and_after_validation(corpus: Path, tmp_path: Path) -> None:
    seen = SeesDropout()
    module = make_module(lora=Lora(r=4, alpha=64, dropout=0.5))
    fit(tmp_path, module=module, data=make_data(corpus), steps=4, callbacks=(seen,), limit_train_batches=2)
    assert seen.training == [True] * 4
    assert seen.losses[0] != seen.losses[1]


def test_the_logged_loss_is_that_of_a_token(corpus: Path, tmp_path: Path) -> None:
    run = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=1)
    fresh = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=0)
    nats, tokens = summed_loss(fresh.module.model, first_batch(fresh.data))
    assert run.trainer.callback_metrics["train/loss"].item() == pytest.approx(nats.item() / tokens, rel=1e-5)


def test_bits_per_byte_are_those_of_the_whole_split(corpus: Path, tmp_path: Path) -> None:
    run = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=0)
    (result,) = run.trainer.test(run.module, datamodule=run.data, verbose=False)
    nats = trained_bytes = 0.0
    with torch.no_grad():
        for batch in run.data.test_dataloader():
            nats += summed_loss(run.module.model, batch)[0].item()
            trained_bytes += int(batch["trained_bytes"])
    documents = list(run.data.corpus.documents("test"))
    assert trained_bytes == sum(document.trained_bytes for document in documents)
    assert result["test/bits_per_byte"] == pytest.approx(nats / trained_bytes / 0.6931472, rel=1e-5)


class TwoKinds:
    """Tunes of four bars that are source ``even`` or ``odd``, by their number; the same in each split."""

    def describe(self) -> dict[str, Any]:
        return {"kinds": 2}

    def documents(self, split: str) -> Iterator[Document]:
        for number in range(12):
            text = f"X:{number}\nK:G\n{'GABc ' * (number + 2)}|]\n"
            yield plain_document(text, source="odd" if number % 2 else "even", origin=f"{split}:{number}")

    def rejections(self) -> Sequence[Any]:
        return ()


def test_each_source_has_bits_per_byte_of_its_own(tmp_path: Path) -> None:
    """Those of a model's documents computed alone, one at a time; several of both sources share a row."""
    data = make_data(tmp_path, seq_len=128, global_batch=2, micro_batch=2)
    data.corpus = TwoKinds()
    backbone = replace(BACKBONE, max_length=128)
    run = fit(tmp_path, module=make_module(backbone=backbone), data=data, steps=0)
    (result,) = run.trainer.test(run.module, datamodule=data, verbose=False)
    expected = {}
    for source in ("even", "odd"):
        documents = [document for document in data.corpus.documents("test") if document.source == source]
        nats = 0.0
        for document in documents:
            ids = torch.tensor([[*data.tokenizer(document.text).input_ids, data.tokenizer.eos_token_id]])
            with torch.no_grad():
                logits = run.module.model(ids).logits[0]
            nats += torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum").item()
        bits = nats / math.log(2)
        expected[f"test/bits_per_byte/{source}"] = bits / sum(document.trained_bytes for document in documents)
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert expected["test/bits_per_byte/even"] != expected["test/bits_per_byte/odd"]


def test_the_length_of_a_run_in_steps(corpus: Path, tmp_path: Path) -> None:
    by_steps = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=2)
    assert by_steps.module.total_steps() == 2
    by_epochs = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=-1, max_epochs=2)
    assert by_epochs.module.total_steps() == 2 * by_epochs.data.steps_per_epoch() == by_epochs.trainer.global_step


def test_new_weights_depend_on_the_seed_alone(corpus: Path, tmp_path: Path) -> None:
    first = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=0)
    again = fit(tmp_path, module=make_module(backbone=BACKBONE), data=make_data(corpus, micro_batch=1), steps=0)
    assert_same_weights(first, again)
    assert first.module.base_path is None
