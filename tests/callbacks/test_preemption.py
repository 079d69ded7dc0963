"""Signals, sent by the run to itself at places of its choosing; that ranks agree is shown in `tests/e2e`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from chatmusician.callbacks.checkpoints import LastAndBest
from chatmusician.callbacks.finite_loss import FiniteLoss
from chatmusician.callbacks.preemption import SIGNALS, Preemption
from chatmusician.errors import STOPPED, Stopped, UserError
from chatmusician.strategies.checkpoint_io import AtomicCheckpointIO

STEPS = 8
VALIDATED = 3
"""Optimizer steps between validations."""


class Asks(L.Callback):
    """Sends signals to its own process at the beginning of a training step or of a validation batch."""

    def __init__(self, *, step: int, validation: bool, numbers: tuple[int, ...] = (signal.SIGTERM,)) -> None:
        self.step, self.validation, self.numbers = step, validation, numbers
        self.validations: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.validation:
            self._ask()

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and self.validation:
            self._ask()

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.validations.append(trainer.global_step)

    def _ask(self) -> None:
        for number in self.numbers:
            os.kill(os.getpid(), number)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.append(str(Path(__file__).parents[1] / "modeling"))
    from tiny_run import write_corpus

    return write_corpus(tmp_path_factory.mktemp("corpus"))


def train(
    corpus: Path, folder: Path, *callbacks: L.Callback, resume: Path | None = None, steps: int = STEPS
) -> tuple[L.Trainer, LastAndBest]:
    """Two micro-batches a step, and a validation every third step."""
    from tiny_run import LORA, make_data, make_module

    L.seed_everything(5, verbose=False)
    checkpoints = LastAndBest(dirpath=str(folder), every_n_steps=None)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=2,
        val_check_interval=2 * VALIDATED,
        check_val_every_n_epoch=None,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=[FiniteLoss(), *callbacks, checkpoints],
    )
    trainer.fit(make_module(lora=LORA), datamodule=make_data(corpus, micro_batch=2), ckpt_path=resume)
    return trainer, checkpoints


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(corpus, folder)
    return folder


def saved(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / name, weights_only=True)
    return content


@pytest.mark.parametrize(
    ("step", "validation", "stopped_at"),
    [(0, False, 1), (2, False, 3), (3, False, 4), (3, True, 3), (6, True, 6)],
    ids=["first step", "before a validation", "after one", "in one", "in the second"],
)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_is_asked_saves_and_goes_on_as_if_it_had_not_been(
    corpus: Path, undisturbed: Path, tmp_path: Path, number: int, step: int, validation: bool, stopped_at: int
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop:
        train(corpus, tmp_path, Asks(step=step, validation=validation, numbers=(number,)), Preemption())
    assert stop.value.code == STOPPED == 85
    assert signal.getsignal(number) is before
    assert saved(tmp_path)["global_step"] == stopped_at
    watch = Asks(step=-1, validation=False)
    train(corpus, tmp_path, watch, Preemption(), resume=tmp_path / "last.ckpt")
    assert watch.validations == [due for due in (3, 6) if due >= stopped_at]
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = saved(tmp_path, name), saved(undisturbed, name)
        assert ours["global_step"] == theirs["global_step"]
        assert all(torch.equal(ours["state_dict"][key], value) for key, value in theirs["state_dict"].items())
        assert (
            ours["callbacks"]["LastAndBest"]["best_model_score"]
            == theirs["callbacks"]["LastAndBest"]["best_model_score"]
        )


def test_asked_in_its_last_step_a_run_ends_as_usual(corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, Asks(step=STEPS - 1, validation=False), Preemption())
    assert saved(tmp_path)["global_step"] == STEPS
    assert saved(undisturbed)["global_step"] == STEPS


def test_two_signals_at_once_are_one_request_and_later_ones_end_the_run(corpus: Path, tmp_path: Path) -> None:
    both = Asks(step=1, validation=False, numbers=(signal.SIGTERM, signal.SIGUSR1))
    with pytest.raises(Stopped):
        train(corpus, tmp_path / "once", both, Preemption())
    with pytest.raises(SystemExit) as stop:
        train(corpus, tmp_path / "twice", both, Preemption(same_request_s=0.0))
    assert stop.value.code == 143
    assert not (tmp_path / "twice" / "last.ckpt").exists()


def test_there_has_to_be_something_to_save_with(tmp_path: Path) -> None:
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    with pytest.raises(UserError, match=r"saves by callbacks\.checkpoint: set it, or callbacks\.preemption=null"):
        Preemption().setup(trainer, L.LightningModule(), "fit")
