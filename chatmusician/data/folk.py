"""The folk corpus: about 4,400 one-voice tunes that music21 ships, read from the installed package by file.

Flow: files -> tunes -> check -> layout -> one copy of each melody -> split by melody -> documents. Two tunes are the same
melody if their notes take the same diatonic steps, whatever key or rhythm they are written in; the split is by a
hash of that melody, so no tune, and no transposition of it, is on two sides, and adding a collection moves no tune.

The collections are Ryan's Mammoth Collection (1883), O'Neill's Music of Ireland (1903), Aird's Airs (1782-1803) and
miscellaneous folk tunes; music21 itself is not imported (which would take seconds).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chatmusician.data.documents import Document, chat_document, plain_document
from chatmusician.data.instructions import Example, find_tasks
from chatmusician.data.preparation import Rejection
from chatmusician.errors import UserError
from chatmusician.music.checks import check_tune
from chatmusician.music.keys import LETTERS
from chatmusician.music.layout import lay_out
from chatmusician.music.lexer import Kind, read_chord, read_note
from chatmusician.music.transposition import transpose_tune
from chatmusician.music.tunes import AbcError, Tune, parse_tune, split_tunes

COLLECTIONS = ("ryansMammoth", "oneills1850", "airdsAirs", "miscFolk")

TONICS = ("G", "D", "A", "C", "F", "E", "Bb", "Eb")
"""Tonics that tunes are transposed to for augmentation, the usual ones first; keys up to four sharps or flats."""


@dataclass(frozen=True, kw_only=True)
class FolkTune:
    """A tune of the corpus: its text in the layout of `chatmusician.music.layout`, and where it stands."""

    abc: str
    collection: str
    origin: str
    melody: str

    def share(self) -> float:
        """Where the melody falls between 0 and 1: decides its side of the split."""
        return int.from_bytes(hashlib.sha256(self.melody.encode()).digest()[:8]) / 2**64


@dataclass(frozen=True, kw_only=True)
class FolkCollections:
    """The tunes of some collections, split three ways.

    ``collections`` are folders of music21's corpus, or paths of folders or files of ABC. ``held_out`` is the share of
    melodies that go to validation, and again to test.

    Raises:
        UserError: a collection is not there or not readable, or a share is out of range.
    """

    collections: tuple[str, ...] = COLLECTIONS
    held_out: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 0.5:
            raise UserError(f"corpus.held_out={self.held_out}: use a share above 0 and below 0.5")

    def describe(self) -> dict[str, Any]:
        """Collections with a hash of their content."""
        content = hashlib.sha256()
        for files in map(_files, self.collections):
            for file in files:
                content.update(file.name.encode() + b"\0" + _read(file))
        hashed = content.hexdigest()[:16]
        return {"collections": list(self.collections), "held_out": self.held_out, "content": hashed}

    @cached_property
    def _loaded(self) -> tuple[tuple[FolkTune, ...], tuple[Rejection, ...]]:
        return _load(self.collections)

    def tunes(self, split: str) -> list[FolkTune]:
        """The tunes of ``train``, ``validation`` or ``test``, in the order of the collections."""
        bounds = {"validation": (0, self.held_out), "test": (self.held_out, 2 * self.held_out)}
        low, high = bounds.get(split, (2 * self.held_out, 1.0))
        return [tune for tune in self._loaded[0] if low <= tune.share() < high]

    def rejections(self) -> Sequence[Rejection]:
        """Tunes left out: they do not parse, have several voices, or repeat another's melody."""
        return self._loaded[1]


class FolkTunes:
    """Pretraining documents: the tunes themselves, and copies of the training tunes in other keys.

    Every tune is written in ``keys`` keys: its own and the first of `TONICS` that are left. The first copy of all
    tunes comes before the second, so that copies of one tune are far apart when documents are packed.
    """

    def __init__(
        self, *, collections: Sequence[str] = COLLECTIONS, held_out: float = 0.05, keys: int = 8
    ) -> None:
        if keys < 1:
            raise UserError(f"corpus.keys={keys}: a tune is written in at least 1 key, its own")
        self.collections = FolkCollections(collections=tuple(collections), held_out=held_out)
        self._keys = keys

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.preparation.Corpus`."""
        return {"kind": "tunes", "keys": self._keys, **self.collections.describe()}

    def rejections(self) -> Sequence[Rejection]:
        """See `FolkCollections.rejections`."""
        return self.collections.rejections()

    def documents(self, split: str) -> Iterator[Document]:
        """The tunes of a split as plain documents."""
        tunes = self.collections.tunes(split)
        for copy in range(self._keys if split == "train" else 1):
            for tune in tunes:
                abc = tune.abc if copy == 0 else _in_other_key(tune.abc, copy)
                if abc is not None:
                    yield plain_document(abc, source=tune.collection, origin=tune.origin)


class FolkTasks:
    """Fine-tuning documents: each tune with each of the instruction tasks it allows.

    ``keys`` as in `FolkTunes`; copy k of a tune asks its tasks in the k-th key. ``per_tune`` is how many of the tasks a
    training tune is asked in each key, chosen by lot; None asks all.
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
        if keys < 1:
            raise UserError(f"corpus.keys={keys}: a tune is written in at least 1 key, its own")
        self.collections = FolkCollections(collections=tuple(collections), held_out=held_out)
        self._tasks = find_tasks(tasks)
        self._keys = keys
        self._per_tune = per_tune

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.preparation.Corpus`."""
        tasks = [task.name for task in self._tasks]
        asked = {"tasks": tasks, "keys": self._keys, "per_tune": self._per_tune}
        return {"kind": "tasks", **asked, **self.collections.describe()}

    def rejections(self) -> Sequence[Rejection]:
        """See `FolkCollections.rejections`."""
        return self.collections.rejections()

    def documents(self, split: str) -> Iterator[Document]:
        """Questions and answers as one-turn conversations; ``source`` is the task."""
        for example, origin in self._examples(split):
            yield chat_document(example.question, example.answer, source=example.task, origin=origin)

    def examples(self, split: str) -> Iterator[Example]:
        """The questions and answers themselves, for evaluation."""
        return (example for example, _ in self._examples(split))

    def _examples(self, split: str) -> Iterator[tuple[Example, str]]:
        tunes = self.collections.tunes(split)
        for copy in range(self._keys if split == "train" else 1):
            for tune in tunes:
                abc = tune.abc if copy == 0 else _in_other_key(tune.abc, copy)
                if abc is None:
                    continue
                parsed = parse_tune(abc)
                examples = [example for task in self._tasks if (example := task.example(parsed)) is not None]
                if self._per_tune is not None and split == "train":
                    examples = sorted(examples, key=_lot)[: self._per_tune]
                for example in examples:
                    yield example, tune.origin


def _lot(example: Example) -> bytes:
    return hashlib.sha256((example.task + example.answer).encode()).digest()


def _in_other_key(abc: str, copy: int) -> str | None:
    """The tune on the ``copy``-th of the tonics that are not its own; None where that key has too many accidentals."""
    key = parse_tune(abc).key
    if not key.tonic:
        return None
    others = [tonic for tonic in TONICS if tonic != key.tonic]
    if copy > len(others):
        return None
    try:
        moved = transpose_tune(abc, tonic=others[copy - 1])
    except UserError:
        return None
    return moved if abs(parse_tune(moved).key.sharps) <= 4 else None


def melody_of(tune: Tune) -> str:
    """The diatonic steps from note to note: what a melody keeps in every key, rhythm and layout."""
    places = []
    for token in tune.tokens:
        if token.kind is Kind.NOTE:
            note = read_note(token.text)
        elif token.kind is Kind.CHORD:
            note = read_chord(token.text).notes[0]
        else:
            continue
        places.append(LETTERS.index(note.letter.upper()) + 7 * note.octave)
    return ",".join(str(b - a) for a, b in zip(places, places[1:], strict=False))


@lru_cache(maxsize=4)
def _load(collections: tuple[str, ...]) -> tuple[tuple[FolkTune, ...], tuple[Rejection, ...]]:
    tunes: dict[str, FolkTune] = {}
    rejected = []
    for collection in collections:
        for file in _files(collection):
            for text in split_tunes(_decode(_read(file)), source=file.name):
                reason = ""
                check = check_tune(text)
                if not check.parses:
                    reason = check.reason or "does not parse"
                else:
                    try:
                        tune = parse_tune(text)
                        abc, melody = lay_out(tune), melody_of(tune)
                    except AbcError as error:
                        reason = error.reason
                    else:
                        if melody in tunes:
                            reason = f"same melody as {tunes[melody].origin}"
                        else:
                            origin = f"{collection}/{file.name}:{text.line}"
                            tunes[melody] = FolkTune(
                                abc=abc, collection=Path(collection).name, origin=origin, melody=melody
                            )
                if reason:
                    rejected.append(Rejection(file=f"{collection}/{file.name}", line=text.line, reason=reason))
    return tuple(tunes.values()), tuple(rejected)


def _files(collection: str) -> list[Path]:
    """The ABC files of a collection: a folder of music21's corpus, or a path."""
    folder = Path(collection)
    if not folder.exists() and len(folder.parts) == 1:
        folder = _music21_corpus() / collection
    files = [folder] if folder.is_file() else sorted(folder.glob("*.abc"))
    if not files:
        raise UserError(
            f"no ABC file in the collection {collection!r}; use a folder of ABC files or one of {', '.join(COLLECTIONS)}"
        )
    return files


def _music21_corpus() -> Path:
    spec = find_spec("music21")
    if spec is None or spec.origin is None:
        raise UserError("the folk tunes come with music21, which is not installed; run `pip install music21`")
    return Path(spec.origin).parent / "corpus"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); check its permissions") from error


def _decode(content: bytes) -> str:
    """UTF-8 where it is, else Latin-1, in which the older transcriptions are."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
