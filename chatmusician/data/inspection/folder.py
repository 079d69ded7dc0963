"""A prepared folder opened for a look: shards one at a time, rows and documents where they lie.

A shard is opened and checked when its turn comes, and read whole; what is held is the pages of one and a few numbers
for each of its documents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chatmusician.data.preparation import SPLITS, TOKENIZER, UNFINISHED
from chatmusician.data.shard_columns import PREPARE_ANEW, ShardColumns, open_shard
from chatmusician.data.shards import Manifest, ShardRecord, load_manifest
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class PackedDocument:
    """A document where it lies: a whole one, or a piece of an overlong one."""

    split: str
    row: int
    """Of the split, from 0."""
    place: int
    """Among the documents of the row, from 1."""
    neighbours: int
    """Documents in the row, itself included."""
    start: int
    """Tokens of the row before it."""
    ids: npt.NDArray[Any]
    """[n]"""
    loss_mask: npt.NDArray[np.bool_]
    """[n]"""
    source: str

    @property
    def where(self) -> str:
        """The place in words, such as ``train row 12, document 2 of 5``."""
        return f"{self.split} row {self.row}, document {self.place} of {self.neighbours}"


@dataclass(frozen=True, kw_only=True)
class PackedRow:
    """A row: its documents in order, and how many tokens after them are padding."""

    row: int
    documents: tuple[PackedDocument, ...]
    padding: int


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard at its place in a split: R rows of T tokens with D documents in all."""

    split: str
    first_row: int
    """Rows of the split before this shard."""
    columns: ShardColumns
    source_names: tuple[str, ...]
    """What the numbers in the column of sources stand for."""

    @property
    def row_tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of each row that are not padding, [R]."""
        return np.diff(self._tokens_before[self.columns.offsets])

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each document starts in the rows laid end to end, [D]."""
        before, offsets = self._tokens_before, self.columns.offsets
        rows, seq_len = self.columns.ids.shape
        shift = np.arange(rows) * seq_len - before[offsets[:-1]]  # the padding of the rows before
        return before[:-1] + np.repeat(shift, np.diff(offsets))

    @property
    def _tokens_before(self) -> npt.NDArray[np.int64]:
        return np.append(0, np.cumsum(self.columns.lengths, dtype=np.int64))

    def row(self, row: int) -> PackedRow:
        """A row by its number in this shard."""
        columns = self.columns
        first, last = columns.offsets[row : row + 2].tolist()
        ends = np.cumsum(columns.lengths[first:last]).tolist()
        documents = [
            PackedDocument(
                split=self.split,
                row=self.first_row + row,
                place=place + 1,
                neighbours=last - first,
                start=start,
                ids=columns.ids[row, start:end],
                loss_mask=columns.loss_mask[row, start:end],
                source=self.source_names[columns.sources[first + place]],
            )
            for place, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        padding = columns.ids.shape[1] - ends[-1]
        return PackedRow(row=self.first_row + row, documents=tuple(documents), padding=padding)

    def document(self, number: int) -> PackedDocument:
        """A document by its number in this shard."""
        row = int(np.searchsorted(self.columns.offsets, number, side="right")) - 1
        return self.row(row).documents[number - int(self.columns.offsets[row])]


@dataclass(frozen=True, kw_only=True)
class PreparedFolder:
    """A folder that is prepared to the end, with rows in at least one split."""

    directory: Path
    manifest: Manifest
    tokenizer: "Tokenizer"

    @property
    def seq_len(self) -> int:
        """Tokens in a row."""
        return int(self.manifest.settings["seq_len"])

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have rows: ``data=streaming`` prepares no training split."""
        return tuple(split for split in SPLITS if self.records(split))

    def records(self, split: str) -> list[ShardRecord]:
        """The records of a split's shards, those without rows left out."""
        return [record for record in self.manifest.splits[split].shards if record.rows]

    def shards(self, split: str) -> Iterator[Shard]:
        """The shards of a split in order, each opened when its turn comes.

        Raises:
            UserError: a shard is missing or damaged.
        """
        return (self._open(split, record, first_row) for record, first_row in self._placed(split))

    def shard(self, split: str, index: int) -> Shard:
        """One shard of a split by its index in `records`; see `shards`."""
        record, first_row = next(islice(self._placed(split), index, None))
        return self._open(split, record, first_row)

    def rows(self, split: str, *, first: int, count: int) -> Iterator[PackedRow]:
        """So many rows of a split from ``first`` on, fewer where it ends before.

        Raises:
            UserError: there is no such split or row, or a shard is missing or damaged.
        """
        self._check_rows(split, first, count)
        for record, first_row in self._placed(split):
            begin, end = max(first, first_row), min(first + count, first_row + record.rows)
            if begin < end:
                shard = self._open(split, record, first_row)
                yield from (shard.row(row - first_row) for row in range(begin, end))

    def _placed(self, split: str) -> Iterator[tuple[ShardRecord, int]]:
        """Each shard's record, and the rows of the split before it."""
        records = self.records(split)
        return zip(records, accumulate((record.rows for record in records), initial=0), strict=False)

    def _open(self, split: str, record: ShardRecord, first_row: int) -> Shard:
        path = self.directory / split / record.name
        return Shard(
            split=split,
            first_row=first_row,
            columns=open_shard(path, record, seq_len=self.seq_len),
            source_names=tuple(sorted(record.sources)),
        )

    def _check_rows(self, split: str, first: int, count: int) -> None:
        if split not in SPLITS:
            raise UserError(f"split={split!r}: use one of {', '.join(SPLITS)}")
        if not isinstance(count, int) or count < 0:
            raise UserError(f"rows={count}: use 0 to print none, or more")
        total = self.manifest.splits[split].total("rows")
        if not total:
            filled = ", ".join(self.splits)
            raise UserError(f"split={split!r}: {self.directory} has no rows in it; use one of {filled}")
        if not isinstance(first, int) or not 0 <= first < total:
            raise UserError(f"first_row={first}: {split} of {self.directory} has rows 0 to {total - 1}")


def open_folder(directory: Path) -> PreparedFolder:
    """Open what `chatmusician.data.preparation.prepare` has written.

    Raises:
        UserError: it is no prepared folder, is not prepared to the end, has no rows, or its tokenizer cannot be read.
    """
    from tokenizers import Tokenizer

    manifest = load_manifest(directory)
    if manifest is None:
        if (directory / UNFINISHED).exists():
            raise UserError(f"{directory} is not prepared to the end; run the command that prepares it again")
        raise UserError(
            f"{directory} is no prepared folder: it has no manifest.json; give one that "
            "`python -m chatmusician.prepare` or a training run has made"
        )
    path = directory / TOKENIZER / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UserError(f"{path} cannot be read ({error}); {PREPARE_ANEW}") from error
    folder = PreparedFolder(directory=directory, manifest=manifest, tokenizer=tokenizer)
    if not folder.splits:
        raise UserError(f"{directory} has no rows in any split; prepare it with data=packed, or hold documents out")
    return folder
