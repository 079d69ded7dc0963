"""Attention within the documents of packed rows on a GPU: PyTorch's own flash kernel, for sequences of many lengths.

It takes the bounds of the documents (`chatmusician.modeling.attention.document_bounds`) where sdpa takes a mask of all
pairs of tokens, and needs no further package, but numbers of 16 bits and an Ampere GPU or a newer one. It is an
implementation for Transformers, which gives way to sdpa where no bounds are given: when the model generates.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from chatmusician.modeling.attention import VARLEN
from chatmusician.modeling.plain_linear import SIXTEEN_BITS

AMPERE = (8, 0)


def is_there(device: torch.device, dtype: torch.dtype | None) -> bool:
    """Whether this device can compute it in this type of numbers."""
    return device.type == "cuda" and dtype in SIXTEEN_BITS and torch.cuda.get_device_capability(device) >= AMPERE


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,  # as sdpa's
) -> tuple[torch.Tensor, None]:
    """Query [1, H, T, D], key and value [1, H / groups, T, D] to [1, T, H, D]; the bounds are [documents + 1]."""
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    from torch.nn.attention.varlen import varlen_attn

    groups = getattr(module, "num_key_value_groups", 1)
    parts = (query, repeat_kv(key, groups), repeat_kv(value, groups))
    q, k, v = (part.squeeze(0).transpose(0, 1).to(value.dtype) for part in parts)  # [T, H, D]; rotated in float32
    causal = (-1, 0)
    seen: Any = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, window_size=causal)
    return seen.unsqueeze(0), None


AttentionInterface.register(VARLEN, attend)
AttentionMaskInterface.register(VARLEN, sdpa_mask)
