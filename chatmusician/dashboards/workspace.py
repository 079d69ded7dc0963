"""The view of a project in Weights & Biases: what is logged here, in sections, built with wandb's own API."""

from typing import TYPE_CHECKING, Any

from chatmusician.dashboards.samples import TABLE
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

STEP = "trainer/global_step"
LINES: dict[str, dict[str, tuple[str, ...]]] = {
    "Quality": {
        "Bits per byte, held out": ("val/bits_per_byte",),
        "Loss of a token": ("train/loss",),
    },
    "Samples": {
        "Tunes that parse, bars that add up": ("samples/parse_rate", "samples/bar_rate"),
    },
    "Speed": {
        "Trained tokens a second": ("throughput/trained_tokens_per_s",),
        "All tokens a second": ("throughput/tokens_per_s",),
        "Share of the measured matrix-product peak (MFU)": ("throughput/mfu",),
        "Share of time spent waiting for data": ("throughput/data_wait",),
        "Seconds an optimizer step": ("throughput/step_s",),
    },
    "Optimisation": {
        "Learning rate": ("optim/lr",),
        "Norm of the gradient before clipping": ("optim/gradient_norm",),
    },
    "Machine": {
        "Memory of a GPU, GiB": ("memory/gpu_peak", "memory/gpu_reserved"),
        "Memory of the process, GiB": ("memory/process",),
    },
    "Export": {
        "Difference of logits, merged or not": ("export/max_logit_difference",),
        "Bytes": ("export/bytes",),
        "Seconds": ("export/seconds",),
    },
}
"""Section to panels to the keys that each draws over the optimizer steps."""
BY_SOURCE = "val/bits_per_byte/.*"
"""A pattern, since the sources are those of the data."""


def build_workspace(*, entity: str, project: str, name: str) -> "Workspace":
    """The view as an object of wandb-workspaces; nothing is sent until it is saved.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise UserError("wandb-workspaces is not installed: pip install 'chatmusician[dashboards]'") from error

    sections = [
        ws.Section(name=section, panels=[*_plots(panels), *_more(section)], is_open=True)
        for section, panels in LINES.items()
    ]
    settings = ws.WorkspaceSettings(x_axis=STEP)
    return ws.Workspace(entity=entity, project=project, name=name, sections=sections, settings=settings)


def _plots(panels: dict[str, tuple[str, ...]]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.LinePlot(title=title, x=STEP, y=list(keys)) for title, keys in panels.items()]


def _more(section: str) -> list[Any]:
    """What a section has that is not lines over named keys."""
    import wandb_workspaces.reports.v2 as wr

    if section == "Quality":
        return [wr.LinePlot(title="Bits per byte, by source", x=STEP, metric_regex=BY_SOURCE)]
    if section == "Samples":
        return [wr.WeavePanelSummaryTable(table_name=TABLE)]
    return []
