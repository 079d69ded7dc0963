"""Which elements dropout keeps, drawn from 16 random bits each.

`torch.nn.functional.dropout` draws 32 bits an element on a CPU that is not Intel's, one after the other on one core:
for LoRA that was an eighth of a training step. Four elements to a 64-bit word of a generator of its own (SFC64, seeded
by torch's, so that torch's seed decides) take a fourteenth of the time, and are kept in a byte instead of a float. The
probability is a multiple of 1/65536.
"""

import math

import numpy as np
import torch

LEVELS = 2**16


def dropped_levels(p: float) -> int:
    """Of 65,536 levels, those that mean dropped: 6,554 for 0.1. The exact probability is their share."""
    return round(p * LEVELS)


def kept(shape: tuple[int, ...], *, p: float) -> torch.Tensor:
    """Ones and zeros [shape] in bytes of CPU memory, each zero with the probability ``dropped_levels(p) / 65536``.

    Bytes and not booleans: turning these into floats, as a product with them does, takes nine times as long.
    """
    elements = math.prod(shape)
    words = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw(-(-elements // 4))
    levels = torch.from_numpy(words.view(np.int16)[:elements]).view(shape)  # -32768 ... 32767
    return torch.ge(levels, dropped_levels(p) - LEVELS // 2, out=torch.empty(shape, dtype=torch.uint8))
