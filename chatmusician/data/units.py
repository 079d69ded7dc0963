"""What preparation needs of a corpus: fixed runs of its input, read wherever there is room.

Flow: `Corpus` -> `Unit`s -> `Reading`s (documents with their split, rejections) -> tokens -> shards. A unit is small
and can be sent to another process or machine; reading it gives the same result however often and wherever it is done.
So shards do not depend on the number of workers, memory is bounded by the units in flight, and a run that was stopped
goes on with the units that are not done.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar, runtime_checkable

from chatmusician.data.documents import Document

SPLITS = ("train", "validation", "test")

Item = TypeVar("Item")
Result = TypeVar("Result")

Run = Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]
"""Does something with each of some things, on as many processes as there are, and gives the results in order."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A part of the corpus that could not become a document. ``lost_file``: a whole file, or the rest of one.

    ``line`` is 0 where no line of the file could be read.
    """

    file: str
    line: int
    reason: str
    lost_file: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a unit holds: its documents, each with its split, and what was rejected.

    ``rows`` counts the rows that were looked at, those of files that were lost not among them, ``files`` the files
    that begin in the unit.
    """

    documents: Sequence[tuple[str, Document]]
    rejections: Sequence[Rejection] = ()
    rows: int = 0
    files: int = 0


class Unit(Protocol):
    """A fixed run of input. It can be pickled."""

    def read(self) -> Reading:
        """What it holds; the same every time."""


class Corpus(Protocol):
    """A corpus whose documents are made one after the other, in one process: tunes, questions."""

    def describe(self) -> dict[str, Any]:
        """The settings and content that decide its documents: JSON values; equal descriptions, equal documents."""

    def documents(self, split: str) -> Iterator[Document]:
        """The documents of ``train``, ``validation`` or ``test``, always in the same order."""

    def rejections(self) -> Sequence[Rejection]:
        """What was left out, and why."""


@runtime_checkable
class UnitCorpus(Corpus, Protocol):
    """A corpus that is read in units, by any number of processes: rows of files."""

    @property
    def max_rejected(self) -> float:
        """The share of its rows, and of its files, that may be rejected."""

    @property
    def is_drawn(self) -> bool:
        """Whether all rows have to be looked at before the first unit."""

    def units(self, run: Run[Any, Any]) -> Iterator[Unit]:
        """Its units, always in the same order. ``run`` is for a look at all rows before, where a draw needs it."""

    def draw(self) -> dict[str, Any]:
        """What was drawn of each source, and what was asked for but not there, once `units` has ended; JSON values."""


@dataclass(frozen=True, kw_only=True)
class DocumentsUnit:
    """Documents of one split that are made already."""

    split: str
    documents: Sequence[Document]

    def read(self) -> Reading:
        """See `Unit`."""
        return Reading(documents=[(self.split, document) for document in self.documents])


def units_of(corpus: Corpus, *, window: int, run: Run[Any, Any]) -> Iterator[Unit]:
    """The units of any corpus; ``window`` documents each where it is not read in units of its own."""
    if isinstance(corpus, UnitCorpus):
        yield from corpus.units(run)
        return
    for split in SPLITS:
        documents = corpus.documents(split)
        while part := list(islice(documents, window)):
            yield DocumentsUnit(split=split, documents=part)


@dataclass(frozen=True, kw_only=True)
class FirstUnits:
    """The beginning of a corpus that is read in units."""

    corpus: UnitCorpus
    count: int

    @property
    def max_rejected(self) -> float:
        """See `UnitCorpus`."""
        return self.corpus.max_rejected

    @property
    def is_drawn(self) -> bool:
        """See `UnitCorpus`."""
        return self.corpus.is_drawn

    def describe(self) -> dict[str, Any]:
        """See `Corpus`."""
        return {"first_units": self.count, **self.corpus.describe()}

    def documents(self, split: str) -> Iterator[Document]:
        """See `Corpus`."""
        return self.corpus.documents(split)

    def rejections(self) -> Sequence[Rejection]:
        """See `Corpus`."""
        return self.corpus.rejections()

    def units(self, run: Run[Any, Any]) -> Iterator[Unit]:
        """See `UnitCorpus`."""
        return islice(self.corpus.units(run), self.count)

    def draw(self) -> dict[str, Any]:
        """See `UnitCorpus`."""
        return self.corpus.draw()


def one_by_one(task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """A `Run` in this process."""
    return map(task, items)
