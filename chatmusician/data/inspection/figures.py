"""What a split holds: figures of one pass over its shards, and how often its documents are there.

What stays of a document are its length and a hash of 64 bits, 12 bytes: among 6 million documents that are all
different, two share a hash with a chance of one in a million. Rows are counted by their fill.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chatmusician.data.inspection.folder import Shard

SHORT = 8
"""Documents of fewer tokens are compared apart: they are mostly the ends of longer ones that were split."""


@dataclass(frozen=True, kw_only=True)
class SourceFigures:
    """What one source gave to a split."""

    documents: int
    """Of the corpus: those of which something is in the rows. A document in pieces counts once."""
    tokens: int
    trained_tokens: int


@dataclass(frozen=True, kw_only=True)
class SplitFigures:
    """What the rows of a split hold; T is the tokens of a row."""

    tokens: npt.NDArray[np.uint32]
    """Of each document, in order."""
    hashes: npt.NDArray[np.uint64]
    """Of each document's ids."""
    fill: npt.NDArray[np.int64]
    """Rows by their number of tokens that are not padding, [T + 1]."""
    trained_tokens: Mapping[str, int]
    """By source."""
    shard_documents: npt.NDArray[np.int64]
    """Documents in each shard that has rows."""

    @property
    def documents(self) -> int:
        """Documents in the rows; each piece of an overlong one that was split counts."""
        return len(self.hashes)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Documents by their number of tokens, [T + 1]."""
        return np.bincount(self.tokens, minlength=len(self.fill))

    def place(self, document: int) -> tuple[int, int]:
        """The shard of a document, and its number in it."""
        ends = np.cumsum(self.shard_documents)
        shard = int(np.searchsorted(ends, document, side="right"))
        return shard, document - int(ends[shard] - self.shard_documents[shard])


def measure(shards: Iterable[Shard], *, seq_len: int) -> SplitFigures:
    """Measure the shards of a split, holding one at a time."""
    fill, trained = np.zeros(seq_len + 1, np.int64), dict[str, int]()
    tokens, hashes = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint64)]
    for shard in shards:
        tokens.append(shard.columns.lengths.copy())  # not a view, which would keep the shard mapped
        fill += np.bincount(shard.row_tokens, minlength=seq_len + 1)
        hashes.append(hash_documents(shard))
        for source, count in trained_by_source(shard).items():
            trained[source] = trained.get(source, 0) + count
    return SplitFigures(
        tokens=np.concatenate(tokens),
        hashes=np.concatenate(hashes),
        fill=fill,
        trained_tokens=trained,
        shard_documents=np.array([len(part) for part in hashes[1:]], np.int64),
    )


def hash_documents(shard: Shard) -> npt.NDArray[np.uint64]:
    """The first 64 bits of BLAKE2b of each document's ids, [D].

    A document takes one call. 7.9 ns a token for documents of 100 tokens; a multilinear hash of all tokens at once in
    numpy took 14.4.
    """
    size = shard.columns.ids.itemsize
    content = shard.columns.ids.reshape(-1).view(np.uint8).data
    starts = shard.starts * size
    digests = [
        hashlib.blake2b(content[start:end], digest_size=8).digest()
        for start, end in zip(starts.tolist(), (starts + shard.columns.lengths * size).tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(digests), np.uint64)


def trained_by_source(shard: Shard) -> dict[str, int]:
    """Trained tokens by source."""
    mask = shard.columns.loss_mask.reshape(-1)
    trained = np.add.reduceat(mask, shard.starts, dtype=np.int64)  # [D]; padding bears no loss and may be summed too
    totals = np.bincount(shard.columns.sources, weights=trained, minlength=len(shard.source_names)).astype(np.int64)
    return dict(zip(shard.source_names, totals.tolist(), strict=True))


def by_source(counts: Mapping[str, Mapping[str, int]], trained: Mapping[str, int]) -> dict[str, SourceFigures]:
    """What the manifest counts by source, most tokens first, with the trained tokens of `measure`."""
    return {
        source: SourceFigures(documents=of["documents"], tokens=of["tokens"], trained_tokens=trained.get(source, 0))
        for source, of in sorted(counts.items(), key=lambda item: (-item[1]["tokens"], item[0]))
    }


@dataclass(frozen=True, kw_only=True)
class RepeatedDocument:
    """A document of a split by its number, and how often it is there."""

    document: int
    copies: int


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """How far documents of a split are the same as earlier ones of it, and as training documents."""

    documents: int
    distinct: int
    tokens: int
    """In documents that are a copy of an earlier one."""
    most: int
    """How often the most repeated one is there."""
    repeats: tuple[RepeatedDocument, ...]
    """The most repeated ones, the first of each kind."""
    leaked: int | None
    """Documents that are in the training split too; None of that split itself, and where it has no rows."""
    leaks: tuple[tuple[int, int], ...]
    """The first of them: number in this split, number of the first copy in the training split."""

    @property
    def repeated(self) -> int:
        """Documents that are a copy of an earlier one."""
        return self.documents - self.distinct


def find_repetition(found: SplitFigures, training: SplitFigures | None, *, short: bool, shown: int) -> Repetition:
    """Count the documents that are copies, and those that are in the training split too.

    Args:
        found: of the split.
        training: of the training split, where that is another one.
        short: compare those of fewer than `SHORT` tokens; False: the others.
        shown: most documents to name of each kind; of equally repeated ones the longer, then the earlier.
    """
    numbers = np.flatnonzero((found.tokens < SHORT) == short)
    hashes = found.hashes[numbers]
    distinct, first, copies = np.unique(hashes, return_index=True, return_counts=True)
    several = np.flatnonzero(copies > 1)
    lengths = found.tokens[numbers[first]].astype(np.int64)
    order = several[np.lexsort((first[several], -lengths[several], -copies[several]))][:shown]
    others = np.zeros(0, np.uint64) if training is None else training.hashes
    leaked = np.flatnonzero(np.isin(hashes, others))
    return Repetition(
        documents=len(hashes),
        distinct=len(distinct),
        tokens=int(((copies - 1) * lengths).sum()),
        most=int(copies.max(initial=0)),
        repeats=tuple(RepeatedDocument(document=int(numbers[first[n]]), copies=int(copies[n])) for n in order),
        leaked=None if training is None else len(leaked),
        leaks=tuple((int(numbers[n]), int(np.argmax(others == hashes[n]))) for n in leaked[:shown]),
    )


def quantile(counts: npt.NDArray[np.int64], share: float) -> int:
    """The smallest value that so large a share of what was counted does not exceed.

    Args:
        counts: how often each value from 0 on was met; at least one was.
        share: 0.5 for the median.

    >>> quantile(np.array([0, 1, 0, 3]), 0.25), quantile(np.array([0, 1, 0, 3]), 0.5)
    (1, 3)
    """
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))


def shares_by_bin(counts: npt.NDArray[np.int64], edges: Sequence[int]) -> list[float]:
    """The shares of values between edges; the last bin holds what is at its end and beyond.

    Args:
        counts: how often each value from 0 on was met; at least one was.
        edges: the first value of each bin, and the end of the last one.

    >>> shares_by_bin(np.array([0, 1, 0, 3]), [0, 2, 3])
    [0.25, 0.75]
    """
    ends = [*edges[1:-1], len(counts)]
    return [float(counts[begin:end].sum() / counts.sum()) for begin, end in zip(edges, ends, strict=False)]
