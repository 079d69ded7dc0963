"""Instruction tasks: questions with answers, made from tunes.

The tasks are those of ChatMusician that one-voice tunes without chords allow (paper, Table 2); labels come from the
tune itself (`chatmusician.music.form`, `chatmusician.music.motif`). Each task has several paraphrases of its
instruction. Which one a tune gets is a function of the tune and the task, so preparing twice gives the same rows.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from chatmusician.errors import UserError
from chatmusician.music.form import form_letters, terms_of_letters
from chatmusician.music.layout import short_key, write_length
from chatmusician.music.motif import section_motifs
from chatmusician.music.tunes import parse_tune


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question with its answer, and the name of its task."""

    task: str
    question: str
    answer: str


class LabelledTune:
    """A tune with what the tasks ask of it, each found when first asked for and once only.

    ``abc`` is its text in the layout of the corpus. ``rhythm`` is the kind of tune, such as ``reel``; a laid-out tune
    does not say it, so it comes from the source.
    """

    def __init__(self, abc: str, *, rhythm: str | None = None) -> None:
        self.abc = abc
        self.rhythm = rhythm
        self.tune = parse_tune(abc)

    @property
    def key(self) -> str:
        """The key in short: ``G``, ``Ador``."""
        return short_key(self.tune.fields[-1].value)

    @property
    def header(self) -> str:
        """The header that a motif is read in: number, unit note length, meter, key."""
        length = write_length(self.tune.unit_note_length)
        return f"X:1\nL:{length}\nM:{self.tune.meter.text}\nK:{self.key}"

    @cached_property
    def letters(self) -> str:
        """The form as letters: ``AABA``."""
        return form_letters(self.tune)

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms for the form; empty where none fits."""
        return terms_of_letters(self.letters)

    @cached_property
    def motifs(self) -> tuple[str, ...]:
        """The motif of each section; empty where a section has none."""
        motifs = section_motifs(self.tune)
        return motifs if all(motifs) else ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """A way to make a question from a tune.

    ``build`` gives the input (below the instruction) and the answer, or None where the tune does not allow the task.
    """

    name: str
    instructions: tuple[str, ...]
    build: Callable[[LabelledTune], tuple[str, str] | None]

    def example(self, tune: LabelledTune) -> Example | None:
        """The question for a tune, or None where the tune does not allow the task."""
        built = self.build(tune)
        if built is None:
            return None
        material, answer = built
        instruction = self.instructions[_choice(self.name + answer, len(self.instructions))]
        return Example(task=self.name, question=f"{instruction}\n{material}", answer=answer)


def _choice(text: str, options: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % options


def _quoted(values: Sequence[str]) -> str:
    """A list as the paper's prompts write it: ``['Binary', 'Sectional: Verse/Chorus']``."""
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def _text_to_score(labelled: LabelledTune) -> tuple[str, str]:
    tune = labelled.tune
    facts = [f"Meter {tune.meter.text}", f"Key {labelled.key}", f"Note Length {write_length(tune.unit_note_length)}"]
    if labelled.rhythm:
        facts.append(f"Rhythm {labelled.rhythm.strip().lower()}")
    return "\n".join(facts), labelled.abc


def _form_to_music(tune: LabelledTune) -> tuple[str, str] | None:
    return (", ".join(tune.terms), tune.abc) if tune.terms else None


def _letters_and_motif_to_music(tune: LabelledTune) -> tuple[str, str] | None:
    if not tune.motifs:
        return None
    return f"'{tune.letters}';{tune.header}\n{_quoted(tune.motifs)}", tune.abc


def _terms_and_motif_to_music(tune: LabelledTune) -> tuple[str, str] | None:
    if not tune.terms or not tune.motifs:
        return None
    return f"{_quoted(tune.terms)};{tune.header}\n{_quoted(tune.motifs)}", tune.abc


def _motif_extraction(tune: LabelledTune) -> tuple[str, str] | None:
    return (tune.abc, _quoted(tune.motifs)) if tune.motifs else None


def _form_extraction(tune: LabelledTune) -> tuple[str, str] | None:
    return (tune.abc, ", ".join(tune.terms)) if tune.terms else None


TASKS = {
    task.name: task
    for task in (
        Task(
            name="text_to_score",
            instructions=(
                "Write a tune in ABC notation that fits this description.",
                "Turn these details into a score in ABC notation.",
                "Compose a piece in ABC notation with the properties below.",
                "Here is what the tune should be like. Give me its ABC notation.",
                "Make a melody in ABC notation from the following facts.",
            ),
            build=_text_to_score,
        ),
        Task(
            name="form_to_music",
            instructions=(
                "Compose a tune that has the musical form named below.",
                "Write a melody in ABC notation built on this structure.",
                "Use the following form to make a piece of music.",
                "Let the tune you write follow this musical form.",
            ),
            build=_form_to_music,
        ),
        Task(
            name="letters_and_motif_to_music",
            instructions=(
                "Compose a tune whose sections follow these letters and grow out of the motifs.",
                "The letters give the order of the sections, the motifs their ideas. Write the whole tune.",
                "Write music in ABC notation with this alphabetic form and these motifs.",
                "Develop the motifs into a tune with the sections that the letters name.",
            ),
            build=_letters_and_motif_to_music,
        ),
        Task(
            name="terms_and_motif_to_music",
            instructions=(
                "Compose a tune in the named form that makes use of the motifs.",
                "Write a tune in ABC notation from these motifs, in the form given.",
                "Take the form and the motifs below and make a complete melody of them.",
                "Build a piece with this structure around these motifs.",
            ),
            build=_terms_and_motif_to_music,
        ),
        Task(
            name="motif_extraction",
            instructions=(
                "Find the motif of each section of this tune.",
                "Which melodic figure comes back most in each section of the tune below?",
                "Name the recurring motif, section by section.",
                "Read the tune and write down the motif that each of its sections is made of.",
            ),
            build=_motif_extraction,
        ),
        Task(
            name="form_extraction",
            instructions=(
                "What is the musical form of this tune?",
                "Describe the structure of the tune below with the usual terms.",
                "Name the form in which this piece is written.",
                "Study how the sections of this tune relate and give its form.",
            ),
            build=_form_extraction,
        ),
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
