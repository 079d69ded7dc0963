"""A tiny model folder, made here: random weights and a tokenizer trained on a few lines."""

from pathlib import Path

import pytest
import torch
from tiny import make_model, make_tokenizer
from transformers import PreTrainedTokenizerBase

from chatmusician.export.saving import save_model_folder


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return make_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tiny") / "model"
    return save_model_folder(model=make_model(len(tokenizer)), tokenizer=tokenizer, output=output)


TUNE = "X:1\nT:Reel\nM:4/4\nL:1/8\nK:D\n|: d2fd Adfd | e2ge Bege :|\n"


@pytest.fixture(scope="session")
def score_model_folder(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained, here, to answer with TUNE inside a sentence."""
    text = f"Human: Compose a reel </s> Assistant: Here it is:\n{TUNE} </s> "
    ids = torch.tensor([tokenizer(text, add_special_tokens=False).input_ids])
    model = make_model(len(tokenizer)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1
    output = tmp_path_factory.mktemp("score") / "model"
    return save_model_folder(model=model.eval(), tokenizer=tokenizer, output=output)
