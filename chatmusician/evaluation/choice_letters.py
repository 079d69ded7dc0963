"""Questions with four options, by what a model writes: it answers greedily, and the letter is read by a fixed rule."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chatmusician.evaluation.choice_questions import LETTERS, ChoiceOutcome, ChoiceQuestion, written_prompt
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator
from chatmusician.generation.prompting import Prompt

ANSWER_TOKENS = 64
"""How long a written answer may be, in tokens: room for a sentence around the letter."""

_LETTER = r"[\s\"'`*_(\[]*([ABCD])"
_OPENING = re.compile(rf"{_LETTER}[\"'`*_]*(?:[.:)\]](?![A-Z]\b)|[ \t]*(?:\n|$))")
_LISTED = re.compile(r"^[\s(*]*([ABCD])[.:)]", re.MULTILINE)
_STATEMENT = re.compile(
    r"\b(?i:answer|(?:correct|best) (?:option|choice))(?:(?i: is):?|:)(?i: option| choice)?"
    rf"{_LETTER}(?![\w'#♯♭])(?![\s-]+(?i:major|minor|flat|sharp|natural)\b)"
)


def read_letter(text: str) -> int | None:
    """The option that a written answer names: 0 to 3, or None.

    In this order, and with capital letters only:

    1. The answer opens with a letter that a full stop, colon or bracket follows, or that stands alone on its line:
       ``B``, ``B. The fifth``, ``(B)``, ``**B**``. An answer that lists several options so is not read by this rule.
    2. The last statement of the form "answer is B", "Answer: B", "correct (or best) option (or choice) is B".

    Nothing else counts. In music a capital letter is mostly a note, a key or a chord ("The answer is C major", "A minor
    third", "D.C. al fine").

    >>> [read_letter(text) for text in ("B. Dominant", "I think the answer is (C).", "A minor third", "It is D major")]
    [1, 2, None, None]
    """
    opening = _OPENING.match(text)
    if opening and len(set(_LISTED.findall(text))) <= 1:
        return LETTERS.index(opening[1])
    statements = _STATEMENT.findall(text)
    return LETTERS.index(statements[-1]) if statements else None


@dataclass(frozen=True, kw_only=True)
class LetterAnswer:
    """A written answer and the letter in it."""

    text: str | None
    """None where the prompt leaves no room in the model's window: it was not answered."""
    letter: int | None
    """Position of the option named; None where there is no answer, or no letter in it (see `read_letter`)."""


def answer_letters(
    generator: Generator, prompts: Sequence[str | Prompt], *, max_new_tokens: int = ANSWER_TOKENS
) -> list[LetterAnswer]:
    """Greedy answers to ``prompts``, in their order, with the letters read from them.

    Args:
        generator: the model.
        prompts: questions, which are put into the chat template, or `Prompt`s.
        max_new_tokens: where an answer is cut.
    """
    decoding = Decoding(temperature=0.0, repetition_penalty=1.0, min_new_tokens=0, max_new_tokens=max_new_tokens)
    fitting = [i for i, prompt in enumerate(prompts) if len(generator.prompt_ids(prompt)) < generator.window]
    texts: dict[int, str] = {}
    for position, answer in generator.answers([prompts[i] for i in fitting], decoding):
        texts[fitting[position]] = answer.text
    return [
        LetterAnswer(text=texts[i], letter=read_letter(texts[i]))
        if i in texts
        else LetterAnswer(text=None, letter=None)
        for i in range(len(prompts))
    ]


def answer_questions(
    generator: Generator, questions: Sequence[ChoiceQuestion], *, max_new_tokens: int = ANSWER_TOKENS
) -> list[ChoiceOutcome]:
    """Put ``questions`` to a model that writes its answers; see `answer_letters`."""
    answers = answer_letters(
        generator, [written_prompt(question) for question in questions], max_new_tokens=max_new_tokens
    )
    return [
        ChoiceOutcome(
            question_id=question.question_id,
            group=question.group,
            answer=question.answer,
            answered=answer.text is not None,
            chosen=answer.letter,
            text=answer.text,
        )
        for question, answer in zip(questions, answers, strict=True)
    ]
