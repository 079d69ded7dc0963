"""The faster forms of a model's parts, put in where they compute the same.

Fused LoRA products everywhere; attention by document on the CPU, and on a GPU that can. A module gets another class, or
its configuration another name of attention, and keeps its parameters, so that checkpoints and exports do not change.
Transformers' further kernels for GPUs (flash attention of its package, Liger) are the user's choice.
"""

from typing import Any

import torch


def take_faster_parts(model: Any, *, device: torch.device, dtype: torch.dtype) -> None:
    """Put them into a Llama, perhaps wrapped by PEFT; leave any other model as it is.

    Args:
        model: in memory of any device.
        device: that trains it.
        dtype: that its products are computed in.
    """
    from peft.tuners.lora.layer import Linear
    from transformers.models.llama.modeling_llama import LlamaAttention

    from chatmusician.modeling import varlen_attention
    from chatmusician.modeling.attention import VARLEN
    from chatmusician.modeling.document_attention import DocumentAttention
    from chatmusician.modeling.lora_products import FusedLora

    for module in model.modules():
        if type(module) is Linear and device.type in ("cpu", "cuda"):
            module.__class__ = FusedLora
        elif type(module) is LlamaAttention and module.config._attn_implementation == "sdpa":
            if device.type == "cpu":
                module.__class__ = DocumentAttention
            elif varlen_attention.is_there(device, dtype) and not module.attention_dropout:
                module.config._attn_implementation = VARLEN
