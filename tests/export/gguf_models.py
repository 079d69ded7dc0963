"""Small Llamas for GGUF files, and how to run and read what was written."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tiny_models import tiny_llama
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chatmusician.data.prompts import Turn, format_answer, format_question
from chatmusician.generation.prompting import Prompt

QUESTION = "Compose a reel in G."
TUNE = "X:1\nL:1/8\nM:C|\nK:G\n|: G2BG dGBd | gfdc A2GF :|\nABcA (3Bcd ef | g2fg edBA |]\n"
CHAT = format_question(QUESTION) + format_answer(TUNE)
PLAIN = (
    "Human: What is 12 plus 345?",
    "It's the reel's 2nd part, isn't it\n\n\nX:1\nK:D\n|:d2fd Adfd|",
    "Café — naïve ♯ 音楽 🎼",
    "two  spaces,   three\t\ttabs \n  and lines ",
    "X:1\r\nK:D",
)
"""Texts that begin with no space."""


def make_llama(vocabulary: int, **options: Any) -> LlamaForCausalLM:
    """Weights large enough that all of them matter; norms and biases too are random."""
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    model = tiny_llama(vocabulary, **{"intermediate_size": 96, **ids, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.rand(parameter.shape) + 0.5)
    return model


def learn(model: LlamaForCausalLM, ids: list[int]) -> LlamaForCausalLM:
    """Train a model until it knows a text by heart.

    A random model's best two tokens are often closer than float16 rounds. One that knows its text leaves more than 1
    between the logits of the right token and of the next (5 for the nano model), and what llama.cpp computes differs
    from it by 0.005 in f16, 0.05 in bf16 and 0.12 in q8_0: greedy decoding has to agree to the last token.
    """
    batch = torch.tensor([ids])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(100):
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        best = model(batch).logits[0, :-1].topk(2).values
    assert (best[10:, 0] - best[10:, 1]).min() > 1
    return model


def edit_json(path: Path, **changes: Any) -> None:
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def fields_of(path: Path) -> dict[str, Any]:
    """Keys and values; the tokens as bytes, of which not all are UTF-8."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    tokens = fields.pop("tokenizer.ggml.tokens")
    found = {name: field.contents() for name, field in fields.items()}
    return {**found, "tokenizer.ggml.tokens": [tokens.parts[i].tobytes() for i in tokens.data]}


def run_llama_cpp(path: Path, **options: Any) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    return llama_cpp.Llama(str(path), verbose=False, n_threads=2, n_ctx=256, type_k=0, type_v=0, **options)


def ids_in_llama_cpp(path: Path, texts: list[str]) -> list[list[int]]:
    llama = run_llama_cpp(path, vocab_only=True)
    return [llama.tokenize(text.encode(), add_bos=True, special=True) for text in texts]


def greedy(llama: Any, ids: list[int], count: int) -> list[int]:
    drawn = llama.generate(ids, top_k=1, temp=0.0, repeat_penalty=1.0)
    return [token for token, _ in zip(drawn, range(count), strict=False)]


CHATS = [
    Prompt(text=QUESTION),
    Prompt(text="Add  chords:\n" + TUNE),
    Prompt(text="Café ♯?", history=(Turn(question=QUESTION, answer=TUNE),)),
    Prompt(text=" spaces around ", history=(Turn(question="a", answer="b"), Turn(question="c\n", answer=" d"))),
]


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    found = []
    for turn in prompt.history:
        found += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer or ""}]
    return [*found, {"role": "user", "content": prompt.text}]


def render(template: str, messages: list[dict[str, str]], **values: Any) -> str:
    return ImmutableSandboxedEnvironment().from_string(template).render(messages=messages, **values)


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
LLAMA3 = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(
            Regex(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            behavior="isolated",
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)


def byte_level(cut: Any, *, ignore_merges: bool = False, special: str = "<bar>") -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer, backend.decoder = cut, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", special], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([*PLAIN, CHAT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
