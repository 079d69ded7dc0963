"""Two checkpoints in a run's folder: the last, and the one that validation judged best.

    every so many optimizer steps   last.ckpt
    after a validation              last.ckpt; where it is the best so far, best.ckpt is another name of the same file
    when training ends              last.ckpt, where it is not of that step
    when a run is asked to stop     last.ckpt; see `chatmusician.callbacks.preemption`

A checkpoint replaces the one before it only once it is whole (`chatmusician.strategies.checkpoint_io`), and since the
best is a second name (a hard link) of a last one, it costs neither time nor space until the next is written. A failure
to write, a full disk say, ends the run on every rank, and leaves both as they were. Weights that are not finite are
not saved.

Every checkpoint is logged with its seconds on rank 0 and its bytes.
"""

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from chatmusician.errors import UserError
from chatmusician.modeling.resuming import owe_validation

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

log = logging.getLogger(__name__)

LAST = "last.ckpt"
BEST = "best.ckpt"
MODES = ("min", "max")


class LastAndBest(Checkpoint):
    """Keeps ``last.ckpt`` and ``best.ckpt``.

    Args:
        dirpath: the folder that they are in.
        monitor: the validated figure that tells the best; None to judge none.
        mode: whether the best is the "min" or the "max".
        every_n_steps: optimizer steps between checkpoints, besides those of validations; None for no others.

    Raises:
        UserError: a value is not one of those above.
    """

    def __init__(
        self,
        *,
        dirpath: str,
        monitor: str | None = "val/bits_per_byte",
        mode: str = "min",
        every_n_steps: int | None = 500,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise UserError(f"callbacks.checkpoint.mode={mode}: use {' or '.join(MODES)}")
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"callbacks.checkpoint.every_n_steps={every_n_steps}: use 1 or more, or null")
        self.dirpath, self.monitor, self.mode, self.every_n_steps = Path(dirpath), monitor, mode, every_n_steps
        self.best_model_path = ""
        self.best_model_score: float | None = None
        self.last_model_path = ""
        self.last_step: int | None = None

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:  # noqa: ARG002 -- Lightning's signature
        """What was resumed from need not be saved again."""
        self.last_step = trainer.global_step
        self.last_model_path = str(trainer.ckpt_path or "")

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",  # noqa: ARG002 -- Lightning's signature
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Save, where it is time for it."""
        step = trainer.global_step
        if self.every_n_steps is not None and step % self.every_n_steps == 0 and step != self.last_step:
            self.save(trainer, validation_owed=True)

    def on_validation_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:  # noqa: ARG002 -- Lightning's signature
        """Save, and judge."""
        if trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking:
            return
        best = self._is_best(trainer)
        self.save(trainer, validation_owed=False)
        if best and trainer.is_global_zero:
            _link(self.dirpath / LAST, self.dirpath / BEST)
        trainer.strategy.barrier("best.ckpt")

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:  # noqa: ARG002 -- Lightning's signature
        """Save, if this step is not saved."""
        if trainer.global_step != self.last_step:
            self.save(trainer, validation_owed=False)

    def save(self, trainer: "Trainer", *, validation_owed: bool) -> None:
        """Write ``last.ckpt``; every rank must call it.

        ``validation_owed`` says that a validation which is due at this step has not ended.

        Raises:
            UserError: on every rank, if it could not be written or weights are not finite.
        """
        started = time.perf_counter()
        path = self.dirpath / LAST
        self.last_step = trainer.global_step
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        owe_validation(checkpoint["loops"]["fit_loop"], owed=validation_owed)
        failure: str | None = None
        try:
            if trainer.is_global_zero:
                self._check(checkpoint["state_dict"], step=trainer.global_step)
            trainer.strategy.save_checkpoint(checkpoint, path)  # rank 0 writes
        except UserError as error:  # told to all ranks, which would wait for ever otherwise
            failure = str(error)
        failure = trainer.strategy.broadcast(failure)
        if failure is not None:
            raise UserError(failure)
        self.last_model_path = str(path)
        if trainer.is_global_zero:
            figures = {"checkpoint/seconds": time.perf_counter() - started, "checkpoint/bytes": path.stat().st_size}
            for logger in trainer.loggers:
                logger.log_metrics(figures, step=trainer.global_step)

    def last_good(self) -> str:
        """For messages: where training can be gone on with."""
        return (
            f"the last good checkpoint is {self.last_model_path}" if self.last_model_path else "nothing was saved yet"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on judging by."""
        return {"best_model_path": self.best_model_path, "best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on judging by what was best, if it is still there."""
        if Path(state_dict["best_model_path"]).is_file():
            self.best_model_path, self.best_model_score = state_dict["best_model_path"], state_dict["best_model_score"]

    def _is_best(self, trainer: "Trainer") -> bool:
        """Whether the last validation was the best so far; remembers it."""
        score = None if self.monitor is None else trainer.callback_metrics.get(self.monitor)
        if score is None or not bool(torch.isfinite(score)):
            return False
        value = float(score)
        if self.best_model_score is not None:
            best = min if self.mode == "min" else max
            if best(value, self.best_model_score) == self.best_model_score:
                return False
        self.best_model_score, self.best_model_path = value, str(self.dirpath / BEST)
        return True

    def _check(self, weights: dict[str, torch.Tensor], *, step: int) -> None:
        for name, value in weights.items():
            if not bool(torch.isfinite(value).all()):
                raise UserError(
                    f"{name} is not finite after optimizer step {step}, though the loss was: {self.last_good()}; "
                    "lower model.optimizer.lr or trainer.gradient_clip_val"
                )


def _link(last: Path, best: Path) -> None:
    """Give the file a second name in place of the one that had it.

    Raises:
        UserError: the file system takes neither a link nor a copy.
    """
    partial = best.with_name(best.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(last, partial)
        except OSError:  # a file system without hard links
            import shutil

            shutil.copyfile(last, partial)
        partial.replace(best)
    except OSError as error:
        raise UserError(f"{best} cannot be written ({error.strerror}); {last} is whole") from error
