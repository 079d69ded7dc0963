"""What was trained, out of a training checkpoint: without the training job, its machines or its number of ranks.

A checkpoint is a file of Lightning's, or a folder of DeepSpeed's with a piece of the weights from each rank::

    last.ckpt                                              state_dict, loops, callbacks, export
    last.ckpt/checkpoint/mp_rank_00_model_states.pt        the same, of ZeRO-1 and 2; export among them
    last.ckpt/checkpoint/zero_pp_rank_{i}_..._states.pt    pieces: of the optimizer, with the weights in float32; of
                                                           ZeRO-3 also in place of mp_rank_00

Both hold the trained weights only. ``export`` is what `chatmusician.callbacks.merge_and_export` put in: which adapter
and which base these weights belong to.
"""

import contextlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

EXPORT = "export"
"""Key of a checkpoint: what the export callback keeps there."""
TAG = "checkpoint"
"""The folder in a DeepSpeed checkpoint that Lightning makes."""
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
    """Read a checkpoint's weights into memory; those of DeepSpeed in float32.

    A DeepSpeed checkpoint is a pickle, which can run code: open only your own.

    Raises:
        UserError: there is none, it is not whole, or was written without the export callback.
    """
    if path.is_dir():
        state, content = _open_deepspeed(path)
    elif path.is_file():
        state, content = _open_file(path)
    else:
        raise UserError(f"checkpoint={path} does not exist: give one from checkpoints/ of a training run")
    if EXPORT not in content:
        raise UserError(
            f"checkpoint={path} does not say what it belongs to: it was written without callbacks=merge_and_export"
        )
    named = {name.removeprefix(MODULE_PREFIX): value for name, value in state.items()}
    return TrainedWeights(state=named, facts=content[EXPORT], step=int(content["global_step"]))


def _open_file(path: Path) -> tuple[Mapping[str, "Tensor"], Mapping[str, Any]]:
    import pickle

    import torch

    if not zipfile.is_zipfile(path):
        raise UserError(f"checkpoint={path} is not a whole checkpoint: give another one")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content["state_dict"], content
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"checkpoint={path} is not a training checkpoint of this project: {reason}") from error


def _open_deepspeed(path: Path) -> tuple[Mapping[str, "Tensor"], Mapping[str, Any]]:
    folder = path / TAG
    states = sorted(folder.glob("*mp_rank_00_model_states.pt"))
    pieces = sorted(folder.glob("*_optim_states.pt"))
    if not states or not pieces:
        raise UserError(f"checkpoint={path} is a folder but not a whole DeepSpeed checkpoint: give another one")
    import torch
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    try:
        content = torch.load(states[0], map_location="cpu", weights_only=False)
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # it prints its progress
            state = get_fp32_state_dict_from_zero_checkpoint(str(path), TAG, exclude_frozen_parameters=True)
    except (ValueError, RuntimeError, KeyError, EOFError, OSError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"checkpoint={path} cannot be put together ({reason}): give another one") from error
    if len(pieces) != content["dp_world_size"]:
        raise UserError(
            f"checkpoint={path} has the pieces of {len(pieces)} of its {content['dp_world_size']} ranks: copy the "
            "others too"
        )
    return state, content
