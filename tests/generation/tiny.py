"""A tiny language model made in memory: random weights, and a tokenizer trained on a few lines."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.tokenizers import train_bpe

LINES = [
    "Human: Compose a reel in D major. </s> Assistant: X:1",
    "T:The Test Reel\nR:reel\nM:4/4\nL:1/8\nK:Dmaj",
    "|: d2fd Adfd | e2ge Bege | d2fd Adfd | efge d2 d2 :|",
    '|: GABc d2 BG | "Am"A2 cA "D7"F4 | {g}abag (3fga ef | g6 z2 :|',
]
BOS, EOS, PAD = 0, 1, 2


def make_tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe(LINES, vocab_size=320)


def make_model(vocabulary: int, *, window: int = 256) -> LlamaForCausalLM:
    """Two layers of width 64; weights large enough that the most likely tokens differ."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=0.3,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config).eval()
