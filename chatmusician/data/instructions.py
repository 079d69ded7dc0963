"""Instruction tasks: questions with answers, made from tunes.

Flow: ``labelled_tunes`` -> ``questions`` (input and answer), ``wordings`` (instructions) -> `Task` -> `Example`. The
tasks are those of ChatMusician (paper, Table 2), and three that ask a tune for its key, its meter and its kind. Each
has several paraphrases of its instruction. Which one a tune gets is a function of the tune and the task, so preparing
twice gives the same rows.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.data.questions import (
    Question,
    bach_style,
    chords_to_music,
    form_extraction,
    form_to_music,
    harmonisation,
    key_identification,
    letters_and_motif_to_music,
    meter_identification,
    motif_extraction,
    rhythm_identification,
    terms_and_motif_to_music,
    text_to_score,
)
from chatmusician.data.wordings import (
    BACH_STYLE,
    CHORDS_TO_MUSIC,
    FORM_EXTRACTION,
    FORM_TO_MUSIC,
    HARMONISATION,
    KEY_IDENTIFICATION,
    LETTERS_AND_MOTIF_TO_MUSIC,
    METER_IDENTIFICATION,
    MOTIF_EXTRACTION,
    RHYTHM_IDENTIFICATION,
    TERMS_AND_MOTIF_TO_MUSIC,
    TEXT_TO_SCORE,
)
from chatmusician.errors import UserError

SYNTHETIC = "_synthetic"
"""What the source of an example has after its task where the answer was made by analysis."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question with its answer, and the name of its task."""

    task: str
    question: str
    answer: str
    source: str
    """What manifests count it by: the task, or ``harmonisation_synthetic`` where the chords are not the source's."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A way to make a question from a tune.

    ``build`` gives the input (below the instruction) and the answer, or None where the tune does not allow the task.
    """

    name: str
    instructions: tuple[str, ...]
    build: Callable[[LabelledTune], Question | None]
    wording_by_answer: bool = False
    """Let the answer choose the wording, and not the tune. Kept for the rows of two tasks that published figures rest
    on: of a short answer such a wording tells something."""

    def example(self, tune: LabelledTune) -> Example | None:
        """The question for a tune, or None where the tune does not allow the task."""
        built = self.build(tune)
        if built is None:
            return None
        chooser = built.answer if self.wording_by_answer else tune.abc
        instruction = self.instructions[_choice(self.name + chooser, len(self.instructions))]
        return Example(
            task=self.name,
            question=f"{instruction}\n{built.material}" if built.material else instruction,
            answer=built.answer,
            source=self.name + SYNTHETIC * built.synthetic,
        )


def _choice(text: str, options: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % options


TASKS = {
    task.name: task
    for task in (
        Task(name="text_to_score", instructions=TEXT_TO_SCORE, build=text_to_score),
        Task(name="form_to_music", instructions=FORM_TO_MUSIC, build=form_to_music),
        Task(
            name="letters_and_motif_to_music", instructions=LETTERS_AND_MOTIF_TO_MUSIC, build=letters_and_motif_to_music
        ),
        Task(name="terms_and_motif_to_music", instructions=TERMS_AND_MOTIF_TO_MUSIC, build=terms_and_motif_to_music),
        Task(
            name="motif_extraction",
            instructions=MOTIF_EXTRACTION,
            build=motif_extraction,
            wording_by_answer=True,
        ),
        Task(
            name="form_extraction",
            instructions=FORM_EXTRACTION,
            build=form_extraction,
            wording_by_answer=True,
        ),
        Task(name="chords_to_music", instructions=CHORDS_TO_MUSIC, build=chords_to_music),
        Task(name="harmonisation", instructions=HARMONISATION, build=harmonisation),
        Task(name="bach_style", instructions=BACH_STYLE, build=bach_style),
        Task(name="key_identification", instructions=KEY_IDENTIFICATION, build=key_identification),
        Task(name="meter_identification", instructions=METER_IDENTIFICATION, build=meter_identification),
        Task(name="rhythm_identification", instructions=RHYTHM_IDENTIFICATION, build=rhythm_identification),
    )
}
"""Every task by its name."""


def find_tasks(names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of these names, in this order.

    Raises:
        UserError: a name is not that of a task.
    """
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise UserError(f"unknown instruction task {unknown[0]!r}; use one of {', '.join(TASKS)}")
    return tuple(TASKS[name] for name in names)
