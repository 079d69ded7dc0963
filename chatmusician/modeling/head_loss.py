"""Logits, loss and their gradient in blocks of tokens, on the CPU.

The logits of a row of 1,024 tokens and 32,000 pieces take 131 MB, and differentiating the loss step by step writes
three such tensors. Here a block's logits turn into its probabilities, these into the gradient of the logits (less 1 at
the wanted piece), and that into the gradient of the hidden states before the next block begins::

    rows of hidden states   0 ... 192 | 193 ... 385 | 386 ... 577        578 tokens: three blocks of at most 32 MiB
    logits in memory        [193, V]    the same      the same

`F.linear_cross_entropy` with its options does so too, and took three times as long as without blocks on a CPU.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

BLOCK_BYTES = 32 * 2**20
"""Logits in memory at once. Blocks of 8 MiB took a quarter longer, since a product of few rows is slower."""
TINY = 1e-30
"""Probabilities below it have lost digits."""


class SummedHeadLoss(torch.autograd.Function):
    """The negative log likelihood in nats, summed over tokens: hidden states [N, D], head [V, D], wanted pieces [N]."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The loss []; gradients are ready with it."""
        wants_hidden, wants_head = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_head = torch.zeros_like(head) if wants_head else None
        nats = hidden.new_zeros(())
        rows = block_rows(len(hidden), row_bytes=len(head) * hidden.element_size())
        logits, probabilities = (hidden.new_empty(rows, len(head)) for _ in range(2))  # [n, V]
        for start in range(0, len(hidden), rows):
            block, index = hidden[start : start + rows], wanted[start : start + rows, None]
            torch.mm(block, head.t(), out=logits[: len(block)])
            gradient = torch.softmax(logits[: len(block)], -1, out=probabilities[: len(block)])
            nats += _nats(logits, gradient, index)
            if wants_hidden or wants_head:
                gradient.scatter_add_(1, index, gradient.new_full(index.shape, -1))
            if of_hidden is not None:
                torch.mm(gradient, head, out=of_hidden[start : start + rows])
            if of_head is not None:
                of_head.addmm_(gradient.t(), block)
        ctx.save_for_backward(of_hidden, of_head)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        """The gradients of hidden states and head."""
        of_hidden, of_head = ctx.saved_tensors
        return (
            None if of_hidden is None else of_hidden * gradient,
            None if of_head is None else of_head * gradient,
            None,
        )


def block_rows(rows: int, *, row_bytes: int) -> int:
    """Rows of a block, all blocks but the last of one size."""
    blocks = -(-rows * row_bytes // BLOCK_BYTES)
    return max(1, -(-rows // max(1, blocks)))


def _nats(logits: torch.Tensor, probabilities: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The loss of a block, by its probabilities; where the wanted piece's is tiny, by its logits."""
    likelihood = probabilities.gather(1, index)  # [n, 1]
    if (lost := likelihood < TINY).any():
        rows = lost.flatten().nonzero().flatten()
        exact = logits[rows].log_softmax(-1).gather(1, index[rows]).sum()
        return -(likelihood[~lost].log().sum() + exact)
    return -likelihood.log().sum()
