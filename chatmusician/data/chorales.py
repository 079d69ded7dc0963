"""Bach's four-part chorales as a corpus: the 392 that music21 ships, read from the installed package by file.

Flow: MusicXML -> the parts of the four voices -> ABC with the voices S, A, T and B -> check -> split by chorale tune ->
questions of the task ``bach_style``. Instruments that double the voices or fill the harmony are left out. Of 408 files
three are not in four voices, seven have a bar that does not add up, and six repeat another in some key; each is a
rejection with its reason. Converting takes 13 s of one core; music21, which is not imported, needs two minutes.

Bach set many tunes several times: *O Haupt voll Blut und Wunden* is there twelve times. Settings are of one tune if
the notes of their sopranos that begin on a quarter take the same first six diatonic steps (217 tunes); all settings of
a tune are on one side of the split. Pitches, onsets and durations of all 1,620 voices that can be written are those
that music21 reads in the files, ties joined.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import islice, pairwise
from typing import Any

from chatmusician.data.code_version import code_version
from chatmusician.data.documents import Document, chat_document
from chatmusician.data.folk import RULES as TUNE_RULES
from chatmusician.data.held_out import check_held_out, is_of
from chatmusician.data.instructions import TASKS, Example
from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.data.tune_files import music21_corpus
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError
from chatmusician.music.checks import check_tune
from chatmusician.music.events import Event, events
from chatmusician.music.keys import LETTERS
from chatmusician.music.musicxml import read_parts
from chatmusician.music.scores import ConversionError, write_voices
from chatmusician.music.tunes import parse_tune

VOICES = {"Soprano": "treble", "Alto": "treble", "Tenor": "bass", "Bass": "bass"}
"""The first words of the parts' names in the files, and the clefs that the voices get."""
STEPS_OF_TUNE = 6
"""Steps of the soprano that two settings of one chorale tune begin with."""
QUARTER = Fraction(1, 4)

RULES = (*TUNE_RULES, "chatmusician.data.chorales")
"""The modules that decide what the documents say."""


@dataclass(frozen=True, kw_only=True)
class Chorale:
    """A chorale in four voices."""

    abc: str
    origin: str
    tune: str
    """The beginning of its soprano, which settings of one chorale tune share."""


class BachChorales:
    """Fine-tuning documents: a question for a chorale in Bach's style, and one of his.

    ``held_out`` is the share of chorale tunes that go to validation, and again to test.

    Raises:
        UserError: music21 is not installed, or the share is out of range.
    """

    def __init__(self, *, held_out: float = 0.05) -> None:
        check_held_out(held_out)
        self._held_out = held_out

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.units.Corpus`."""
        content = hashlib.sha256()
        for name, data in self._files:
            content.update(name.encode() + b"\0" + data)
        return {
            "kind": "chorales",
            "held_out": self._held_out,
            "content": content.hexdigest()[:16],
            "code": code_version(RULES),
        }

    def chorales(self, split: str) -> list[Chorale]:
        """The chorales of ``train``, ``validation`` or ``test``, in the order of their files."""
        return [chorale for chorale in _load(self._files)[0] if is_of(split, chorale.tune, self._held_out)]

    def rejections(self) -> Sequence[Rejection]:
        """Files left out: they are no chorale in four voices, a bar does not add up, or they repeat another."""
        return _load(self._files)[1]

    def documents(self, split: str) -> Iterator[Document]:
        """Questions and answers as one-turn conversations; ``source`` is the task, ``bach_style``."""
        for example, origin in self._examples(split):
            yield chat_document(example.question, example.answer, source=example.source, origin=origin)

    def examples(self, split: str) -> Iterator[Example]:
        """The questions and answers themselves, for evaluation."""
        return (example for example, _ in self._examples(split))

    def _examples(self, split: str) -> Iterator[tuple[Example, str]]:
        for chorale in self.chorales(split):
            example = TASKS["bach_style"].example(LabelledTune(chorale.abc))
            assert example is not None
            yield example, chorale.origin

    @cached_property
    def _files(self) -> tuple[tuple[str, bytes], ...]:
        """Names and contents of the files."""
        folder = music21_corpus() / "bach"
        try:
            found = tuple((path.name, path.read_bytes()) for path in sorted(folder.glob("*.mxl")))
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror}); reinstall music21") from error
        if not found:
            raise UserError(f"no chorales in {folder}; install music21 with its corpus")
        return found


@lru_cache(maxsize=1)
def _load(files: tuple[tuple[str, bytes], ...]) -> tuple[tuple[Chorale, ...], tuple[Rejection, ...]]:
    """The chorales, and what is left out. Cached, since several splits and corpora ask for them."""
    chorales: dict[tuple[str, ...], Chorale] = {}
    rejected = []
    for name, content in files:
        place = f"bach/{name}"
        try:
            abc = write_chorale(content)
            _check(abc)
        except ConversionError as error:
            rejected.append(Rejection(file=place, line=1, reason=str(error), lost_file=True))
            continue
        voices = _voices(abc)
        chorale = Chorale(abc=abc, origin=place, tune=_steps(_on_quarters(voices[0]), most=STEPS_OF_TUNE))
        first = chorales.setdefault(tuple(_steps(voice) for voice in voices), chorale)
        if first is not chorale:
            reason = f"the same voices as {first.origin}"
            rejected.append(Rejection(file=place, line=1, reason=reason, lost_file=True))
    return tuple(chorales.values()), tuple(rejected)


def write_chorale(content: bytes) -> str:
    """A chorale in MusicXML as ABC with the voices S, A, T and B.

    Raises:
        ConversionError: it has not one part each for soprano, alto, tenor and bass, or a part cannot be written.
    """
    parts = read_parts(content, names=VOICES)
    found = {part.name.partition(" ")[0]: part for part in parts}
    if len(parts) != len(VOICES) or found.keys() != VOICES.keys():
        names = ", ".join(part.name for part in parts) or "none of them"
        raise ConversionError(f"it has {names} and not one part each for {', '.join(VOICES)}")
    return write_voices([replace(found[name], name=name[0]) for name in VOICES], clefs=list(VOICES.values()))


def _check(abc: str) -> None:
    check = check_tune(abc)
    if not check.parses:
        raise ConversionError(f"{check.reason}")
    if check.wrong_bars:
        bar = check.wrong_bars[0]
        raise ConversionError(f"{len(check.wrong_bars)} bars do not add up, first {bar.text!r} in voice {bar.voice}")


def _voices(abc: str) -> list[list[Event]]:
    """The notes and rests of each voice."""
    voices: dict[str, list[Event]] = defaultdict(list)
    for event in events(parse_tune(abc)):
        voices[event.voice].append(event)
    return list(voices.values())


def _on_quarters(voice: Sequence[Event]) -> Iterator[Event]:
    """The notes that begin on a quarter of the bar's beginning, those that are tied to one before left out."""
    time, tied = Fraction(0), False
    for event in voice:
        if event.notes and not tied and time % QUARTER == 0:
            yield event
        time, tied = time + event.length, event.tied


def _steps(voice: Sequence[Event] | Iterator[Event], *, most: int | None = None) -> str:
    """The diatonic steps from note to note of a voice, all of them or the first ones."""
    notes = (event.notes[0] for event in voice if event.notes)
    places = (LETTERS.index(note.letter) + 7 * note.octave for note in notes)
    return ",".join(str(after - before) for before, after in islice(pairwise(places), most))
