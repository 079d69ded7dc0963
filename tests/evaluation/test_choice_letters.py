from collections.abc import Callable

import pytest
import torch
from asked_models import FIFTH, KEY, make_model
from transformers import PreTrainedTokenizerBase

from chatmusician.evaluation.choice_letters import answer_letters, answer_questions, read_letter
from chatmusician.evaluation.choice_questions import (
    ChoiceQuestion,
    group_results,
    written_prompt,
)
from chatmusician.generation.backends.transformers_backend import TransformersBackend
from chatmusician.generation.generator import Generator


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" C\n", "C"),
        ("B. The fifth", "B"),
        ("(D) because", "D"),
        ("**A**", "A"),
        ("A) a tone", "A"),
        ("D:\nit is", "D"),
        ("C \nsince", "C"),
        ("The answer is B.", "B"),
        ("The correct answer is: (C)", "C"),
        ("Answer: D", "D"),
        ("ANSWER: option A, as", "A"),
        ("The best option is **B**", "B"),
        ("Is the answer is A? No: the answer is C because", "C"),
        ("The answer is D, a dominant.", "D"),
        ("A. F\nB. G\nC. A\nD. B\nAnswer: C", "C"),
        ("", None),
        ("b", None),
        ("E", None),
        ("A minor third", None),
        ("It is D major", None),
        ("The answer is C major", None),
        ("The answer is C-sharp", None),
        ("The answer is A#", None),
        ("The answer is Dm7", None),
        ("D.C. al fine", None),
        ("A, B and C", None),
        ("A. F\nB. G\nC. A\nD. B", None),
        ("Beethoven", None),
        ("X:1\nK:D\n", None),
    ],
)
def test_read_letter(text: str, letter: str | None) -> None:
    found = read_letter(text)
    assert (None if found is None else "ABCD"[found]) == letter


@pytest.fixture
def saying(tokenizer: PreTrainedTokenizerBase) -> Callable[[dict[str, str]], Generator]:
    """A generator trained, here, to answer given questions."""

    def train(answers: dict[str, str]) -> Generator:
        learner = make_model(len(tokenizer), window=512).train()
        texts = [f"Human: {question} </s> Assistant: {answer} </s> " for question, answer in answers.items()]
        rows = [torch.tensor([tokenizer(text, add_special_tokens=False).input_ids]) for text in texts]
        optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-2)
        for _ in range(25):
            optimizer.zero_grad()
            loss = sum(learner(input_ids=row, labels=row).loss for row in rows)
            loss.backward()
            optimizer.step()
        return Generator(backend=TransformersBackend(model=learner.eval(), tokenizer=tokenizer))

    return train


def test_written_answers_are_read_and_counted(saying: Callable[[dict[str, str]], Generator]) -> None:
    beyond = ChoiceQuestion(
        question_id="long", group="knowledge", stem="GABc " * 400, abc=None, options=("a", "b", "c", "d"), answer=0
    )
    generator = saying({written_prompt(FIFTH): "B. G", written_prompt(KEY): "It is D major"})
    outcomes = answer_questions(generator, [beyond, KEY, FIFTH])
    assert [(outcome.answered, outcome.chosen, outcome.unreadable) for outcome in outcomes] == [
        (False, None, False),
        (True, None, True),
        (True, 1, False),
    ]
    assert [outcome.text for outcome in outcomes] == [None, "It is D major", "B. G"]
    assert [answer.letter for answer in answer_letters(generator, [written_prompt(FIFTH)], max_new_tokens=1)] == [1]
    knowledge, reasoning = group_results(reversed(outcomes))
    assert (knowledge.group, knowledge.questions, knowledge.not_answered, knowledge.unreadable) == (
        "knowledge",
        2,
        1,
        0,
    )
    assert knowledge.accuracy is not None and knowledge.accuracy.estimate == 1.0
    assert (reasoning.unreadable, reasoning.not_answered) == (1, 0)
    assert reasoning.accuracy is not None and reasoning.accuracy.estimate == 0.0
