"""Writes down what a run is once its data are known, before its first step."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from chatmusician.callbacks.run_facts import hardware
from chatmusician.dashboards.artifacts import log_data, wandb_runs
from chatmusician.dashboards.run_record import run_record
from chatmusician.data.shards import write_json

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

RECORD = "run.json"


class RunRecorder(Callback):
    """Writes ``run.json`` into the run's folder, and tells Weights & Biases the same, with the data as an artifact.

    Args:
        output: the run's folder.
        config: resolved.
    """

    def __init__(self, *, output: Path, config: Mapping[str, Any]) -> None:
        self.output, self.config = output, config

    def on_fit_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:  # noqa: ARG002 -- Lightning's signature
        """Record, on rank 0."""
        if not trainer.is_global_zero:
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector, not declared
        record = run_record(
            config=self.config,
            manifest=datamodule.manifest(),
            directory=str(datamodule.directory),
            hardware=hardware(trainer),
        )
        write_json(self.output / RECORD, record)
        facts = {name: record[name] for name in ("code", "versions", "hardware", "data")}
        for run in wandb_runs(trainer.loggers):
            run.config.update({"record": facts}, allow_val_change=True)
        log_data(trainer.loggers, record=record)
