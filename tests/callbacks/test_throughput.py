from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from chatmusician.callbacks.throughput import Throughput


class OneWeight(L.LightningModule):
    """Enough of a model for a trainer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:  # noqa: ARG002 -- Lightning's signature
        return self.weight * batch["input_ids"].sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def batch_of(*, trained: int) -> dict[str, torch.Tensor]:
    """Two rows of 8 tokens, so many of which bear loss."""
    targets = torch.full((16,), -100)
    targets[:trained] = 5
    positions = torch.arange(8).repeat(2, 1)
    return {"input_ids": torch.ones(2, 8), "position_ids": positions, "targets": targets.reshape(2, 8)}


def fit(callback: Throughput, logger: Any, *, batches: list[int]) -> L.Trainer:
    loader = DataLoader([batch_of(trained=trained) for trained in batches], batch_size=None)  # type: ignore[arg-type]  # a list will do
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(OneWeight(), loader)
    return trainer


def test_trained_tokens_are_counted_and_time_is_taken() -> None:
    callback = Throughput(window=2, utilisation=False)
    trainer = fit(callback, False, batches=[3, 5, 0, 16])
    assert callback.trained_tokens == 24
    assert callback.seconds > 0
    # the last window: 16 trained tokens of 32, in the same time
    trained = trainer.callback_metrics["throughput/trained_tokens_per_s"]
    total = trainer.callback_metrics["throughput/tokens_per_s"]
    assert (trained / total).item() == 0.5


def test_rates_are_logged_once_a_window(tmp_path: Any) -> None:
    logger = CSVLogger(tmp_path)
    fit(Throughput(window=2, utilisation=False), logger, batches=[1, 1, 1, 1, 1])
    logger.save()
    header, *lines = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()
    names = ["throughput/step_s", "throughput/tokens_per_s", "throughput/trained_tokens_per_s"]
    assert header.split(",")[2:] == names
    first, again, second, _ = (line.split(",")[2] for line in lines)  # from the 2nd of 5 batches on
    assert first == again != second


def test_a_run_shorter_than_a_window_logs_no_rate() -> None:
    trainer = fit(Throughput(window=20, utilisation=False), False, batches=[4])
    assert "throughput/tokens_per_s" not in trainer.callback_metrics
