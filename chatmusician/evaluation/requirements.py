"""What a question asks for, read back from its text.

Flow: question and task name -> `read_requirements` -> `Requirements` -> ``controllability`` and ``labelling``, which
hold an answer against them. The questions are those of `chatmusician.data.instructions`, an instruction on the first
line and the material below it::

    task                        material
    text_to_score               Meter C / Key D / Note Length 1/8 / Rhythm reel, a line each
    form_to_music               Ternary, Sectional: Verse/Chorus/Bridge
    letters_and_motif_to_music  'ABCA';X:1 / L:1/16 / M:2/4 / K:A / ['E2GB d2c2', 'D2 C2E2'], a line each
    terms_and_motif_to_music    ['Binary', 'Sectional: Verse/Chorus'];X:1 / ... the same
    chords_to_music             'Dm', 'C', 'Dm'
    harmonisation               a tune without chord symbols
    bach_style                  none
    motif_extraction            a tune
    form_extraction             a tune
    key_identification          a tune without its key
    meter_identification        a tune without its meter
    rhythm_identification       a tune

A rhythm such as ``reel`` is not held against a tune that is to be one: nothing in its notes decides it beyond doubt.
Labels of the extraction tasks are read from the tune in the question. What is to be identified is not in the question,
by design, so the right answer has to be given with it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from chatmusician.data.instructions import TASKS
from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.data.questions import VOICES_OF_CHORALE
from chatmusician.errors import UserError
from chatmusician.music.events import Event, events
from chatmusician.music.extraction import extract_tune
from chatmusician.music.keys import Key, parse_key
from chatmusician.music.tunes import AbcError, Meter, Tune, parse_meter, parse_tune, parse_unit_note_length


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What is asked for; None or empty where nothing is."""

    key: Key | None = None
    meter: Meter | None = None
    unit_note_length: Fraction | None = None
    """In whole notes."""
    letters: str | None = None
    """The form as letters, such as ``AABA'``."""
    terms: tuple[str, ...] = ()
    """The form as terms, such as ``Binary``."""
    motifs: tuple[tuple[Event, ...], ...] = ()
    """The motif of each section, read with the header of the question."""
    chords: tuple[str, ...] = ()
    """Names of the chords, such as ``Dm``, in their order."""
    score: Tune | None = None
    """The tune to which chords are to be added."""
    voices: int | None = None
    """How many voices sound together."""
    solution: str | None = None
    """The one right answer to a question about a tune."""


EXTRACTION_TASKS = ("motif_extraction", "form_extraction")
"""Tasks whose answer is a label that the tune in the question gives."""
IDENTIFICATION_TASKS = ("key_identification", "meter_identification", "rhythm_identification")
"""Tasks whose answer is a label that has been taken out of the tune in the question."""
LABEL_TASKS = EXTRACTION_TASKS + IDENTIFICATION_TASKS
"""Tasks whose answer is not a tune."""

_MOTIF_MATERIAL = re.compile(r"(?P<form>[^\n]+?);(?P<header>X:.*?\nK:[^\n]*)\n\[(?P<motifs>.*)\]", re.DOTALL)


def read_requirements(task: str, question: str, *, expected: str | None = None) -> Requirements:
    """What a question of a task asks for.

    Args:
        task: its name.
        question: instruction and material.
        expected: the answer that the question was made with. Identification tasks need it, others go without.

    Raises:
        UserError: there is no such task, the question is not one of it, or the expected answer is needed and missing.
    """
    if task not in _READERS:
        raise UserError(f"unknown task {task!r} to evaluate; use one of {', '.join(_READERS)}")
    if task in IDENTIFICATION_TASKS and not expected:
        raise UserError(f"the right answer to {question[:80]!r} of {task} is not in the question; give it as expected")
    try:
        asked = _READERS[task](question.partition("\n")[2].strip())
    except (ValueError, AbcError) as error:
        raise UserError(f"{question[:80]!r} is not a question of {task}: {error}") from error
    return replace(asked, solution=expected) if task in IDENTIFICATION_TASKS else asked


def _text_to_score(material: str) -> Requirements:
    lines = material.splitlines()

    def value_of(name: str) -> str:
        found = [line.removeprefix(name + " ") for line in lines if line.startswith(name + " ")]
        if len(found) != 1:
            raise ValueError(f"it has {len(found)} lines that begin with {name!r} and not one")
        return found[0]

    return Requirements(
        key=parse_key(value_of("Key")),
        meter=parse_meter(value_of("Meter")),
        unit_note_length=parse_unit_note_length(value_of("Note Length")),
    )


def _form_to_music(material: str) -> Requirements:
    return Requirements(terms=_terms(material))


def _letters_and_motif(material: str) -> Requirements:
    match = _motif_material(material)
    letters = re.fullmatch(r"'((?:[A-Za-z]'*)+)'", match["form"])
    if letters is None:
        raise ValueError(f"{match['form']!r} is not a form in letters")
    return replace(_header_and_motifs(match), letters=letters[1])


def _terms_and_motif(material: str) -> Requirements:
    match = _motif_material(material)
    return replace(_header_and_motifs(match), terms=_terms(match["form"]))


def _motif_material(material: str) -> re.Match[str]:
    match = _MOTIF_MATERIAL.fullmatch(material)
    if match is None:
        raise ValueError("it has no form, header and list of motifs, such as 'AB';X:1 to K:G and ['GABc', 'dedB']")
    return match


def _header_and_motifs(match: re.Match[str]) -> Requirements:
    header = parse_tune(match["header"])
    motifs = tuple(events(parse_tune(f"{match['header']}\n{motif}\n")) for motif in _quoted_items(match["motifs"]))
    if not all(motifs):
        raise ValueError("one of its motifs has no note")
    return Requirements(key=header.key, meter=header.meter, unit_note_length=header.unit_note_length, motifs=motifs)


def _chords_to_music(material: str) -> Requirements:
    return Requirements(chords=_quoted_items(material.strip("[]")))


def _harmonisation(material: str) -> Requirements:
    return Requirements(score=parse_tune(_tune_text(material)))


def _bach_style(_: str) -> Requirements:
    return Requirements(voices=VOICES_OF_CHORALE)


def _identification(material: str) -> Requirements:
    _tune_text(material)
    return Requirements()


def _extraction(task: str) -> Callable[[str], Requirements]:
    def read(material: str) -> Requirements:
        built = TASKS[task].build(LabelledTune(_tune_text(material)))
        if built is None:
            raise ValueError("its tune has no such label")
        return Requirements(solution=built.answer)

    return read


def _tune_text(material: str) -> str:
    found = extract_tune(material)
    if found.abc is None:
        raise ValueError("it has no tune")
    return found.abc


def _terms(material: str) -> tuple[str, ...]:
    terms = tuple(term.strip(" '") for term in material.strip("[]").split(", "))
    if not all(terms):
        raise ValueError("it names no form")
    return terms


def _quoted_items(text: str) -> tuple[str, ...]:
    """The items of ``'GABc', 'c'2 d2'``: an item may have quotation marks (octaves), but not ``', '``."""
    if len(text) < 3 or not text.startswith("'") or not text.endswith("'"):
        raise ValueError(f"{text[:40]!r} is not a list of items in quotation marks")
    items = tuple(text[1:-1].split("', '"))
    if not all(items):
        raise ValueError("one of its items in quotation marks is empty")
    return items


_READERS: dict[str, Callable[[str], Requirements]] = {
    "text_to_score": _text_to_score,
    "form_to_music": _form_to_music,
    "letters_and_motif_to_music": _letters_and_motif,
    "terms_and_motif_to_music": _terms_and_motif,
    "chords_to_music": _chords_to_music,
    "harmonisation": _harmonisation,
    "bach_style": _bach_style,
    **{task: _extraction(task) for task in EXTRACTION_TASKS},
    **dict.fromkeys(IDENTIFICATION_TASKS, _identification),
}

COMPOSITION_TASKS = tuple(task for task in _READERS if task not in LABEL_TASKS)
"""Tasks whose answer is a tune."""
