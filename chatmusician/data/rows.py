"""Corpora of rows: datasets of the Hugging Face Hub, and Parquet, JSON lines and other files of any schema.

Flow: files -> runs of raw rows -> columns -> documents. What a dataset looks like is said by its columns in the
configuration (`chatmusician.data.columns`); no code is needed for a new one. Rows that cannot become documents are
rejected with file, line and reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatmusician.data.columns import Columns
from chatmusician.data.documents import Document
from chatmusician.data.mixtures import Census, Mixture, Plan
from chatmusician.data.raw_rows import RowRun
from chatmusician.data.row_files import RowFiles
from chatmusician.data.row_reading import CountedRows, RowReader, RowUnit
from chatmusician.data.units import Rejection, Run, Unit, one_by_one
from chatmusician.errors import UserError


class RowSource:
    """Rows of one schema: where they are and what their columns say.

    Args:
        columns: how a row becomes a text.
        path: a Hub id, such as ``m-a-p/MusicPile``, or a folder laid out like one; None where ``files`` are given.
        files: paths, patterns, folders, or URLs that ``fsspec`` opens.
        subset, split, revision: of the dataset at ``path``.
        source: the column that names a row's source; None: the name of the file.
        keep: only rows whose source's name contains one of these; None keeps all.
        unit_bytes: size of what is read and packed at once, and goes into one shard.
        max_row_bytes: longer rows are rejected.
    """

    def __init__(
        self,
        *,
        columns: Columns,
        path: str | None = None,
        files: Sequence[str] = (),
        subset: str | None = None,
        split: str = "train",
        revision: str | None = None,
        source: str | None = None,
        keep: Sequence[str] | None = None,
        unit_bytes: int = 4_000_000,
        max_row_bytes: int = 32_000_000,
    ) -> None:
        for name, number in (("unit_bytes", unit_bytes), ("max_row_bytes", max_row_bytes)):
            if number < 1:
                raise UserError(f"corpus.{name}={number}: use at least 1 byte")
        self.columns = columns
        self.source = source
        self.keep = tuple(keep or ())
        self.files = RowFiles(
            path=path,
            files=tuple(files),
            subset=subset,
            split=split,
            revision=revision,
            unit_bytes=unit_bytes,
            max_row_bytes=max_row_bytes,
        )

    def describe(self) -> dict[str, Any]:
        """What decides the documents of its rows: JSON values."""
        return {
            "files": self.files.describe(),
            "columns": self.columns.describe(),
            "source": self.source,
            "keep": list(self.keep),
            "unit_bytes": self.files.unit_bytes,
            "max_row_bytes": self.files.max_row_bytes,
        }

    def runs(self) -> Iterator[RowRun]:
        """Its rows in fixed runs."""
        return self.files.runs([*self.columns.names(), *([self.source] if self.source else [])])


class RowCorpus:
    """Rows of one or more sources, all of them or a mixture; see `chatmusician.data.units.UnitCorpus`.

    Args:
        sources: by a name of one's own, read one after the other.
        mixture: which rows to draw; None takes all.
        held_out: share of texts for validation, and again for test.
        seed: of the split.
        max_rejected: the share of rows, and of files, that may be rejected.

    Raises:
        UserError: a share is out of range, or a source keeps some rows and there is no mixture to count the others.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, RowSource],
        mixture: Mixture | None = None,
        held_out: float = 0.0005,
        seed: int = 1234,
        max_rejected: float = 0.01,
    ) -> None:
        if not 0 <= held_out < 0.5:
            raise UserError(f"corpus.held_out={held_out}: use a share from 0 to below 0.5")
        if not 0 <= max_rejected <= 1:
            raise UserError(f"corpus.max_rejected={max_rejected}: use a share from 0 to 1")
        for name, source in sources.items():
            if source.keep and mixture is None:
                raise UserError(
                    f"corpus.sources.{name}.keep={list(source.keep)}: only with a mixture, as data/mixture=all"
                )
        self._sources = dict(sources)
        self._mixture = mixture
        self._held_out = held_out
        self._seed = seed
        self._max_rejected = max_rejected
        self._plan: Plan | None = None

    @property
    def max_rejected(self) -> float:
        """See `chatmusician.data.units.UnitCorpus`."""
        return self._max_rejected

    @property
    def is_drawn(self) -> bool:
        """See `chatmusician.data.units.UnitCorpus`."""
        return self._mixture is not None

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.units.Corpus`."""
        return {
            "kind": "rows",
            "sources": {name: source.describe() for name, source in self._sources.items()},
            "mixture": self._mixture.describe() if self._mixture else None,
            "held_out": self._held_out,
            "seed": self._seed,
        }

    def rejections(self) -> Sequence[Rejection]:
        """None but those of the units."""
        return ()

    def documents(self, split: str) -> Iterator[Document]:
        """See `chatmusician.data.units.Corpus`."""
        for unit in self.units(one_by_one):
            yield from (document for of_split, document in unit.read().documents if of_split == split)

    def units(self, run: Run[Any, Any]) -> Iterator[Unit]:
        """See `chatmusician.data.units.UnitCorpus`."""
        return self._all_units() if self._mixture is None else self._drawn_units(self._mixture, run)

    def draw(self) -> dict[str, Any]:
        """See `chatmusician.data.units.UnitCorpus`."""
        return self._plan.report if self._plan else {}

    def _all_units(self) -> Iterator[RowUnit]:
        for source in self._sources.values():
            reader = RowReader(
                columns=source.columns,
                source=source.source,
                keep=source.keep,
                held_out=self._held_out,
                seed=self._seed,
                mixture=self._mixture,
            )
            yield from (RowUnit(run=run, reader=reader) for run in source.runs())

    def _drawn_units(self, mixture: Mixture, run: Run[Any, Any]) -> Iterator[Unit]:
        """The units that hold drawn rows: all of them, then those with rows drawn twice or more, and so on."""
        if self._plan is None:
            self._plan = mixture.plan(list(run(_census, self._all_units())))
        plan = self._plan
        yield CountedRows(rejections=plan.rejections, rows=plan.rows, files=plan.files)
        for copy in range(max((int(copies.max()) for copies in plan.copies if len(copies)), default=0)):
            for unit, copies, held_out in zip(self._all_units(), plan.copies, plan.held_out, strict=True):
                taken = (copies > copy) | (held_out if copy == 0 else False)
                if taken.any():
                    yield RowUnit(run=unit.run, reader=unit.reader, taken=taken)


def _census(unit: RowUnit) -> Census:
    return unit.census()
