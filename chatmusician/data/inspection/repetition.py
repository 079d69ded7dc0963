"""Documents that are there more than once, by the hashes of their ids: within a split, and held out from training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class RepeatedDocument:
    """A document of a split by its number, and how often it is there."""

    document: int
    copies: int


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How much of a split repeats what stands before it."""

    documents: int
    distinct: int
    tokens: int
    """In documents that are a copy of an earlier one."""
    most: tuple[RepeatedDocument, ...]
    """The most repeated ones, the first of each kind."""

    @property
    def repeated(self) -> int:
        """Documents that are a copy of an earlier one."""
        return self.documents - self.distinct


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Documents of a held-out split that are in the training split too."""

    documents: int
    examples: tuple[tuple[int, int], ...]
    """The first of them: number in the held-out split, number of the first copy in the training split."""


def find_repeats(hashes: npt.NDArray[np.uint64], tokens: npt.NDArray[np.uint32], *, shown: int) -> Repeats:
    """Count the documents that are copies of others, and name the ``shown`` most repeated ones.

    Args:
        hashes, tokens: of each document [D].
        shown: most documents to name; of equally repeated ones the longer, then the earlier.
    """
    distinct, first, copies = np.unique(hashes, return_index=True, return_counts=True)
    several = np.flatnonzero(copies > 1)
    lengths = tokens.astype(np.int64)[first]
    order = several[np.lexsort((first[several], -lengths[several], -copies[several]))][:shown]
    most = tuple(RepeatedDocument(document=int(first[kind]), copies=int(copies[kind])) for kind in order)
    in_copies = int(((copies - 1) * lengths).sum())
    return Repeats(documents=len(hashes), distinct=len(distinct), tokens=in_copies, most=most)


def find_leaks(held_out: npt.NDArray[np.uint64], training: npt.NDArray[np.uint64], *, shown: int) -> Leaks:
    """Count the held-out documents that are training documents too, and name the first ``shown``."""
    leaked = np.flatnonzero(np.isin(held_out, training))
    examples = tuple((int(number), int(np.argmax(training == held_out[number]))) for number in leaked[:shown])
    return Leaks(documents=len(leaked), examples=examples)
