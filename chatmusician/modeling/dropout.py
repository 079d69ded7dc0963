"""Which elements dropout keeps, to be drawn once and used forwards and backwards.

`torch.nn.functional.dropout` draws 32 bits an element on a CPU that is not Intel's, one after the other on one core:
for LoRA that was an eighth of a training step. There, 16 bits an element are drawn here: four to a 64-bit word of a
generator of its own (SFC64, seeded by torch's, so that torch's seed decides) take a fourteenth of the time, and are
kept in a byte instead of a float. On a GPU, torch draws.
"""

import math

import numpy as np
import torch

LEVELS = 2**16


def kept(shape: tuple[int, ...], *, p: float, device: torch.device | None = None) -> torch.Tensor:
    """What is kept of a tensor [shape], each element lost with the probability `exact` of ``p``.

    On a GPU booleans; on the CPU, ones and zeros in bytes: turning booleans into floats takes nine times as long there.
    """
    if device is not None and device.type != "cpu":
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(1 - exact(p))
    elements = math.prod(shape)
    words = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw(-(-elements // 4))
    levels = torch.from_numpy(words.view(np.int16)[:elements]).view(shape)  # -32768 ... 32767
    return torch.ge(levels, round(p * LEVELS) - LEVELS // 2, out=torch.empty(shape, dtype=torch.uint8))


def exact(p: float) -> float:
    """The probability that is drawn for ``p``, a multiple of 1/65536."""
    return round(p * LEVELS) / LEVELS


def only(values: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    """A copy of the values with zeros where they are not kept; where all are, the values."""
    if keep is None:
        return values
    if keep.dtype == torch.bool:
        return torch.ops.aten.native_dropout_backward(values, keep, 1.0)  # one pass, where a product takes two
    return keep.to(values.dtype).mul_(values)
