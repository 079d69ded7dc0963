"""Questions with four options: how they are put, what becomes of them, and how that is summed up.

There are two ways of finding out which option a model takes: by likelihood, as the paper does (``choice_scores``), and
by what it writes, as people would use it (``choice_letters``). Both give a `ChoiceOutcome` for each question.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chatmusician.evaluation.intervals import Interval, bootstrap_mean

LETTERS = "ABCD"

HINT = (
    "Read the following questions from the four options (A, B, C and D) given in each question. Choose the best option."
)
"""The first line of every prompt; examples come after it and do not repeat it."""


@dataclass(frozen=True, kw_only=True)
class ChoiceQuestion:
    """A question with four options.

    Raises:
        ValueError: there are not four options, or the answer is not the position of one.
    """

    question_id: str
    """Distinct among the questions that are asked together."""
    group: str
    """What results are reported by, such as a subject."""
    stem: str
    abc: str | None
    """A score in ABC that the stem speaks of."""
    options: tuple[str, str, str, str]
    answer: int
    """Position of the right option, 0 to 3."""

    def __post_init__(self) -> None:
        """Refuse what is no question."""
        if len(self.options) != len(LETTERS) or not 0 <= self.answer < len(LETTERS):
            raise ValueError(f"question {self.question_id!r} needs four options and an answer from 0 to 3")


@dataclass(frozen=True, kw_only=True)
class ChoiceOutcome:
    """What became of a question that was asked once."""

    question_id: str
    group: str
    answer: int
    """Position of the right option."""
    answered: bool
    """Whether the question fitted the model's window. One that did not is neither right nor wrong."""
    chosen: int | None
    """Position of the option taken; None where it is not answered, or where no letter can be read."""
    scores: tuple[float, float, float, float] | None = None
    """Mean cross-entropy of each option's string in nats per token, in the order shown; None for a written answer."""
    text: str | None = None
    """The written answer; None where options were scored."""
    examples: int = 0
    """Worked examples that the prompt held."""

    @property
    def right(self) -> bool:
        """Whether the right option was taken."""
        return self.chosen == self.answer

    @property
    def unreadable(self) -> bool:
        """Whether the model wrote something that names no letter: wrong, and counted."""
        return self.answered and self.chosen is None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, with letters for positions."""
        return asdict(self) | {
            "answer": LETTERS[self.answer],
            "chosen": None if self.chosen is None else LETTERS[self.chosen],
            "right": self.right,
        }


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """How many questions of a group were answered right. A question may have been asked several times."""

    group: str
    questions: int
    asked: int
    """Questions times how often each was asked."""
    not_answered: int
    """Times that a question did not fit the window, even without examples; not part of the accuracy."""
    unreadable: int
    """Times that the answer named no letter; part of the accuracy, as wrong."""
    accuracy: Interval | None
    """Mean over the questions that were answered of the share of times that they were answered right, with the
    bootstrap interval over questions. None where none was answered."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def question_text(question: ChoiceQuestion) -> str:
    """Stem, score and options, a line each; what comes before ``Answer:``."""
    score = [question.abc.strip("\n")] if question.abc else []
    options = [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=True)]
    return "\n".join([question.stem, *score, *options])


def option_strings(question: ChoiceQuestion, examples: Sequence[ChoiceQuestion] = ()) -> list[str]:
    """The four strings whose likelihood is compared: hint, worked examples, question, and ``Answer: A`` to ``D``."""
    worked = [f"{question_text(example)}\nAnswer: {LETTERS[example.answer]}" for example in examples]
    text = "\n".join([HINT, *worked, question_text(question), "Answer:"])
    return [f"{text} {letter}" for letter in LETTERS]


def written_prompt(question: ChoiceQuestion) -> str:
    """The question as it is put to a model that is to write its answer: hint, stem, score and options."""
    return f"{HINT}\n{question_text(question)}"


def shuffled(question: ChoiceQuestion, *, seed: int, number: int) -> tuple[ChoiceQuestion, tuple[int, ...]]:
    """Shuffle ``number`` of a question's options, and the old position of the option at each new one.

    It is a function of seed, number and question id alone: not of the other questions, nor of their order.
    """
    order = list(range(len(LETTERS)))
    random.Random(f"{seed}/{number}/{question.question_id}").shuffle(order)
    first, second, third, fourth = (question.options[old] for old in order)
    changed = ChoiceQuestion(
        question_id=question.question_id,
        group=question.group,
        stem=question.stem,
        abc=question.abc,
        options=(first, second, third, fourth),
        answer=order.index(question.answer),
    )
    return changed, tuple(order)


def group_results(outcomes: Iterable[ChoiceOutcome]) -> tuple[GroupResult, ...]:
    """Results by group, in the order in which the groups first appear."""
    groups: dict[str, list[ChoiceOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.group, []).append(outcome)
    return tuple(group_result(group, members) for group, members in groups.items())


def group_result(group: str, outcomes: Sequence[ChoiceOutcome]) -> GroupResult:
    """The result of these outcomes as one group."""
    answered: dict[str, list[bool]] = {}
    for outcome in outcomes:
        if outcome.answered:
            answered.setdefault(outcome.question_id, []).append(outcome.right)
    shares = [sum(times) / len(times) for times in answered.values()]
    return GroupResult(
        group=group,
        questions=len({outcome.question_id for outcome in outcomes}),
        asked=len(outcomes),
        not_answered=sum(not outcome.answered for outcome in outcomes),
        unreadable=sum(outcome.unreadable for outcome in outcomes),
        accuracy=bootstrap_mean(shares) if shares else None,
    )
