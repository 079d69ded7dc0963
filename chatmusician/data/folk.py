"""Corpora of one-voice tunes: the about 4,400 folk tunes that music21 ships, or folders of the user's own.

Flow: ``tune_files`` -> check -> layout -> one tune of each melody -> split by melody -> keys -> documents.
Two tunes are the same melody if their notes take the same diatonic steps, whatever key or rhythm they are written in;
the split is by a hash of that melody, so no tune, and no transposition of it, is on two sides, and adding a collection
moves no tune.

The collections of music21 are Ryan's Mammoth Collection (1883), O'Neill's Music of Ireland (1903), Aird's Airs
(1782-1803) and miscellaneous folk tunes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import islice, pairwise, zip_longest
from pathlib import Path
from typing import Any

from chatmusician.data.code_version import code_version
from chatmusician.data.documents import Document, chat_document, plain_document
from chatmusician.data.held_out import check_held_out, is_of
from chatmusician.data.instructions import Example, Task, find_tasks
from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.data.tune_files import COLLECTIONS, TuneFile, read_collection, too_long, tunes_of
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError
from chatmusician.music.checks import check_body
from chatmusician.music.keys import LETTERS
from chatmusician.music.layout import lay_out
from chatmusician.music.lexer import Kind
from chatmusician.music.pitches import notes_of
from chatmusician.music.scores import ConversionError
from chatmusician.music.transposition import Transposer
from chatmusician.music.tunes import AbcError, Tune, TuneText, parse_tune

TONICS = ("G", "D", "A", "C", "F", "E", "Bb", "Eb")
"""Tonics that tunes are transposed to for augmentation, the usual ones first."""

MOST_ACCIDENTALS = 4
"""Sharps or flats in the signature of a transposed copy."""

RULES = (
    *(f"chatmusician.data.{name}" for name in ("documents", "folk", "held_out", "instructions", "labelled_tunes")),
    *(f"chatmusician.data.{name}" for name in ("prompts", "questions", "tune_files", "wordings")),
    *(f"chatmusician.music.{name}" for name in ("bars", "beams", "checks", "chord_symbols", "durations", "events")),
    *(f"chatmusician.music.{name}" for name in ("form", "harmonic_rules", "harmony", "key_finding", "keys", "layout")),
    *(f"chatmusician.music.{name}" for name in ("lexer", "midi", "midi_events", "midi_melodies", "motif", "musicxml")),
    *(f"chatmusician.music.{name}" for name in ("musicxml_files", "musicxml_measures", "pitches", "quantising")),
    *(f"chatmusician.music.{name}" for name in ("sandbox", "sanitising", "scores", "tool_processes", "transposition")),
    *(f"chatmusician.music.{name}" for name in ("tunes", "withholding")),
    *(f"chatmusician.music.children.{name}" for name in ("confinement", "warm_parent")),
)
"""The modules that decide what the documents of tunes say."""


@dataclass(frozen=True, kw_only=True)
class FolkTune:
    """A tune of the corpus: its text in the layout of `chatmusician.music.layout`, and where it stands."""

    abc: str
    collection: str
    origin: str
    melody: str
    rhythm: str | None
    """The ``R:`` field of the source, such as ``reel``."""


@dataclass(frozen=True, kw_only=True)
class FolkCollections:
    """The tunes of some collections, split three ways, those of the training split in several keys.

    ``collections`` are folders of music21's corpus, or paths of folders (searched in depth) or files of ABC, MusicXML
    or MIDI. ``held_out`` is the share of
    melodies that go to validation, and again to test. ``keys`` counts a training tune's own key and the first of
    `TONICS` that are left, without those whose signature has more than `MOST_ACCIDENTALS`.

    Raises:
        UserError: a collection is not there or not readable, or a number is out of range.
    """

    collections: tuple[str, ...] = COLLECTIONS
    held_out: float = 0.05
    keys: int = 1

    def __post_init__(self) -> None:
        check_held_out(self.held_out)
        if self.keys < 1:
            raise UserError(f"corpus.keys={self.keys}: a tune is written in at least 1 key, its own")

    def describe(self) -> dict[str, Any]:
        """The settings, and hashes of the content of the collections and of the code that makes documents of it."""
        content = hashlib.sha256()
        for file in self._files:
            if not file.fault:  # what is not read decides nothing
                content.update(file.name.encode() + b"\0" + file.content)
        return {
            "collections": list(self.collections),
            "held_out": self.held_out,
            "keys": self.keys,
            "content": content.hexdigest()[:16],
            "code": code_version(RULES),
        }

    def tunes(self, split: str) -> list[FolkTune]:
        """The tunes of ``train``, ``validation`` or ``test`` in their own keys, in the order of the collections."""
        return [tune for tune in self._loaded[0] if is_of(split, tune.melody, self.held_out)]

    def tunes_in_keys(self, split: str) -> Iterator[FolkTune]:
        """The tunes of a split, then those for training in a second key, then in a third, up to ``keys``.

        So copies of one tune are far apart when documents are packed.
        """
        yield from self.tunes(split)
        if split == "train":
            for copies in zip_longest(*self._training_copies):
                yield from (copy for copy in copies if copy is not None)

    def rejections(self) -> Sequence[Rejection]:
        """Files and tunes left out: they cannot be read, have several voices, or repeat another's melody."""
        return self._loaded[1]

    @cached_property
    def _files(self) -> tuple[TuneFile, ...]:
        return tuple(file for collection in self.collections for file in read_collection(collection))

    @property
    def _loaded(self) -> tuple[tuple[FolkTune, ...], tuple[Rejection, ...]]:
        return _load(self._files)

    @cached_property
    def _training_copies(self) -> list[list[FolkTune | None]]:
        return [_in_other_keys(tune, self.keys - 1) for tune in self.tunes("train")]


class FolkTunes:
    """Pretraining documents: the tunes themselves, and copies of the training tunes in other keys."""

    def __init__(self, *, collections: Sequence[str] = COLLECTIONS, held_out: float = 0.05, keys: int = 8) -> None:
        self.collections = FolkCollections(collections=tuple(collections), held_out=held_out, keys=keys)

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.units.Corpus`."""
        return {"kind": "tunes", **self.collections.describe()}

    def rejections(self) -> Sequence[Rejection]:
        """See `FolkCollections.rejections`."""
        return self.collections.rejections()

    def documents(self, split: str) -> Iterator[Document]:
        """The tunes of a split as plain documents; ``source`` is the collection."""
        for tune in self.collections.tunes_in_keys(split):
            yield plain_document(tune.abc, source=tune.collection, origin=tune.origin)


class FolkTasks:
    """Fine-tuning documents: each tune with each of the instruction tasks it allows, once in every key.

    ``per_tune`` is how many of the tasks a training tune is asked in each key, chosen by lot; None asks all.
    """

    def __init__(
        self,
        *,
        tasks: Sequence[str],
        collections: Sequence[str] = COLLECTIONS,
        held_out: float = 0.05,
        keys: int = 1,
        per_tune: int | None = None,
    ) -> None:
        self.collections = FolkCollections(collections=tuple(collections), held_out=held_out, keys=keys)
        self._tasks = find_tasks(tasks)
        self._per_tune = per_tune

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.units.Corpus`."""
        asked = {"tasks": [task.name for task in self._tasks], "per_tune": self._per_tune}
        return {"kind": "tasks", **asked, **self.collections.describe()}

    def rejections(self) -> Sequence[Rejection]:
        """See `FolkCollections.rejections`."""
        return self.collections.rejections()

    def documents(self, split: str) -> Iterator[Document]:
        """Questions and answers as one-turn conversations; ``source`` is the task."""
        for example, origin in self._examples(split):
            yield chat_document(example.question, example.answer, source=example.source, origin=origin)

    def examples(self, split: str) -> Iterator[Example]:
        """The questions and answers themselves, for evaluation."""
        return (example for example, _ in self._examples(split))

    def _examples(self, split: str) -> Iterator[tuple[Example, str]]:
        for tune in self.collections.tunes_in_keys(split):
            labelled = LabelledTune(tune.abc, rhythm=tune.rhythm)
            drawn = self._per_tune if split == "train" else None
            tasks = self._tasks if drawn is None else sorted(self._tasks, key=partial(_lot, tune.abc))
            possible = (example for task in tasks if (example := task.example(labelled)) is not None)
            yield from ((example, tune.origin) for example in islice(possible, drawn))


def _lot(abc: str, task: Task) -> bytes:
    """Decides which tasks a tune is asked: the same for the same tune, whatever the other tasks."""
    return hashlib.sha256((task.name + abc).encode()).digest()


def _in_other_keys(tune: FolkTune, count: int) -> list[FolkTune | None]:
    """The tune on the first ``count`` tonics that are not its own; None for a key with too many accidentals."""
    transposer = Transposer(tune.abc)
    key = transposer.tune.key
    if not key.tonic:
        return []
    copies: list[FolkTune | None] = []
    for tonic in [tonic for tonic in TONICS if tonic != key.tonic][:count]:
        fits = abs(key.on(tonic).sharps) <= MOST_ACCIDENTALS
        copies.append(replace(tune, abc=transposer.on(tonic)) if fits else None)
    return copies


def melody_of(tune: Tune) -> str:
    """The diatonic steps from note to note: what a melody keeps in every key, rhythm and layout."""
    sounding = (token for token in tune.tokens if token.kind is Kind.NOTE or token.kind is Kind.CHORD)
    notes = (notes_of(token)[0] for token in sounding)
    places = [LETTERS.index(note.letter) + 7 * note.octave for note in notes]
    return ",".join([str(after - before) for before, after in pairwise(places)])


@lru_cache(maxsize=2)
def _load(files: tuple[TuneFile, ...]) -> tuple[tuple[FolkTune, ...], tuple[Rejection, ...]]:
    """The first tune of each melody, and what is left out. Cached, since corpora of tunes and tasks share files."""
    tunes: dict[str, FolkTune] = {}
    rejected = []
    for file in files:
        try:
            texts = tunes_of(file)
        except ConversionError as error:
            rejected.append(Rejection(file=file.place, line=1, reason=str(error), lost_file=True))
            continue
        for text in texts:
            reason = too_long(text)
            try:
                tune = None if reason else _folk_tune(text, file)
            except AbcError as error:
                tune, reason = None, str(error)
            if tune is not None:
                first = tunes.setdefault(tune.melody, tune)
                if first is tune:
                    continue
                reason = f"same melody as {first.origin}"
            rejected.append(Rejection(file=file.place, line=text.line, reason=reason))
    return tuple(tunes.values()), tuple(rejected)


def _folk_tune(text: TuneText, file: TuneFile) -> FolkTune:
    """Check a tune and lay it out."""
    tune = parse_tune(text)
    check_body(tune)
    return FolkTune(
        abc=lay_out(tune),
        collection=Path(file.collection).name,
        origin=f"{file.place}:{text.line}",
        melody=melody_of(tune),
        rhythm=tune.rhythm,
    )
