"""The theory quiz as a corpus: multiple-choice questions whose answers are computed, in any number.

Flow: `chatmusician.music.theory.questions` -> documents. Training, validation and test ask different things, by a hash
of what is asked, so a model that is tested on the quiz was not trained on a reworded test question.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from chatmusician.data.code_version import code_version
from chatmusician.data.documents import Document, chat_document
from chatmusician.data.units import SPLITS, Rejection
from chatmusician.errors import UserError
from chatmusician.music.theory.questions import ALL, LEVELS, TOPICS, Question, check_choice, generate

_THEORY = "chatmusician.music.theory"
_RULES = (
    *(f"chatmusician.data.{name}" for name in ("documents", "prompts", "theory_quiz")),
    *(f"chatmusician.music.{name}" for name in ("keys", "lexer", "pitches")),
    *(f"{_THEORY}.{name}" for name in ("abc_tunes", "chords", "draft", "questions", "scales", "spelling", "values")),
    *(f"{_THEORY}.topics.{name}" for name in TOPICS),
)
"""The modules that decide what the documents say."""

INSTRUCTION = "Answer the question by choosing one of the four options A, B, C and D."
"""The line above every question."""


class TheoryQuiz:
    """Questions as one-turn conversations; ``source`` is the topic.

    Args:
        questions: training questions; fewer where the topics are exhausted.
        held_out: questions for validation, and again for test.
        topics: names of `chatmusician.music.theory.questions.TOPICS`.
        levels: of difficulty, 1 to 3.
        seed: which questions are drawn; it moves none from one split to another.
        explain: put the reasoning before the answer.

    Raises:
        UserError: a topic or level is unknown, or a number is out of range.
    """

    def __init__(
        self,
        *,
        questions: int = 100_000,
        held_out: int = 3_000,
        topics: Sequence[str] = ALL,
        levels: Sequence[int] = LEVELS,
        seed: int = 0,
        explain: bool = True,
    ) -> None:
        for name, number in (("questions", questions), ("held_out", held_out)):
            if number < 1:
                raise UserError(f"corpus.{name}={number}: use at least 1 question")
        check_choice(topics=topics, levels=levels)
        self._counts = {split: questions if split == "train" else held_out for split in SPLITS}
        self._topics = tuple(topics)
        self._levels = tuple(levels)
        self._seed = seed
        self._explain = explain

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.units.Corpus`."""
        return {
            "kind": "theory_quiz",
            "questions": self._counts["train"],
            "held_out": self._counts["test"],
            "topics": list(self._topics),
            "levels": list(self._levels),
            "seed": self._seed,
            "explain": self._explain,
            "code": code_version(_RULES),
        }

    def questions(self, split: str) -> Iterator[Question]:
        """The questions of ``train``, ``validation`` or ``test`` themselves, for evaluation."""
        return generate(
            seed=self._seed, count=self._counts[split], topics=self._topics, levels=self._levels, split=split
        )

    def documents(self, split: str) -> Iterator[Document]:
        """The questions of a split with their answers."""
        for question in self.questions(split):
            answer = question.answer_text
            if self._explain:
                answer = f"{question.explanation}\n{answer}"
            yield chat_document(
                f"{INSTRUCTION}\n{question.text}", answer, source=question.topic, origin=f"question {question.id}"
            )

    def rejections(self) -> Sequence[Rejection]:
        """None: what is drawn and cannot be asked was never a document."""
        return ()
