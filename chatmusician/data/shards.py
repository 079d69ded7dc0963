"""Packed rows on disk: Arrow shards and a manifest.

A prepared folder::

    manifest.json            what it was made from and what is in it; written last, so its presence means "whole"
    tokenizer/               the tokenizer that the ids are of
    train/00000.arrow        one unit of the corpus, packed; an Arrow stream that ``datasets`` reads too
    quarantine.jsonl         what the corpus rejected: file, line, reason
    unfinished/              while preparing: what was asked for, so that only work for the same is gone on with, and
                             what is done (`chatmusician.data.unit_records`)

Each row holds ``ids`` (uint16 where the vocabulary allows, else uint32) and ``loss_mask`` (uint8, 0 or 1), both of
exactly ``seq_len``, ``lengths``, the tokens of each document in order, ``sources``, which of the record's sources each
is of, and ``document_bytes``, how many bytes of it bear loss. A shard is a function of its unit alone, so the bytes do
not depend on the number of workers, and a run that was stopped goes on with what is not done. Every file is written
under a temporary name and renamed.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chatmusician.data.packing import PackedWindow
from chatmusician.errors import UserError

MANIFEST = "manifest.json"

FORMAT = 2
"""Of prepared folders; those of another are refused. 2 has the trained bytes of each document."""


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What one shard holds. ``sources`` counts documents and tokens by source, ``fates`` overlong and empty ones."""

    name: str
    sha256: str
    documents: int
    rows: int
    tokens: int
    trained_tokens: int
    trained_bytes: int
    sources: dict[str, dict[str, int]]
    fates: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SplitManifest:
    """The shards of one split, in order."""

    shards: tuple[ShardRecord, ...]

    def total(self, quantity: str) -> int:
        """The sum of a count (``rows``, ``tokens``, ...) over the shards."""
        return sum(getattr(shard, quantity) for shard in self.shards)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a prepared folder was made from (``settings``) and what it holds."""

    settings: dict[str, Any]
    splits: dict[str, SplitManifest] = field(default_factory=dict)
    draw: dict[str, Any] = field(default_factory=dict)
    """What was drawn of each pool of a mixture, and what was not there; see `chatmusician.data.mixtures.Plan`."""

    def save(self, directory: Path) -> None:
        """Write ``manifest.json`` atomically, with totals a person can read in front of the shard records."""
        summary = {name: self._summary(split) for name, split in self.splits.items()}
        shards = {name: [asdict(shard) for shard in split.shards] for name, split in self.splits.items()}
        content = {"settings": self.settings, "draw": self.draw, "summary": summary, "shards": shards}
        write_json(directory / MANIFEST, content)

    def _summary(self, split: SplitManifest) -> dict[str, Any]:
        sources: dict[str, dict[str, int]] = {}
        fates: dict[str, int] = {}
        for shard in split.shards:
            for source, counts in shard.sources.items():
                total = sources.setdefault(source, {"documents": 0, "tokens": 0})
                for quantity, count in counts.items():
                    total[quantity] += count
            for fate, count in shard.fates.items():
                fates[fate] = fates.get(fate, 0) + count
        quantities = ("documents", "rows", "tokens", "trained_tokens", "trained_bytes")
        totals = {quantity: split.total(quantity) for quantity in quantities}
        space = totals["rows"] * self.settings["seq_len"]
        fill = round(totals["tokens"] / space, 5) if space else 0.0
        return {**totals, "fill": fill, "overlong_or_empty": fates, "sources": sources}

    def summary(self) -> dict[str, Any]:
        """Totals by split: documents, rows, tokens, fill, sources, and what became of overlong documents."""
        return {name: self._summary(split) for name, split in self.splits.items()}


def load_manifest(directory: Path) -> Manifest | None:
    """The manifest of a prepared folder; None where there is none, that is where preparing has not finished.

    Raises:
        UserError: the file is not a manifest.
    """
    path = directory / MANIFEST
    try:
        content = json.loads(path.read_text())
        splits = {
            name: SplitManifest(shards=tuple(ShardRecord(**shard) for shard in shards))
            for name, shards in content["shards"].items()
        }
        return Manifest(settings=content["settings"], splits=splits, draw=content["draw"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a manifest ({error!r}); remove the folder to prepare it anew") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically. Half a surrogate pair, in the name of a file, is an escape as JSON has it."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file under a temporary name, flush it to disk and rename it: it is never seen half-written.

    Nor is it if a process that is about to end, or is taken for dead on a cluster, writes the same file.
    """
    partial = path.with_name(f"{path.name}.{token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_shard(
    window: PackedWindow,
    path: Path,
    *,
    dtype: np.dtype,
    texts: Sequence[str],
    fates: dict[str, int],
) -> ShardRecord:
    """Write packed rows as an Arrow stream; a file and its record are the same wherever and however often made.

    Args:
        window: the rows.
        path: of the file.
        dtype: of ids.
        texts: the source of each text that was read; `PackedWindow.texts` are places in it.
        fates: how many documents were overlong or empty.
    """
    rows, seq_len = window.ids.shape
    names, of_text = np.unique(np.array(texts, dtype=object), return_inverse=True)
    of_document = of_text[window.texts]
    offsets = _arrow(np.append(0, window.ends), pa.int32())
    batch = pa.record_batch(
        {
            "ids": pa.FixedSizeListArray.from_arrays(_arrow(window.ids, pa.from_numpy_dtype(dtype)), seq_len),
            "loss_mask": pa.FixedSizeListArray.from_arrays(_arrow(window.loss_mask, pa.uint8()), seq_len),
            "lengths": pa.ListArray.from_arrays(offsets, _arrow(window.lengths, pa.uint32())),
            "sources": pa.ListArray.from_arrays(offsets, _arrow(of_document, pa.uint32())),
            "document_bytes": pa.ListArray.from_arrays(offsets, _arrow(window.document_bytes, pa.uint32())),
            "trained_tokens": _arrow(window.trained_tokens, pa.uint32()),
            "trained_bytes": _arrow(window.trained_bytes, pa.uint32()),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content = sink.getvalue()
    write_bytes(path, content)
    documents = np.bincount(of_text[np.unique(window.texts)], minlength=len(names))
    tokens = np.bincount(of_document, window.lengths, len(names))
    return ShardRecord(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        documents=len(texts),
        rows=rows,
        tokens=int(window.lengths.sum()),
        trained_tokens=int(window.trained_tokens.sum()),
        trained_bytes=int(window.trained_bytes.sum()),
        sources={
            name: {"documents": int(documents[number]), "tokens": int(tokens[number])}
            for number, name in enumerate(names)
        },
        fates=fates,
    )


def _arrow(numbers: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Numbers as a flat Arrow array. ``pa.array`` would import pandas, which takes a worker 0.2 s."""
    flat = np.ascontiguousarray(numbers, dtype=kind.to_pandas_dtype()).ravel()
    return pa.Array.from_buffers(kind, len(flat), [None, pa.py_buffer(flat)])
