import pytest
from asked_models import make_model, make_tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return make_tokenizer()


@pytest.fixture(scope="session")
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    return make_model(len(tokenizer))
