"""A tiny language model made in memory: random weights, and a tokenizer trained on a few lines."""

from tiny_models import tiny_llama
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

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


def make_model(vocabulary: int, *, window: int = 256, **settings: int) -> LlamaForCausalLM:
    """Weights large enough that the most likely tokens differ."""
    return tiny_llama(vocabulary, max_position_embeddings=window, initializer_range=0.3, **settings)
