"""A loss that is not finite ends the run before a step is taken on it.

Each rank notes on its device which micro-batches of an optimizer step have a finite loss. Before the backward pass of
the last one the ranks exchange one number each, the first micro-batch that has not; the device waits for that once a
step. The rank that has one names its rows, and all end with the same message. Weights are as they were after the step
before, and so is the last checkpoint. Under float16 the loss scale takes care of gradients that overflow; a loss that
is not finite is an error there too.
"""

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback

from chatmusician.callbacks.checkpoints import LastAndBest
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

_SHOWN = 8
"""Rows that a message names."""


class FiniteLoss(Callback):
    """Refuses to train on a loss that is infinite or not a number."""

    def __init__(self) -> None:
        super().__init__()
        self._batch: dict[str, torch.Tensor] = {}
        self._last_micro_batch = False
        self._finite: list[torch.Tensor] = []
        self._rows: list[torch.Tensor | None] = []

    def on_train_batch_start(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",  # noqa: ARG002 -- Lightning's signature
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Keep the batch, which the loss does not come with."""
        self._batch = batch
        self._last_micro_batch = (batch_idx + 1) % trainer.accumulate_grad_batches == 0

    def on_before_backward(self, trainer: "Trainer", pl_module: "LightningModule", loss: torch.Tensor) -> None:  # noqa: ARG002 -- Lightning's signature
        """Note the loss; look at those of the whole optimizer step, where this is its last.

        Raises:
            UserError: on every rank, if any loss of any rank is not finite.
        """
        self._finite.append(torch.isfinite(loss.detach()))
        self._rows.append(self._batch.get("rows"))
        if not self._last_micro_batch:
            return
        finite, rows = torch.stack(self._finite), self._rows  # [M]
        self._finite, self._rows = [], []
        first = torch.where(finite.all(), -1, (~finite).int().argmax())
        by_rank = trainer.strategy.all_gather(first).reshape(-1).tolist() if trainer.world_size > 1 else [first.item()]
        guilty = next((rank for rank, micro_batch in enumerate(by_rank) if micro_batch >= 0), None)
        if guilty is None:
            return
        micro_batch = int(by_rank[guilty])
        message = ""
        if trainer.global_rank == guilty:
            message = _message(trainer, micro_batch=micro_batch, rows=rows[micro_batch])
        raise UserError(trainer.strategy.broadcast(message, src=guilty))


def _message(trainer: "Trainer", *, micro_batch: int, rows: torch.Tensor | None) -> str:
    """Where the loss is not finite, and how to look at it."""
    datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector, not declared
    place = f"rank {trainer.global_rank}, micro-batch {micro_batch}"
    remedy = "data=streaming does not number its rows"
    if rows is not None:
        numbers = rows.tolist()
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        place += f", rows {', '.join(map(str, numbers[:_SHOWN]))}{more}"
        remedy = (
            f"look at them with python -m chatmusician.prepare inspect={datamodule.directory} split=train "
            f"first_row={numbers[0]} rows=1"
        )
    callback = trainer.checkpoint_callback
    kept = callback.last_good() if isinstance(callback, LastAndBest) else "no checkpoint was made of it"
    return f"the loss of optimizer step {trainer.global_step + 1} is not finite ({place}): {remedy}; {kept}"
