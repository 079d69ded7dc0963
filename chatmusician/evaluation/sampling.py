"""Which questions are asked: a seeded sample of what is held out."""

import random

from chatmusician.data.folk import FolkTasks
from chatmusician.data.instructions import Example
from chatmusician.errors import UserError


def sample_examples(tasks: FolkTasks, *, split: str, count: int, seed: int) -> list[Example]:
    """A seeded sample of the questions of a split.

    Raises:
        UserError: the split has fewer questions.
    """
    examples = list(tasks.examples(split))
    if not 1 <= count <= len(examples):
        raise UserError(f"samples={count}: the {split} split has {len(examples)} questions of these tasks")
    return random.Random(seed).sample(examples, count)
