"""What a run used and made, as artifacts of Weights & Biases: prepared data -> run -> exported model.

The data's artifact is their manifest, not the shards, and has the same name and content for every run on the same data;
that of an export is the adapter with card and report, and for weights of gigabytes a reference to where they are.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.export.trained import ExportReport

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)

DATASET, MODEL = "dataset", "model"
"""Types of artifacts."""
CARD = "README.md"


def wandb_runs(loggers: "Iterable[Logger]") -> list[Any]:
    """The runs of Weights & Biases among some loggers, as wandb's objects."""
    from lightning.pytorch.loggers.wandb import WandbLogger

    return [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]


def log_data(loggers: "Iterable[Logger]", *, record: Mapping[str, Any]) -> None:
    """Say which data a run uses: the manifest in its record (`chatmusician.dashboards.run_record`)."""
    data = record["data"]
    for run in wandb_runs(loggers):
        artifact = _artifact(
            f"data-{Path(data['directory']).name}",
            DATASET,
            {"fingerprint": data["fingerprint"], "directory": data["directory"], **data["summary"]},
        )
        with artifact.new_file("manifest.json") as file:
            json.dump({name: data[name] for name in ("settings", "summary")}, file, indent=1, sort_keys=True)
        # `use_artifact` refuses to work offline, though a run on disk can hold the same request, and `wandb sync`
        # carries it out; this is the method behind it.
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def log_export(loggers: "Iterable[Logger]", *, name: str, exported: ExportReport, report: Path) -> None:
    """Say what a run has made: an exported model, and beside it the adapter that was trained and the report.

    A failure is a warning: the export is in its folder.
    """
    try:
        _log_export(wandb_runs(loggers), name=name, exported=exported, report=report)
    except Exception as error:  # of wandb, whatever it is
        log.debug("the export was not logged", exc_info=True)
        log.warning("Weights & Biases does not have the export: %s: %s", type(error).__name__, error)


def _log_export(runs: Iterable[Any], *, name: str, exported: ExportReport, report: Path) -> None:
    content = json.loads(report.read_text())
    for run in runs:
        facts = {"step": content["step"], "figures": content["figures"], "folder": str(exported.model.absolute())}
        artifact = _artifact(f"model-{name}", MODEL, facts)
        artifact.add_file(str(report), name=report.name)
        artifact.add_file(str(exported.model / CARD), name=CARD)
        artifact.add_reference(exported.model.absolute().as_uri(), name="model", checksum=False)
        if exported.adapter is not None:  # not copied: it may be gigabytes with the embeddings
            artifact.add_dir(str(exported.adapter), name="adapter", policy="immutable")
        run.log_artifact(artifact, aliases=["latest", f"step-{content['step']}"])


def _artifact(name: str, kind: str, metadata: Mapping[str, Any]) -> Any:
    import wandb

    return wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type=kind, metadata=dict(metadata))
