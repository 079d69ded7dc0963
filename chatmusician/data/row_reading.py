"""From raw rows to documents, and the units in which that is done.

A text is held out by a hash of itself, so copies of it are on one side, wherever they stand in the files.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chatmusician.data.columns import Columns, source_of
from chatmusician.data.documents import Document, plain_document
from chatmusician.data.mixtures import Census, Mixture, is_of
from chatmusician.data.raw_rows import RawRow, RowRun
from chatmusician.data.units import Reading, Rejection


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Makes documents of raw rows; see `chatmusician.data.rows` for the fields."""

    columns: Columns
    source: str | None
    keep: tuple[str, ...]
    held_out: float
    seed: int
    mixture: Mixture | None

    def read(self, row: RawRow, file: str) -> tuple[str, Document] | Rejection:
        """The split and the document of a row, or why there is none. One that is not to be kept has no split."""
        if row.values is None:
            return Rejection(file=file, line=row.line, reason=row.reason, lost_file=row.lost_file)
        try:
            source = source_of(row.values, self.source) if self.source else file.rsplit("/", 1)[-1]
            _octets(source, "name of the source")
            if self.keep and not is_of(source, self.keep):
                return "", plain_document("", source=source)
            if self.mixture is not None and not self.mixture.knows(source):
                raise ValueError(f"source {source!r} is in no category of the mixture")
            text, trained = self.columns.read(row.values)
            octets = _octets(text, "text")
        except ValueError as error:
            return Rejection(file=file, line=row.line, reason=str(error))
        return self._split(octets), Document(text=text, trained=trained, source=source, origin=f"{file}:{row.line}")

    def _split(self, text: bytes) -> str:
        key = self.seed.to_bytes(8, "little", signed=True)
        share = int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest()) / 2**64
        if share < self.held_out:
            return "validation"
        return "test" if share < 2 * self.held_out else "train"


def _octets(text: str, what: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"a NUL character in the {what}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair in the {what}") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class RowUnit:
    """A run of rows, read as documents. With ``taken`` [rows], only those, and nothing is said of the others."""

    run: RowRun
    reader: RowReader
    taken: npt.NDArray[np.bool_] | None = None

    def read(self) -> Reading:
        """See `chatmusician.data.units.Unit`."""
        documents: list[tuple[str, Document]] = []
        rejections: list[Rejection] = []
        rows = 0
        for place, raw in enumerate(self.run.rows()):
            if self.taken is not None and not self.taken[place]:
                continue
            rows += not raw.lost_file
            found = self.reader.read(raw, self.run.file)
            if isinstance(found, Rejection):
                rejections.append(found)
            else:
                documents.append(found)
        if self.taken is not None:  # the census has said the rest
            return Reading(documents=documents)
        return Reading(documents=documents, rejections=rejections, rows=rows, files=int(self.run.begins_file))

    def census(self) -> Census:
        """The source of each row, and whether it is for training."""
        names: dict[str, int] = {}
        passed: Counter[str] = Counter()
        rejections = []
        rows = []
        for raw in self.run.rows():
            found = self.reader.read(raw, self.run.file)
            if isinstance(found, Rejection):
                rejections.append(found)
            elif found[0]:
                split, document = found
                rows.append((names.setdefault(document.source, len(names)), split == "train"))
                continue
            else:
                passed[found[1].source] += 1
            rows.append((-1, False))
        table = np.array(rows, np.int64).reshape(-1, 2)
        return Census(
            names=tuple(names),
            sources=table[:, 0].astype(np.int32),
            trains=table[:, 1].astype(np.bool_),
            passed=dict(passed),
            rejections=tuple(rejections),
            files=int(self.run.begins_file),
        )


@dataclass(frozen=True, kw_only=True)
class CountedRows:
    """What a census said of rows, as a unit without documents."""

    rejections: tuple[Rejection, ...]
    rows: int
    files: int

    def read(self) -> Reading:
        """See `chatmusician.data.units.Unit`."""
        return Reading(documents=(), rejections=self.rejections, rows=self.rows, files=self.files)
