"""A prepared folder opened for a look: shards one at a time, each checked against its checksum, and their rows.

Shards are memory-mapped, so what is held is the pages of one shard and a few numbers for each of its documents. Unlike
`chatmusician.data.shards.PackedRows`, which training reads, a shard is opened when its turn comes, and read whole.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chatmusician.data.preparation import SPLITS, TOKENIZER, UNFINISHED
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
    source: str | None
    """None where the shard does not say which of its sources it is."""

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
    """The columns of one shard: R rows of T tokens with D documents in all."""

    split: str
    first_row: int
    """Rows of the split before this shard."""
    ids: npt.NDArray[Any]
    """[R, T]"""
    loss_mask: npt.NDArray[np.uint8]
    """[R, T]"""
    lengths: npt.NDArray[np.int64]
    """Tokens of each document, [D]."""
    bounds: npt.NDArray[np.int64]
    """The documents of row r are those from ``bounds[r]`` to ``bounds[r + 1]``, [R + 1]."""
    sources: npt.NDArray[np.int64] | None
    """Of each document the index of its source in ``source_names``, [D]; None where the shard does not say."""
    source_names: tuple[str, ...]

    @property
    def row_tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of each row that are not padding, [R]."""
        return np.diff(self._tokens_before[self.bounds])

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each document starts in the rows laid end to end, [D]."""
        before = self._tokens_before
        rows, seq_len = self.ids.shape
        shift = np.arange(rows) * seq_len - before[self.bounds[:-1]]  # the padding of the rows before
        return before[:-1] + np.repeat(shift, np.diff(self.bounds))

    @property
    def _tokens_before(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def row(self, row: int) -> PackedRow:
        """A row by its number in this shard."""
        first, last = int(self.bounds[row]), int(self.bounds[row + 1])
        ends = np.cumsum(self.lengths[first:last]).tolist()
        starts = [0, *ends[:-1]]
        documents = [
            PackedDocument(
                split=self.split,
                row=self.first_row + row,
                place=place + 1,
                neighbours=last - first,
                start=start,
                ids=self.ids[row, start:end],
                loss_mask=self.loss_mask[row, start:end].astype(np.bool_),
                source=self._source(first + place),
            )
            for place, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]
        padding = self.ids.shape[1] - (ends[-1] if ends else 0)
        return PackedRow(row=self.first_row + row, documents=tuple(documents), padding=padding)

    def document(self, number: int) -> PackedDocument:
        """A document by its number in this shard."""
        row = int(np.searchsorted(self.bounds, number, side="right")) - 1
        return self.row(row).documents[number - int(self.bounds[row])]

    def _source(self, document: int) -> str | None:
        if self.sources is not None:
            return self.source_names[self.sources[document]]
        return self.source_names[0] if len(self.source_names) == 1 else None


@dataclass(frozen=True, kw_only=True)
class PreparedFolder:
    """A folder that is prepared to the end."""

    directory: Path
    manifest: Manifest
    tokenizer: "Tokenizer"

    @property
    def seq_len(self) -> int:
        """Tokens in a row."""
        return int(self.manifest.settings["seq_len"])

    def records(self, split: str) -> list[ShardRecord]:
        """The records of a split's shards, those without rows left out."""
        return [record for record in self.manifest.splits[split].shards if record.rows]

    def shards(self, split: str) -> Iterator[Shard]:
        """The shards of a split in order, each opened when its turn comes.

        Raises:
            UserError: a shard is missing or damaged.
        """
        first_row = 0
        for record in self.records(split):
            yield self._open(split, record, first_row)
            first_row += record.rows

    def shard(self, split: str, index: int) -> Shard:
        """One shard of a split by its index in `records`."""
        records = self.records(split)
        return self._open(split, records[index], sum(record.rows for record in records[:index]))

    def rows(self, split: str, *, first: int, count: int) -> Iterator[PackedRow]:
        """So many rows of a split from ``first`` on, fewer where it ends before.

        Raises:
            UserError: there is no such split or row, or a shard is missing or damaged.
        """
        self._check_rows(split, first, count)
        first_row = 0
        for record in self.records(split):
            begin, end = max(first, first_row), min(first + count, first_row + record.rows)
            if begin < end:
                shard = self._open(split, record, first_row)
                yield from (shard.row(row - first_row) for row in range(begin, end))
            first_row += record.rows

    def _check_rows(self, split: str, first: int, count: int) -> None:
        if split not in SPLITS:
            raise UserError(f"split={split!r}: use one of {', '.join(SPLITS)}")
        if not isinstance(count, int) or count < 0:
            raise UserError(f"rows={count}: use 0 to print none, or more")
        total = self.manifest.splits[split].total("rows")
        if not total:
            filled = [name for name in SPLITS if self.manifest.splits[name].total("rows")]
            raise UserError(f"split={split!r}: {self.directory} has no rows in it; use one of {', '.join(filled)}")
        if not isinstance(first, int) or not 0 <= first < total:
            raise UserError(f"first_row={first}: {split} of {self.directory} has rows 0 to {total - 1}")

    def _open(self, split: str, record: ShardRecord, first_row: int) -> Shard:
        table = _read(self.directory / split / record.name, record)
        lists = table.column("lengths").chunk(0)
        has_sources = "sources" in table.column_names
        return Shard(
            split=split,
            first_row=first_row,
            ids=_matrix(table, "ids", self.seq_len),
            loss_mask=_matrix(table, "loss_mask", self.seq_len),
            lengths=lists.flatten().to_numpy().astype(np.int64),
            bounds=np.concatenate([np.zeros(1, np.int64), np.cumsum(lists.value_lengths().to_numpy())]),
            sources=table.column("sources").chunk(0).flatten().to_numpy().astype(np.int64) if has_sources else None,
            source_names=tuple(sorted(record.sources)),
        )


def open_folder(directory: Path) -> PreparedFolder:
    """Open what `chatmusician.data.preparation.prepare` has written.

    Raises:
        UserError: it is no prepared folder, or not prepared to the end, or its tokenizer cannot be read.
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
        raise UserError(f"{path} cannot be read ({error}); remove the folder to prepare it anew") from error
    return PreparedFolder(directory=directory, manifest=manifest, tokenizer=tokenizer)


def _read(path: Path, record: ShardRecord) -> pa.Table:
    """A shard as a memory-mapped table, if it is the one that was written."""
    try:
        with pa.memory_map(str(path)) as source:
            content = source.read_buffer()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"shard {path} cannot be read ({error}); remove the folder to prepare it anew") from error
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise UserError(
            f"shard {path} is damaged: its checksum is not the manifest's; remove the folder to prepare it anew"
        )
    return pa.ipc.open_stream(content).read_all()


def _matrix(table: pa.Table, column: str, seq_len: int) -> npt.NDArray[Any]:
    """A fixed-size list column as [rows, seq_len], without a copy."""
    return table.column(column).chunk(0).flatten().to_numpy(zero_copy_only=True).reshape(-1, seq_len)
