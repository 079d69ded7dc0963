"""Attention within the documents of packed rows, a document at a time.

With a mask, attention computes all pairs of a row's tokens and throws away those of different documents. Drawn, a row
of 6 tokens with documents of 2 and 4 (# computed and used, . computed and masked)::

    masked       by document
    # . . . . .  #
    # # . . . .  # #
    . . # . . .      #
    . . # # . .      # #
    . . # # # .      # # #
    . . # # # #      # # # #

In rows of 1,024 tokens with five documents this is a tenth of the pairs, and no mask is made.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from transformers.models.llama.modeling_llama import LlamaAttention

from chatmusician.modeling.attention import NO_MASK, document_starts


def document_lengths(position_ids: torch.Tensor) -> list[int]:
    """The lengths in tokens of the documents of all rows [B, T], one row after the other, padding as documents too."""
    firsts = document_starts(position_ids).tolist()
    return [after - first for first, after in zip(firsts, [*firsts[1:], position_ids.numel()], strict=True)]


class Rotation(torch.autograd.Function):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of heads [N, H, D] by cosines and sines [N, 1, D].

    With x1 and x2 the halves of a head's vector: x1 cos - x2 sin, x2 cos + x1 sin.
    """

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """The rotated heads [N, H, D]."""
        ctx.save_for_backward(cos, sin)
        half = heads.shape[-1] // 2
        rotated = heads * cos
        rotated[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
        rotated[..., half:].addcmul_(heads[..., :half], sin[..., half:])
        return rotated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient, rotated back."""
        cos, sin = ctx.saved_tensors
        half = gradient.shape[-1] // 2
        back = gradient * cos
        back[..., :half].addcmul_(gradient[..., half:], sin[..., half:])
        back[..., half:].addcmul_(gradient[..., :half], sin[..., :half], value=-1)
        return back, None, None


class DocumentAttention(LlamaAttention):
    """Llama's attention; given the ``documents`` of a batch, it computes each by itself and needs no mask."""

    def forward(  # type: ignore[override] # one argument more
        self,
        hidden_states: torch.Tensor,
        position_embeddings: Any = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        documents: list[int] | None = None,
        **kwargs: Any,  # as Llama's
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[B, T, D] to [B, T, D]; ``documents``: their lengths, see `document_lengths`."""
        if documents is None:
            return super().forward(hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs)
        tokens = hidden_states.flatten(0, 1)  # [N, D], N = B x T
        cos, sin = (part.reshape(-1, 1, self.head_dim) for part in position_embeddings)  # [N, 1, D / H]
        query = Rotation.apply(self.q_proj(tokens).unflatten(-1, (-1, self.head_dim)), cos, sin)  # [N, H, D / H]
        key = Rotation.apply(self.k_proj(tokens).unflatten(-1, (-1, self.head_dim)), cos, sin)
        value = self.v_proj(tokens).unflatten(-1, (-1, self.head_dim))
        if self.num_key_value_groups > 1:
            key, value = (part.repeat_interleave(self.num_key_value_groups, dim=1) for part in (key, value))
        parts = zip(*(part.split(documents) for part in (query, key, value)), strict=True)
        seen = torch.cat([self._within(*part) for part in parts])  # [N, H, D / H]
        return self.o_proj(seen.flatten(1)).view_as(hidden_states), None

    def _within(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """One document of L tokens: [L, H, D / H] each, and so is what comes out."""
        query, key, value = (part.transpose(0, 1).unsqueeze(0) for part in (query, key, value))  # [1, H, L, D / H]
        dropout = float(self.attention_dropout or 0) if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scaling, is_causal=True)
        return seen.squeeze(0).transpose(0, 1)


def attention_arguments(backbone: Any, position_ids: torch.Tensor) -> dict[str, Any]:
    """What a Llama without head is called with, besides tokens and positions, for attention by document."""
    if not isinstance(getattr(backbone.layers[0], "self_attn", None), DocumentAttention):
        return {}
    return {"documents": document_lengths(position_ids), "attention_mask": NO_MASK}
