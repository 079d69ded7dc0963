"""What a split holds, measured in one pass over its shards.

What stays of a document are its length and a hash of 64 bits, 12 bytes: among 6 million documents that are all
different, two share a hash with a chance of one in a million. Rows are counted by their fill.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chatmusician.data.inspection.folder import Shard
from chatmusician.data.shards import ShardRecord


@dataclass(frozen=True, kw_only=True)
class SourceFigures:
    """What one source gave to a split."""

    documents: int
    """Of the corpus: those of which something is in the rows. A document in pieces counts once."""
    tokens: int
    trained_tokens: int | None
    """None where the shards do not say which document is of which source."""


@dataclass(frozen=True, kw_only=True)
class SplitFigures:
    """What the rows of a split hold; T is the tokens of a row."""

    tokens: npt.NDArray[np.uint32]
    """Of each document, in order."""
    hashes: npt.NDArray[np.uint64]
    """Of each document's ids."""
    fill: npt.NDArray[np.int64]
    """Rows by their number of tokens that are not padding, [T + 1]."""
    trained_tokens: dict[str, int] | None
    """By source; None where the shards do not say which document is of which source."""
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
    fill, trained, has_sources = np.zeros(seq_len + 1, np.int64), dict[str, int](), True
    tokens, hashes = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint64)]
    for shard in shards:
        tokens.append(shard.lengths.astype(np.uint32))
        fill += np.bincount(shard.row_tokens, minlength=seq_len + 1)
        hashes.append(hash_documents(shard))
        has_sources = has_sources and shard.sources is not None
        for source, count in trained_by_source(shard).items():
            trained[source] = trained.get(source, 0) + count
    return SplitFigures(
        tokens=np.concatenate(tokens),
        hashes=np.concatenate(hashes),
        fill=fill,
        trained_tokens=trained if has_sources else None,
        shard_documents=np.array([len(part) for part in hashes[1:]], np.int64),
    )


def hash_documents(shard: Shard) -> npt.NDArray[np.uint64]:
    """The first 64 bits of BLAKE2b of each document's ids, [D].

    A document takes one call. 7.9 ns a token for documents of 100 tokens; a multilinear hash of all tokens at once in
    numpy took 14.4.
    """
    size = shard.ids.itemsize
    content = shard.ids.reshape(-1).view(np.uint8).data
    starts = shard.starts * size
    digests = [
        hashlib.blake2b(content[start:end], digest_size=8).digest()
        for start, end in zip(starts.tolist(), (starts + shard.lengths * size).tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(digests), np.uint64)


def trained_by_source(shard: Shard) -> dict[str, int]:
    """Trained tokens by source; empty where the shard does not say which document is of which."""
    if shard.sources is None or not len(shard.sources):
        return {}
    borders = np.stack([shard.starts, shard.starts + shard.lengths], axis=1).ravel()
    mask = shard.loss_mask.reshape(-1)
    sums = np.add.reduceat(mask, borders[borders < len(mask)], dtype=np.int64)  # the last border may be the end itself
    trained = sums[::2]  # [D]; the others are sums of what lies between documents
    totals = np.bincount(shard.sources, weights=trained, minlength=len(shard.source_names)).astype(np.int64)
    return dict(zip(shard.source_names, totals.tolist(), strict=True))


def by_source(records: Iterable[ShardRecord], trained: dict[str, int] | None) -> dict[str, SourceFigures]:
    """Totals by source from the records of a split, most tokens first, with the trained tokens of `measure`."""
    counts: dict[str, tuple[int, int]] = {}
    for record in records:
        for source, count in record.sources.items():
            documents, tokens = counts.get(source, (0, 0))
            counts[source] = (documents + count["documents"], tokens + count["tokens"])
    return {
        source: SourceFigures(
            documents=documents, tokens=tokens, trained_tokens=None if trained is None else trained.get(source, 0)
        )
        for source, (documents, tokens) in sorted(counts.items(), key=lambda item: (-item[1][1], item[0]))
    }


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
