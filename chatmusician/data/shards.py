"""Packed rows on disk: Arrow shards and a manifest.

A prepared folder::

    manifest.json            what it was made from and what is in it; written last, so its presence means "whole"
    tokenizer/               the tokenizer, where it was trained for this data
    train/00000.arrow        one window of documents, packed; an Arrow stream that ``datasets`` reads too
    train/00000.json         the shard's record: counts and checksum
    quarantine.jsonl         what the corpus rejected: file, line, reason
    unfinished.json          while preparing: what was asked for, so that only work for the same is gone on with

Each row holds ``ids`` (uint16 where the vocabulary allows, else uint32) and ``loss_mask`` (uint8, 0 or 1), both of
exactly ``seq_len``, and ``lengths``, the tokens of each document in order. A shard is a function of its window of
documents alone, so the bytes do not depend on the number of workers, and a run that was stopped goes on after its last
whole shard. Every file is written under a temporary name and renamed.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from chatmusician.data.packing import Row
from chatmusician.errors import UserError

MANIFEST = "manifest.json"


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

    def save(self, directory: Path) -> None:
        """Write ``manifest.json`` atomically, with totals a person can read in front of the shard records."""
        summary = {name: self._summary(split) for name, split in self.splits.items()}
        shards = {name: [asdict(shard) for shard in split.shards] for name, split in self.splits.items()}
        write_json(directory / MANIFEST, {"settings": self.settings, "summary": summary, "shards": shards})

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
        return Manifest(settings=content["settings"], splits=splits)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a manifest ({error!r}); remove the folder to prepare it anew") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to disk and rename it: it is never seen half-written."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_shard(
    rows: Sequence[Row],
    path: Path,
    *,
    dtype: np.dtype,
    seq_len: int,
    documents: int,
    sources: dict[str, dict[str, int]],
    fates: dict[str, int],
) -> ShardRecord:
    """Write rows as an Arrow stream, and the shard's record beside it."""
    ids = np.stack([row.ids for row in rows]).astype(dtype) if rows else np.zeros((0, seq_len), dtype)
    masks = np.stack([row.loss_mask for row in rows]) if rows else np.zeros((0, seq_len), np.bool_)
    batch = pa.record_batch(
        {
            "ids": pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), seq_len),
            "loss_mask": pa.FixedSizeListArray.from_arrays(pa.array(masks.ravel().astype(np.uint8)), seq_len),
            "lengths": pa.array([list(row.lengths) for row in rows], type=pa.list_(pa.uint32())),
            "trained_tokens": pa.array([row.trained_tokens for row in rows], type=pa.uint32()),
            "trained_bytes": pa.array([row.trained_bytes for row in rows], type=pa.uint32()),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content = sink.getvalue().to_pybytes()
    write_bytes(path, content)
    record = ShardRecord(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        documents=documents,
        rows=len(rows),
        tokens=sum(sum(row.lengths) for row in rows),
        trained_tokens=sum(row.trained_tokens for row in rows),
        trained_bytes=sum(row.trained_bytes for row in rows),
        sources=sources,
        fates=fates,
    )
    write_json(path.with_suffix(".json"), asdict(record))
    return record


def finished_shard(path: Path) -> ShardRecord | None:
    """The record of a shard that is already there and whole; None where it has to be written."""
    try:
        record = ShardRecord(**json.loads(path.with_suffix(".json").read_text()))
        content = path.read_bytes()
    except (OSError, ValueError, TypeError):
        return None
    return record if hashlib.sha256(content).hexdigest() == record.sha256 else None
