"""Which questions are asked: a seeded sample of what is held out."""

import random
from collections.abc import Iterator
from typing import Any, Protocol

from chatmusician.data.instructions import Example
from chatmusician.errors import UserError


class QuestionSource(Protocol):
    """A corpus of instruction tasks, such as `chatmusician.data.folk.FolkTasks`."""

    def describe(self) -> dict[str, Any]:
        """The settings and content that decide its questions, as JSON values."""

    def examples(self, split: str) -> Iterator[Example]:
        """The questions and answers of a split, always in the same order."""


def sample_examples(tasks: QuestionSource, *, split: str, count: int, seed: int) -> list[Example]:
    """A seeded sample of the questions of a split.

    Raises:
        UserError: the split has fewer questions.
    """
    examples = list(tasks.examples(split))
    if not 1 <= count <= len(examples):
        raise UserError(f"samples={count}: the {split} split has {len(examples)} questions of these tasks")
    return random.Random(seed).sample(examples, count)
