"""Small prepared folders for the tests of this folder: documents in memory, and shards changed by hand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from chatmusician.data.documents import Document
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.shards import Manifest, SplitManifest, load_manifest
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.data.units import Rejection

BYTES = TrainedTokenizer(vocab_size=259)
"""One token a byte, so that everything can be counted by hand."""


@dataclass(frozen=True)
class Documents:
    """A corpus of documents, by split."""

    splits: Mapping[str, Sequence[Document]]
    rejected: Sequence[Rejection] = field(default=())

    def describe(self) -> dict[str, Any]:
        return {"documents": {split: [repr(document) for document in these] for split, these in self.splits.items()}}

    def documents(self, split: str) -> Iterator[Document]:
        yield from self.splits.get(split, ())

    def rejections(self) -> Sequence[Rejection]:
        return self.rejected


def prepare_documents(
    directory: Path,
    splits: Mapping[str, Sequence[Document]],
    *,
    seq_len: int = 64,
    eos: bool = False,
    window: int = 4096,
    overlong: str = "split",
    rejected: Sequence[Rejection] = (),
) -> Path:
    """Prepare documents with a tokenizer of bytes; the folder."""
    settings = PackingSettings(seq_len=seq_len, eos=eos, window=window, overlong=overlong)
    prepare(corpus=Documents(splits, rejected), tokenizer=BYTES, settings=settings, directory=directory)
    return directory


def bytes_of(directory: Path) -> dict[str, str]:
    """The hash of every file but the lock."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest() for path in files}


def rewrite_shard(directory: Path, split: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write the first shard of a split anew with other columns, and its checksum into the manifest."""
    path = directory / split / "00000.arrow"
    with pa.memory_map(str(path)) as source:
        table = change(pa.ipc.open_stream(source).read_all())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    path.write_bytes(content)
    manifest = load_manifest(directory)
    assert manifest is not None
    first, *others = manifest.splits[split].shards
    shards = (replace(first, sha256=sha256(content).hexdigest()), *others)
    Manifest(settings=manifest.settings, splits={**manifest.splits, split: SplitManifest(shards=shards)}).save(
        directory
    )


def without_sources(table: pa.Table) -> pa.Table:
    """A shard that does not say which document is of which source."""
    return table.select([name for name in table.column_names if name != "sources"])


def with_sources(*sources: Sequence[int]) -> Callable[[pa.Table], pa.Table]:
    """A shard whose rows have documents of these sources, by their numbers."""

    def change(table: pa.Table) -> pa.Table:
        column = pa.array(sources, type=pa.list_(pa.uint16()))
        return without_sources(table).append_column("sources", column)

    return change
