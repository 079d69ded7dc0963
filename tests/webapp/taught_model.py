"""A tiny model that was taught five answers by heart, so that what the demo shows is known."""

from pathlib import Path

import torch
from tiny_models import tiny_llama

from chatmusician.data.prompts import format_answer, format_question
from chatmusician.data.tokenizers import train_bpe
from chatmusician.export.saving import save_model_folder

SCALE = "X:1\nT:The Test Scale\nM:4/4\nL:1/4\nQ:1/4=120\nK:C\nCDEF | GABc |]"
WALTZ = "X:2\nT:The Test Waltz\nM:3/4\nL:1/4\nK:G\nGBd | g3 |]"
MARKUP = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> **bold** $x$ ${1 + 1} {{ 1 }}"

ANSWERS = {
    "Compose a scale.": f"Here it is:\n{SCALE}",
    "Write two tunes.": f"The first:\n{SCALE}\n\nThe second:\n{WALTZ}",
    "Show me markup.": MARKUP,
    "What is a fifth?": "Seven semitones, as from C to G.",
    "Play on and on.": "la " * 120,
}
"""Question to answer; the last one never ends, as no end of it was taught."""
ENDLESS = "Play on and on."
WINDOW = 4096
ROUNDS = 60


def teach(output: Path) -> Path:
    """Train the model on its answers and save it as a folder."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these products are too small to share; two threads wait for each other on a busy machine
    texts = [format_question(question) + format_answer(answer) for question, answer in ANSWERS.items()]
    texts[-1] = texts[-1].removesuffix(" </s> ")
    tokenizer = train_bpe(texts, vocab_size=400)
    model = tiny_llama(len(tokenizer), max_position_embeddings=WINDOW, initializer_range=0.05).train()
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
