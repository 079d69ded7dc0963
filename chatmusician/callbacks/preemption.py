"""Asked to stop, a run saves and ends so that it can go on: for clusters that take machines back.

SIGTERM and SIGUSR1 ask. Whichever rank is asked first, all agree before the last backward pass of an optimizer step,
and when the step is done they save ``last.ckpt`` and exit with status 85 (`chatmusician.errors.STOPPED`); the same
command with ``resume=auto`` goes on bit for bit. In a validation they stop after its next batch, and the run that goes
on begins with that validation. Asked in its very last step, a run ends as if it had not been.

The agreement is one number summed over the ranks each optimizer step.

A second signal ends the process at once, with status 143. Schedulers and launchers often send two for one reason, so
what comes within some seconds of the first is the same request. Lightning's own handlers, which would broadcast inside
a signal handler and let SLURM put the job back into its queue by itself, are set aside while training; before and
after it SIGTERM ends the command as it ends every other.
"""

import logging
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn

from chatmusician.callbacks.checkpoints import LastAndBest
from chatmusician.errors import Stopped, UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preemption(Callback):
    """Stops training on request; `LastAndBest` saves.

    Args:
        same_request_s: seconds in which further signals are the same request as the first.
    """

    def __init__(self, *, same_request_s: float = 5.0) -> None:
        super().__init__()
        self.same_request_s = same_request_s
        self._asked: tuple[signal.Signals, float] | None = None
        self._agreed = False
        self._last_micro_batch = False
        self._before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """Remember who handled the signals before Lightning does.

        Raises:
            UserError: there is nothing to save with.
        """
        if not isinstance(trainer.checkpoint_callback, LastAndBest):
            raise UserError("callbacks.preemption saves by callbacks.checkpoint: set it, or callbacks.preemption=null")
        self._before = self._before or {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:  # noqa: ARG002 -- Lightning's signature
        """From now on there is something to save."""
        self._asked, self._agreed = None, False
        self._handle(dict.fromkeys(SIGNALS, self._note))

    def on_train_batch_start(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,
    ) -> None:
        """Know which micro-batch is the last of its step."""
        self._last_micro_batch = (batch_idx + 1) % trainer.accumulate_grad_batches == 0

    def on_before_backward(self, trainer: "Trainer", pl_module: "LightningModule", loss: torch.Tensor) -> None:  # noqa: ARG002 -- Lightning's signature
        """Agree, while the device still computes."""
        if self._last_micro_batch:
            self._agreed = self._any_rank_is_asked(trainer)

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Stop after an optimizer step."""
        if self._agreed:
            self._stop(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,  # noqa: ARG002 -- Lightning's signature
        dataloader_idx: int = 0,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Stop in a validation."""
        if trainer.state.fn is TrainerFn.FITTING and self._any_rank_is_asked(trainer):
            self._stop(trainer, pl_module)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:  # noqa: ARG002 -- Lightning's signature
        """What follows is stopped as before."""
        self._handle(self._before)

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:  # noqa: ARG002 -- Lightning's signature
        """What follows is stopped as before."""
        self._handle(self._before)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked[1] >= self.same_request_s:
            sys.exit(128 + signal.SIGTERM)
        if self._asked is None:
            self._asked = (signal.Signals(number), now)

    def _any_rank_is_asked(self, trainer: "Trainer") -> bool:
        if trainer.world_size == 1:
            return self._asked is not None
        asked = torch.tensor(0.0 if self._asked is None else 1.0, device=trainer.strategy.root_device)
        return bool(trainer.strategy.reduce(asked, reduce_op="sum") > 0)

    def _stop(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Save and end, unless nothing is left to train."""
        module: Any = pl_module
        if trainer.global_step >= module.total_steps():
            return
        callback = trainer.checkpoint_callback
        assert isinstance(callback, LastAndBest), "setup() has looked"
        callback.save(trainer, validation_owed=True)
        if trainer.is_global_zero:
            reason = "a signal to another process" if self._asked is None else self._asked[0].name
            log.warning(
                "stopped by %s after optimizer step %d: %s is whole; the same command with resume=auto goes on there",
                reason,
                trainer.global_step,
                callback.last_model_path,
            )
        raise Stopped

    def _handle(self, handlers: dict[signal.Signals, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
