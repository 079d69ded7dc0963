"""Attention that stays inside documents, whichever implementation computes it.

sdpa, eager and flex take their block-diagonal mask from position ids that restart, for any number of rows. The flash
kernels take no mask but the bounds of the documents, and transformers finds these in one row only: of several rows at
once it would let each attend over all of its documents, without a word. So the rows of a micro-batch are laid end to
end for them, which changes nothing else, and the bounds are computed once and not in every layer::

    position ids        0 1 2 0 1 | 0 1 2 3 0      two rows of five tokens
    one row             0 1 2 0 1   0 1 2 3 0
    bounds              0     3     5       9 10   where documents begin, and the end; the longest has 4 tokens
"""

from typing import Any

import torch

ATTENTIONS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Implementations that keep documents apart; flash and flex are for GPUs."""
VARLEN = "varlen"
"""PyTorch's own flash kernel, taken in place of sdpa where it can be: `chatmusician.modeling.varlen_attention`."""
NO_MASK = torch.empty(0, 0, 0, 0)
"""Transformers makes a mask of restarting positions unless it is given one of four dimensions."""


def takes_bounds(implementation: str) -> bool:
    """Whether an implementation is a flash kernel, of its package or PyTorch's."""
    return implementation == VARLEN or implementation.startswith("flash_attention")


def document_starts(position_ids: torch.Tensor) -> torch.Tensor:
    """Where documents begin in rows [B, T] laid end to end, padding as documents too: numbers of tokens, ascending.

    A document starts with a row, and where a position is not the one after that of the token before.
    """
    starts = torch.ones_like(position_ids, dtype=torch.bool)
    starts[:, 1:] = position_ids[:, 1:] != position_ids[:, :-1] + 1
    return starts.flatten().nonzero().flatten()


def document_bounds(position_ids: torch.Tensor) -> dict[str, Any]:
    """What a flash kernel takes for packed rows, from position ids [B, T] that restart with each document."""
    starts = document_starts(position_ids)
    bounds = torch.cat([starts, starts.new_tensor([position_ids.numel()])]).to(torch.int32)  # [documents + 1]
    longest = int(bounds.diff().max())
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def attention_inputs(implementation: str, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Arguments of the model for packed rows [B, T]; for a flash kernel one row [1, B T] with its bounds."""
    ids, positions = batch["input_ids"], batch["position_ids"]
    if not takes_bounds(implementation):
        return {"input_ids": ids, "position_ids": positions}
    return {
        "input_ids": ids.reshape(1, -1),
        "position_ids": positions.reshape(1, -1),
        **document_bounds(positions),
        **({"attention_mask": NO_MASK} if implementation == VARLEN else {}),
    }
