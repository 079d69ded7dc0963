"""What is kept of each unit while a folder is prepared: its record, and the documents it held out.

``unfinished/NNNNN.json`` is the record, written last; ``unfinished/NNNNN.jsonl`` has the documents, a line each.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chatmusician.data.documents import Document
from chatmusician.data.shards import ShardRecord, write_bytes, write_json
from chatmusician.data.units import Rejection

UNFINISHED = "unfinished"
"""The folder in a prepared one that is there while it is not finished."""


@dataclass(frozen=True, kw_only=True)
class UnitRecord:
    """A unit that is done. ``shard`` is None where it had no training document."""

    shard: ShardRecord | None
    held_out: bool
    """Whether there is a file of held-out documents."""
    rejections: tuple[Rejection, ...]
    rows: int
    files: int

    def save(self, directory: Path, number: int) -> None:
        """Write the record: the unit is done."""
        write_json(_path(directory, number), asdict(self))

    @classmethod
    def load(cls, directory: Path, number: int) -> "UnitRecord | None":
        """The record of a unit; None where it is not done."""
        try:
            content = json.loads(_path(directory, number).read_text())
            return cls(
                shard=ShardRecord(**content["shard"]) if content["shard"] else None,
                held_out=content["held_out"],
                rejections=tuple(Rejection(**rejection) for rejection in content["rejections"]),
                rows=content["rows"],
                files=content["files"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_whole(self, directory: Path, number: int) -> bool:
        """Whether the shard of the unit is there as it was written, and what it held out is there too."""
        if self.held_out and not _path(directory, number).with_suffix(".jsonl").exists():
            return False
        if self.shard is None:
            return True
        try:
            content = (directory / "train" / self.shard.name).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(content).hexdigest() == self.shard.sha256


def write_held_out(directory: Path, number: int, documents: Sequence[tuple[str, Document]]) -> bool:
    """Keep the held-out documents of a unit with their splits; whether there are any."""
    if documents:
        lines = (json.dumps({"split": split, **asdict(document)}) + "\n" for split, document in documents)
        write_bytes(_path(directory, number).with_suffix(".jsonl"), "".join(lines).encode())
    return bool(documents)


def read_held_out(directory: Path, number: int) -> Iterator[tuple[str, Document]]:
    """The held-out documents of a unit."""
    path = _path(directory, number).with_suffix(".jsonl")
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            fields = json.loads(line)
            split, trained = fields.pop("split"), tuple(map(tuple, fields.pop("trained")))
            yield split, Document(trained=trained, **fields)


def _path(directory: Path, number: int) -> Path:
    return directory / UNFINISHED / f"{number:05d}.json"
