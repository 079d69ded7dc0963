"""Small bases and adapters, made here and saved by PEFT itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bases import MODULES, make_base, randomise
from gguf_models import CHAT, learn, make_llama
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase

from chatmusician.data.tokenizers import train_bpe
from chatmusician.export.saving import save_model_folder


@dataclass(frozen=True)
class Pair:
    """A base and an adapter on disk, and the PEFT model that the adapter was saved from."""

    base: Path
    adapter: Path
    model: PeftModel


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe(["Human: Compose. </s> Assistant: X:1\nK:D\n|: d2fd Adfd :|"], vocab_size=280)


@pytest.fixture
def make_pair(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> Callable[..., Pair]:
    """Make a pair; ``base_options`` go to LlamaConfig, all others to LoraConfig."""

    def make(*, base_options: dict[str, Any] | None = None, shard_bytes: int = 2**30, **options: Any) -> Pair:
        base = make_base(len(tokenizer), **(base_options or {}))
        folder = tmp_path / "base"
        save_model_folder(model=base, tokenizer=tokenizer, output=folder, max_shard_bytes=shard_bytes, overwrite=True)
        lora = LoraConfig(**{"r": 4, "lora_alpha": 16, "target_modules": MODULES, "task_type": "CAUSAL_LM", **options})
        model = get_peft_model(base, lora)
        randomise(model)
        model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
        return Pair(folder, tmp_path / "adapter", model.eval())

    return make


@pytest.fixture(scope="session")
def nano() -> PreTrainedTokenizerBase:
    return train_bpe([CHAT, "Café ♯ 音楽"], vocab_size=330)


@pytest.fixture(scope="session")
def trained(nano: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano model that answers QUESTION with TUNE."""
    ids = nano(CHAT, add_special_tokens=False).input_ids
    model = learn(make_llama(len(nano), initializer_range=0.05, tie_word_embeddings=True), ids)
    return save_model_folder(model=model, tokenizer=nano, output=tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def make_folder(tmp_path: Path, nano: PreTrainedTokenizerBase) -> Callable[..., Path]:
    """Save a random model; ``options`` go to LlamaConfig."""

    def make(tokenizer: PreTrainedTokenizerBase = nano, *, vocabulary: int | None = None, **options: Any) -> Path:
        model = make_llama(vocabulary or len(tokenizer), **options)
        return save_model_folder(model=model, tokenizer=tokenizer, output=tmp_path / "model", overwrite=True)

    return make
