"""How fast a run trains, logged where the loss is: tokens a second, utilisation of the device, waiting for data.

Everything is taken over a window of micro-batches. What is counted on a device stays there until the window ends, since
each look at it would stop the queue of a GPU; the look at the end is also what makes the time that of finished work.
"""

import time
from typing import TYPE_CHECKING, Any

import lightning as L
import torch

from chatmusician.data.packing import IGNORED
from chatmusician.modeling.flops import MatrixWeights, matrix_product_peak, matrix_weights, training_flops
from chatmusician.modeling.partitioning import product_dtype

if TYPE_CHECKING:
    from chatmusician.data.micro_batches import Waiting

CPU_ROWS = 1024
"""Of the matrices that a CPU's peak is measured with: 0.1 s on two cores, and within 1% of the peak of 2048 rows."""


class Throughput(L.Callback):
    """Logs under ``throughput/``, over the last ``window`` micro-batches without the validation among them:

    - ``trained_tokens_per_s`` and ``tokens_per_s``, which has padding and questions too, over all ranks;
    - ``step_s``, seconds an optimizer step;
    - ``data_wait``, the share of the time in which the loop waited for a batch;
    - ``mfu``, with ``utilisation``: the operations that the model needs (`chatmusician.modeling.flops`), over those of
      matrix products that this rank's device was measured to do at the start.

    ``seconds`` is the time spent in training, validation included, ``trained_tokens`` those of all ranks.
    """

    def __init__(self, *, window: int = 20, utilisation: bool = True) -> None:
        self.window = window
        self.utilisation = utilisation
        self.seconds = 0.0
        self.peak: float | None = None
        """Operations a second of the device's matrix products."""
        self._weights: MatrixWeights | None = None
        self._started = self._since = self._paused = self._waited = 0.0
        self._ranks = 1
        self._tokens = 0  # of this rank, in the window
        self._known = 0  # trained tokens of this rank, before the window
        self._counts: torch.Tensor | None = None  # of this rank, in the window: trained tokens, attended pairs

    @property
    def trained_tokens(self) -> int:
        """Trained tokens of all ranks so far. A device is waited for where it has not been since."""
        newest = 0 if self._counts is None else int(self._counts[0])
        return (self._known + newest) * self._ranks

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the device, and start the clock."""
        self._ranks = trainer.world_size
        if self.utilisation:
            self._weights = matrix_weights(pl_module.model)
            device = trainer.strategy.root_device
            rows = CPU_ROWS if device.type == "cpu" else None
            self.peak = matrix_product_peak(device=device, dtype=product_dtype(str(trainer.precision)), size=rows)
        self._started = self._since = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 -- Lightning's signature
        """Stop the clock of the window."""
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 -- Lightning's signature
        """Let the clock of the window go on."""
        self._since += time.perf_counter() - self._paused

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Count the tokens of a micro-batch, and log the rates once a window."""
        trained = (batch["targets"] != IGNORED).sum()
        pairs = (batch["position_ids"] + 1).sum()
        counts = torch.stack([trained, pairs])
        self._counts = counts if self._counts is None else self._counts + counts
        self._tokens += batch["input_ids"].numel()
        if (batch_idx + 1) % self.window == 0:
            self._log_window(trainer, pl_module)

    def _log_window(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._counts is not None, "a micro-batch was counted"
        trained, pairs = self._counts.tolist()  # waits for the device
        now = time.perf_counter()
        seconds = now - self._since
        figures = {
            "trained_tokens_per_s": trained * self._ranks / seconds,
            "tokens_per_s": self._tokens * self._ranks / seconds,
            "step_s": seconds / self.window * trainer.accumulate_grad_batches,
        }
        waiting: Waiting | None = getattr(trainer.train_dataloader, "waiting", None)  # ours know how long they took
        if waiting is not None:
            figures["data_wait"] = (waiting.seconds - self._waited) / seconds
            self._waited = waiting.seconds
        if self._weights is not None and self.peak is not None:
            flops = training_flops(self._weights, tokens=self._tokens, trained_tokens=trained, attended_pairs=pairs)
            figures["mfu"] = flops / seconds / self.peak
        for name, value in figures.items():
            pl_module.log(f"throughput/{name}", value)
        self._known += trained
        self._since, self._tokens, self._counts = now, 0, None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 -- Lightning's signature
        """Stop the clock."""
        self.seconds = time.perf_counter() - self._started
