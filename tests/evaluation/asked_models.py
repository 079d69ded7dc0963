"""A tiny model to put questions to, and questions."""

import math

import torch
from tiny_models import tiny_llama
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.tokenizers import train_bpe
from chatmusician.evaluation.choice_questions import ChoiceQuestion

LINES = [
    "Read the following questions from the four options (A, B, C and D) given in each question. Choose the best",
    "Which note is a perfect fifth above C?\nA. F\nB. G\nC. A\nD. B\nAnswer: B",
    "X:1\nM:4/4\nL:1/8\nK:Dmaj\n|: d2fd Adfd | e2ge Bege :|\nHuman: </s> Assistant: B. The answer is the interval",
]

FIFTH = ChoiceQuestion(
    question_id="fifth",
    group="knowledge",
    stem="Which note is a perfect fifth above C?",
    abc=None,
    options=("F", "G", "A", "B"),
    answer=1,
)
KEY = ChoiceQuestion(
    question_id="key",
    group="reasoning",
    stem="In which key is this tune?",
    abc="X:1\nK:D\nd2fd Adfd |\n",
    options=("C major", "G major", "D major", "A major"),
    answer=2,
)


def make_tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe(LINES, vocab_size=320)


def make_model(vocabulary: int, *, window: int = 4096, rope: dict[str, object] | None = None) -> LlamaForCausalLM:
    """Weights large enough that scores differ."""
    return tiny_llama(vocabulary, max_position_embeddings=window, initializer_range=0.15, rope_parameters=rope)


def straight(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, string: str) -> float:
    """The definition, a string at a time: no batch, no cache, no cross entropy of torch's."""
    ids = tokenizer(string, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    shares = (logits - logits.max(dim=1, keepdim=True).values).exp()
    shares = (shares / shares.sum(dim=1, keepdim=True)).tolist()
    total = 0.0
    for position in range(1, len(ids)):
        total -= math.log(shares[position - 1][ids[position]])
    return total / (len(ids) - 1)


def many_questions() -> list[ChoiceQuestion]:
    """Of many lengths, with options of many tokens."""
    return [
        ChoiceQuestion(
            question_id=str(i),
            group="knowledge",
            stem="What comes next" + " and next" * (i % 5) + "?",
            abc=f"X:{i}\nK:G\n{'GABc ' * i}|" if i % 2 else None,
            options=("a tone", f"{i} semitones up", "it stays", "up, down and up again"),
            answer=i % 4,
        )
        for i in range(9)
    ]
