"""A tiny Llama made in memory, with random weights."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(vocabulary: int, **options: Any) -> LlamaForCausalLM:
    """Two layers of width 64, the same for the same ``options`` of LlamaConfig, in evaluation mode.

    ``initializer_range`` is far above a trained model's, so that the tokens' probabilities differ.
    """
    torch.manual_seed(0)
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **options})).eval()
