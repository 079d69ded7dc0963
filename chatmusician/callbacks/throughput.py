"""Trained and total tokens per second, logged where the loss is."""

import time
from typing import Any

import lightning as L
import torch

from chatmusician.data.packing import IGNORED


class Throughput(L.Callback):
    """Logs ``throughput/trained_tokens_per_s`` and ``throughput/tokens_per_s`` over all ranks.

    Rates are taken over the last ``window`` micro-batches; ``seconds`` is the time spent in training, validation
    included.
    """

    def __init__(self, *, window: int = 20) -> None:
        self.window = window
        self.seconds = 0.0
        self.trained_tokens = 0
        self._started = 0.0
        self._since = (0.0, 0, 0)
        self._total = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 -- Lightning's signature
        """Start the clock."""
        self._started = time.perf_counter()
        self._since = (self._started, 0, 0)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Count the tokens of a micro-batch, and log the rates once a window."""
        self.trained_tokens += int((batch["targets"] != IGNORED).sum()) * trainer.world_size
        self._total += batch["input_ids"].numel() * trainer.world_size
        if (batch_idx + 1) % self.window:
            return
        now = time.perf_counter()
        then, trained, total = self._since
        pl_module.log("throughput/trained_tokens_per_s", (self.trained_tokens - trained) / (now - then))
        pl_module.log("throughput/tokens_per_s", (self._total - total) / (now - then))
        self._since = (now, self.trained_tokens, self._total)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 -- Lightning's signature
        """Stop the clock."""
        self.seconds = time.perf_counter() - self._started
