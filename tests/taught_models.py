"""A tiny model that was taught texts by heart, so that what it says is known."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tiny_models import tiny_llama

from chatmusician.data.tokenizers import train_bpe
from chatmusician.export.saving import save_model_folder

ROUNDS = 60


def teach_texts(texts: Sequence[str], output: Path, *, window: int = 4096) -> Path:
    """Train a model, and a tokenizer, on some texts and save it as a folder."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these products are too small to share; two threads wait for each other on a busy machine
    tokenizer = train_bpe(texts, vocab_size=400)
    model = tiny_llama(len(tokenizer), max_position_embeddings=window, initializer_range=0.05).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    documents = [torch.tensor([tokenizer(text, add_special_tokens=False).input_ids]) for text in texts]
    for _ in range(ROUNDS):
        loss = torch.zeros(())
        for ids in documents:
            loss = loss + model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    return save_model_folder(model=model.eval(), tokenizer=tokenizer, output=output)
