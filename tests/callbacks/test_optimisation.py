import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from modeling.tiny_run import fit, make_data, make_module, write_corpus

from chatmusician.callbacks.memory import Memory
from chatmusician.callbacks.optimisation import Optimisation
from chatmusician.callbacks.throughput import Throughput


class SeesGradients(L.Callback):
    """Keeps the norm of the gradient before clipping, computed plainly, and the greatest one after it."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []

    @staticmethod
    def norm(pl_module: L.LightningModule) -> float:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        return math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients))

    def on_before_optimizer_step(self, trainer: Any, pl_module: L.LightningModule, optimizer: Any) -> None:  # noqa: ARG002 -- Lightning's signature
        self.before.append(self.norm(pl_module))

    def on_train_batch_end(self, trainer: Any, pl_module: L.LightningModule, *_: Any) -> None:  # noqa: ARG002 -- Lightning's signature
        self.after.append(self.norm(pl_module))


@pytest.mark.parametrize("clip", [0.5, None])
def test_the_norm_is_that_before_clipping_of_all_micro_batches(tmp_path: Path, clip: float | None) -> None:
    data = make_data(write_corpus(tmp_path), micro_batch=2)
    seen = SeesGradients()
    callbacks = (Optimisation(), seen, Throughput(window=2), Memory(window=2))
    run = fit(tmp_path, module=make_module(), data=data, steps=3, callbacks=callbacks, gradient_clip_val=clip)
    metrics = run.trainer.callback_metrics
    assert len(seen.before) == 3
    assert seen.before[-1] > 0.6
    assert metrics["optim/gradient_norm"].item() == pytest.approx(seen.before[-1], rel=1e-5)
    assert seen.after[-1] == pytest.approx(clip or seen.before[-1], rel=1e-4)
    # the last of three steps, 20% of them warm-up: cosine from 1 at step 1 to 0 at step 3, half of it at step 2
    assert metrics["optim/lr"].item() == pytest.approx(3e-3 / 2)
    assert 0 < metrics["throughput/mfu"].item() < 1
    assert 0 < metrics["throughput/data_wait"].item() < 1
    assert 0.05 < metrics["memory/process"].item() < 24
