"""The faster forms of a model's parts, put in where they compute the same: today, on the CPU.

Attention by document, fused LoRA products. A module gets another class and keeps its parameters, so that checkpoints,
exports and configurations do not change. On a GPU, Transformers' own kernels (flash attention, Liger) are the choice.
"""

from typing import Any


def take_faster_parts(model: Any) -> None:
    """Put them into a Llama in CPU memory, perhaps wrapped by PEFT; leave any other model as it is."""
    from peft.tuners.lora.layer import Linear
    from transformers.models.llama.modeling_llama import LlamaAttention

    from chatmusician.modeling.document_attention import DocumentAttention
    from chatmusician.modeling.lora_products import FusedLora

    for module in model.modules():
        if type(module) is LlamaAttention and module.config._attn_implementation == "sdpa":
            module.__class__ = DocumentAttention
        elif type(module) is Linear:
            module.__class__ = FusedLora
