from pathlib import Path

import pytest
from tiny_run import write_corpus
from transformers import PreTrainedTokenizerBase

from chatmusician.data.tokenizers import train_bpe


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, and what `tiny_run.make_data` prepares from it."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe(["X:1\nK:G\n|: GABc dedB :|"], vocab_size=270)
