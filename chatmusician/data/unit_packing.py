"""From a unit of the corpus to its shard: what an engine does with each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatmusician.data.documents import Document
from chatmusician.data.packing import pack
from chatmusician.data.shards import ShardRecord, write_shard
from chatmusician.data.tokenizing import DocumentTokenizer
from chatmusician.data.unit_records import UnitRecord, write_held_out
from chatmusician.data.units import Unit


@dataclass(frozen=True, kw_only=True)
class PackUnit:
    """Reads, tokenises and packs a unit and writes its shard, unless that is done; the task of an engine.

    It holds no tokenizer of transformers, whose import would take a worker longer than 20 MB of text.
    """

    tokenize: DocumentTokenizer
    dtype: np.dtype
    directory: Path
    packs_training: bool = True

    def __call__(self, job: tuple[int, Unit]) -> UnitRecord:
        """Do the unit of a number; its record."""
        number, unit = job
        path = self.directory / "train" / f"{number:05d}.arrow"
        if (record := UnitRecord.load(self.directory, number)) is not None and record.is_whole(self.directory, number):
            return record
        reading = unit.read()
        training = [document for split, document in reading.documents if split == "train" and self.packs_training]
        held_out = [(split, document) for split, document in reading.documents if split != "train"]
        record = UnitRecord(
            shard=self.write(training, path) if training else None,
            held_out=write_held_out(self.directory, number, held_out),
            rejections=tuple(reading.rejections),
            rows=reading.rows,
            files=reading.files,
        )
        record.save(self.directory, number)
        return record

    def write(self, documents: Sequence[Document], path: Path) -> ShardRecord:
        """Pack documents into a shard."""
        tokens, fates = self.tokenize(documents)
        window = pack(tokens, seq_len=self.tokenize.seq_len, pad_id=self.tokenize.pad_id)
        texts = [document.source for document in documents]
        return write_shard(window, path, dtype=self.dtype, texts=texts, fates=fates)
