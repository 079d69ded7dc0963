"""What was trained, out of a training checkpoint: without the training job, its machines or its number of ranks.

A checkpoint is one file, whichever strategy trained and on how many ranks (`chatmusician.strategies.zero`): state_dict
with the trained weights, optimizer state, loops, callbacks. ``export`` in it is what
`chatmusician.callbacks.merge_and_export` put there: which adapter and which base these weights belong to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.checkpoint_files import read_checkpoint
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

EXPORT = "export"
"""Key of a checkpoint: what the export callback keeps there."""
MODULE_PREFIX = "model."
"""Of parameters in the LightningModule."""


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """The weights that a run trained, by the names that they have in its model, and what it takes to export them."""

    state: Mapping[str, "Tensor"]
    facts: Mapping[str, Any]
    step: int
    """Optimizer steps taken."""


def open_checkpoint(path: Path) -> TrainedWeights:
    """Open a checkpoint's weights, mapped from the file.

    Raises:
        UserError: there is none, it is not whole, or was written without the export callback.
    """
    if path.is_dir():
        raise UserError(f"checkpoint={path} is a folder; give a file from checkpoints/ of a training run")
    if not path.is_file():
        raise UserError(f"checkpoint={path} does not exist: give one from checkpoints/ of a training run")
    content = read_checkpoint(path)
    if "state_dict" not in content:
        raise UserError(f"checkpoint={path} is not one of a training run: it has no state_dict")
    if EXPORT not in content:
        raise UserError(
            f"checkpoint={path} does not say what it belongs to: it was written without callbacks=merge_and_export"
        )
    named = {name.removeprefix(MODULE_PREFIX): value for name, value in content["state_dict"].items()}
    return TrainedWeights(state=named, facts=content[EXPORT], step=int(content["global_step"]))
