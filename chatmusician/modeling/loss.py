"""Cross entropy on the trained positions only: where the loss is off, no logits are computed.

On the CPU the head and the loss are one operation, see `chatmusician.modeling.head_loss`.
"""

from typing import Any

import torch
import torch.nn.functional as F

from chatmusician.data.packing import IGNORED
from chatmusician.modeling.attention import attention_inputs
from chatmusician.modeling.head_loss import SummedHeadLoss
from chatmusician.modeling.plain_linear import products_of, weight_to_read


def hidden_states(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The last hidden states [B, T, D] of a causal model, with attention kept inside documents.

    Transformers builds the block-diagonal mask from position ids that restart; no mask of ours is needed. What the
    flash kernels need stands in `chatmusician.modeling.attention`.
    """
    from chatmusician.modeling.document_attention import attention_arguments

    backbone = model.get_base_model() if hasattr(model, "get_base_model") else model
    inputs = attention_inputs(backbone.config._attn_implementation, batch)
    inputs |= attention_arguments(backbone.model, batch["position_ids"])
    hidden = backbone.model(**inputs, use_cache=False).last_hidden_state
    return hidden.reshape(*batch["input_ids"].shape, -1)


def token_losses(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The negative log likelihood in nats of each trained token [N], and which positions those are [B, T]."""
    trained = batch["targets"] != IGNORED  # [B, T]
    logits = model.get_output_embeddings()(hidden_states(model, batch)[trained])  # [N, V]
    return F.cross_entropy(logits.float(), batch["targets"][trained], reduction="none"), trained


def summed_loss(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
    """The negative log likelihood of a micro-batch in nats, summed over its trained tokens, and their number."""
    hidden = hidden_states(model, batch)  # [B, T, D]
    trained = batch["targets"] != IGNORED  # [B, T]
    wanted = batch["targets"][trained]  # [N]
    head = model.get_output_embeddings()
    products = products_of(hidden) if hidden.device.type == "cpu" else None
    weight = None if products is None else weight_to_read(head, hidden, products)
    if weight is not None:
        return SummedHeadLoss.apply(hidden[trained], weight, wanted), wanted.numel()
    logits = head(hidden[trained])  # [N, V]
    return F.cross_entropy(logits.float(), wanted, reduction="sum"), wanted.numel()
