"""Corpora of rows: datasets of the Hugging Face Hub, and Parquet or JSON-lines files of the same schema.

``path`` is what ``datasets.load_dataset`` takes: a Hub id such as ``m-a-p/MusicPile``, or ``parquet`` or ``json`` with
``files``. Rows are read through the library's memory-mapped cache, so a corpus needs disk and not memory. Which rows
are held out, and which are drawn into a sample, are functions of the seed and the row's number alone.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chatmusician.data.documents import Document, chat_document, plain_document
from chatmusician.data.preparation import Rejection
from chatmusician.data.prompts import clean_fields
from chatmusician.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RowSource:
    """Where rows are, and which of them are held out for validation (and again for test)."""

    path: str
    files: tuple[str, ...]
    held_out: float
    seed: int

    @cached_property
    def rows(self) -> Any:
        """The rows as a memory-mapped ``datasets.Dataset``.

        Raises:
            UserError: the dataset or file is not there, or cannot be read.
        """
        from datasets import load_dataset

        try:
            return load_dataset(self.path, data_files=list(self.files) or None, split="train")
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"corpus.path={self.path!r} {list(self.files)} cannot be read ({reason}); give a Hub id, or "
                "parquet or json with corpus.files"
            ) from error

    def numbers(self, split: str) -> np.ndarray:
        """The numbers of the rows of a split, in order."""
        shares = np.random.default_rng([self.seed, 0]).random(len(self.rows))
        bounds = {"validation": (0.0, self.held_out), "test": (self.held_out, 2 * self.held_out)}
        low, high = bounds.get(split, (2 * self.held_out, 1.0))
        return np.flatnonzero((shares >= low) & (shares < high))

    def require(self, columns: Sequence[str]) -> None:
        """Refuse rows without these columns."""
        missing = [column for column in columns if column not in self.rows.column_names]
        if missing:
            raise UserError(
                f"corpus.path={self.path!r} has no column {missing[0]!r}; it has {', '.join(self.rows.column_names)}"
            )

    def describe(self) -> dict[str, Any]:
        """What decides the rows."""
        columns = hashlib.sha256(repr(sorted(self.rows.features.items())).encode()).hexdigest()[:16]
        return {
            "path": self.path,
            "files": list(self.files),
            "rows": len(self.rows),
            "columns": columns,
            "held_out": self.held_out,
            "seed": self.seed,
        }


class TextRows:
    """Pretraining documents: one text a row, such as MusicPile (``id, text, src``)."""

    def __init__(
        self,
        *,
        path: str,
        files: Sequence[str] = (),
        text_column: str = "text",
        source_column: str | None = "src",
        held_out: float = 0.0005,
        seed: int = 1234,
    ) -> None:
        self._source = RowSource(path=path, files=tuple(files), held_out=held_out, seed=seed)
        self._text, self._src = text_column, source_column
        self._rejections: dict[int, Rejection] = {}

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.preparation.Corpus`."""
        self._source.require([column for column in (self._text, self._src) if column])
        return {"kind": "texts", "columns_used": [self._text, self._src], **self._source.describe()}

    def rejections(self) -> Sequence[Rejection]:
        """Rows without text."""
        return tuple(self._rejections[number] for number in sorted(self._rejections))

    def documents(self, split: str) -> Iterator[Document]:
        """The texts of a split; ``source`` is the row's own."""
        for number in self._source.numbers(split):
            row = self._source.rows[int(number)]
            text = row[self._text]
            if not isinstance(text, str) or not text.strip():
                self._rejections[int(number)] = Rejection(
                    file=self._source.path, line=int(number) + 1, reason=f"no text in column {self._text!r}"
                )
                continue
            source = str(row[self._src]) if self._src else self._source.path
            yield plain_document(text, source=source, origin=f"{self._source.path}:{number + 1}")


class InstructionRows:
    """Fine-tuning documents: one question with its answer a row, such as MusicPile-sft.

    Args:
        path, files: see the module.
        rows: how many training rows to draw; None takes all.
        groups: name of a group -> the sources in it; a row belongs to the group of which it contains a source's name.
            Rows of no group are left out of the draw. Empty: all rows are one group.
        ratio: the share of each group in the draw, such as ``{verbal: 2, score: 1}``.
        held_out: share of rows for validation, and again for test.
        seed: of the draw and the split.

    Raises:
        UserError: ratio and groups do not name the same groups; a group has fewer rows than are asked of it.
    """

    def __init__(
        self,
        *,
        path: str,
        files: Sequence[str] = (),
        rows: int | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        ratio: Mapping[str, float] | None = None,
        held_out: float = 0.0005,
        seed: int = 1234,
    ) -> None:
        self._source = RowSource(path=path, files=tuple(files), held_out=held_out, seed=seed)
        self._rows = rows
        self._groups = {name: tuple(sources) for name, sources in (groups or {}).items()}
        self._ratio = dict(ratio or dict.fromkeys(self._groups, 1.0))
        self._rejections: dict[int, Rejection] = {}
        if self._ratio.keys() != self._groups.keys():
            raise UserError(f"corpus.ratio names {sorted(self._ratio)}, corpus.groups {sorted(self._groups)}")

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.preparation.Corpus`."""
        self._source.require(["instruction", "input", "output", *(["src"] if self._groups else [])])
        drawn = {"draw": self._rows, "groups": {k: list(v) for k, v in self._groups.items()}, "ratio": self._ratio}
        return {"kind": "instructions", **drawn, **self._source.describe()}

    def rejections(self) -> Sequence[Rejection]:
        """Rows without a question or an answer."""
        return tuple(self._rejections[number] for number in sorted(self._rejections))

    def documents(self, split: str) -> Iterator[Document]:
        """Conversations of one turn; ``source`` is the row's own."""
        for number in self._drawn() if split == "train" else self._source.numbers(split):
            row = self._source.rows[int(number)]
            question, answer = clean_fields(row["instruction"] or "", row["input"] or "", row["output"] or "")
            if not question.strip() or not answer.strip():
                self._rejections[int(number)] = Rejection(
                    file=self._source.path, line=int(number) + 1, reason="no question or no answer"
                )
                continue
            source = str(row.get("src") or self._source.path)
            yield chat_document(question, answer, source=source, origin=f"{self._source.path}:{number + 1}")

    def _drawn(self) -> np.ndarray:
        """The numbers of the training rows that are drawn, in order."""
        numbers = self._source.numbers("train")
        if not self._groups:
            return self._draw("the corpus", numbers, self._rows)
        sources = np.asarray(self._source.rows["src"])[numbers]
        names = {source: self._group_of(str(source)) for source in np.unique(sources)}
        groups = np.array([names[source] for source in sources])
        total = sum(self._ratio.values())
        parts = []
        for name, share in self._ratio.items():
            wanted = None if self._rows is None else round(self._rows * share / total)
            parts.append(self._draw(f"group {name!r}", numbers[groups == name], wanted))
        return np.sort(np.concatenate(parts))

    def _group_of(self, source: str) -> str:
        found = [name for name, sources in self._groups.items() if any(part in source.lower() for part in sources)]
        return found[0] if found else ""

    def _draw(self, name: str, numbers: np.ndarray, wanted: int | None) -> np.ndarray:
        if wanted is None:
            return numbers
        if len(numbers) < wanted:
            raise UserError(
                f"{name} of {self._source.path!r} has {len(numbers)} training rows, fewer than the {wanted} asked for; "
                "lower corpus.rows or change corpus.ratio"
            )
        generator = np.random.default_rng([self._source.seed, 1, len(numbers)])
        return np.sort(generator.choice(numbers, size=wanted, replace=False))
