"""A tokenizer of LLaMA's kind, for every package's tests."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from chatmusician.data.tokenizers import load_tokenizer

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for torch, imported later: test processes share the cores


@pytest.fixture(scope="session")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sentencepiece vocabulary of 32,000 tokens, LLaMA's kind, as transformers saves it."""
    spec = find_spec("mistral_common")
    assert spec is not None and spec.origin is not None
    folder = tmp_path_factory.mktemp("sentencepiece")
    shutil.copyfile(Path(spec.origin).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


@pytest.fixture(scope="session")
def llama_tokenizer(sentencepiece: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(sentencepiece)
