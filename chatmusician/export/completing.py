"""A whole model from the weights that were trained of it and the base that has the others.

Where some weights are trained as they are and the rest is frozen (`chatmusician.modeling.lora.Freeze`), checkpoints
hold the first alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.folders import tensor_files
from chatmusician.export.merging import HEAD
from chatmusician.export.reading import TORCH_NAMES, TensorReader, stored_tensors

if TYPE_CHECKING:
    from torch import Tensor


def completed(state: Mapping[str, "Tensor"], *, base: Path, config: Mapping[str, Any]) -> dict[str, "Tensor"]:
    """All weights of a model in the order and the dtypes of its base: those of ``state``, and the base's own.

    Args:
        state: the trained weights, by the base's names.
        base: the model folder that they were trained from.
        config: config.json of the model; where it ties embedding and head, the head is left out.

    Raises:
        UserError: the base has no weight of such a name and shape.
    """
    import torch

    stored = stored_tensors(dict.fromkeys(tensor_files(base).values()))
    for name, value in state.items():
        if name not in stored or stored[name].shape != tuple(value.shape):
            raise UserError(f"{name} {list(value.shape)} was trained and is not in base={base}: give its own base")
    tied = bool(config.get("tie_word_embeddings"))
    with TensorReader(stored) as reader:
        return {
            name: state[name].to(getattr(torch, TORCH_NAMES[tensor.dtype])) if name in state else reader.rows(name)
            for name, tensor in stored.items()
            if not (tied and name == HEAD)
        }
