"""A small base with random weights."""

from typing import Any

import torch
from peft import PeftModel
from tiny_models import tiny_llama
from transformers import LlamaForCausalLM

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_base(vocabulary: int, **options: Any) -> LlamaForCausalLM:
    return tiny_llama(vocabulary, **{"intermediate_size": 96, "max_position_embeddings": 128, **options})


def randomise(model: PeftModel) -> None:
    """As if it had been trained: every trainable tensor moves, lora_B away from zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator) * 0.1
