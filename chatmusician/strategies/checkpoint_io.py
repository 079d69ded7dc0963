"""Checkpoints written whole or not at all.

Lightning builds a checkpoint in memory, writes it to the system's temporary folder and moves it, which between two
disks is a copy: stopped in the middle, it leaves half a file under the checkpoint's own name. Here it is written beside
its place and renamed, without a second copy in memory.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from chatmusician.checkpoint_files import read_checkpoint
from chatmusician.errors import UserError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves to ``NAME.partial`` beside a checkpoint and renames: the one before stays until the new one is whole."""

    def __init__(self) -> None:  # the base takes whatever it is given and uses none of it
        super().__init__()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to the local file ``path``.

        Raises:
            UserError: it cannot be written; what was there before is still there.
        """
        if "://" in str(path):  # object storage is atomic by itself
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        partial = place.with_name(place.name + ".partial")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write(checkpoint, partial)
                partial.replace(place)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"the checkpoint {place} cannot be written ({error.strerror}); earlier ones are as they were"
            ) from error

    def load_checkpoint(
        self,
        path: _PATH,
        map_location: Any | None = None,  # noqa: ARG002 -- Lightning's signature
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """What a checkpoint holds, its tensors mapped from the file.

        Raises:
            UserError: it is not a whole checkpoint.
        """
        if "://" in str(path):
            return super().load_checkpoint(path, weights_only=weights_only)
        return read_checkpoint(Path(path))


def _write(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write and flush to the disk."""
    try:
        with path.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch's writer says "unexpected pos"; what the system said is behind it
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__cause__ or reason.__context__
        raise reason or error from None
