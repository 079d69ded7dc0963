"""One shard opened: held against the checksum in its record, then memory-mapped, its columns as arrays.

Training reads rows so (`chatmusician.data.packed_rows`), and a look at prepared data all of a shard
(`chatmusician.data.inspection`). The checksum reads a shard once, at 1.5 GB/s on the machine of
``experiments/README.md``: 3 ms for one of 4.6 MB, or 4 microseconds a row of 2,048 tokens. The file is read for that
and not hashed through the map, since a disk that fails is then an error and not the end of the process.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chatmusician.data.shards import ShardRecord
from chatmusician.errors import UserError

PREPARE_ANEW = "remove the folder to prepare it anew"


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardColumns:
    """A mapped shard of R rows of T tokens, with D documents in all."""

    ids: npt.NDArray[Any]
    """[R, T]"""
    loss_mask: npt.NDArray[np.bool_]
    """[R, T]"""
    lengths: npt.NDArray[np.uint32]
    """Tokens of each document, [D]."""
    sources: npt.NDArray[np.uint32]
    """Of each document the index of its source among those of the record, sorted by name, [D]."""
    document_bytes: npt.NDArray[np.uint32]
    """Of each document the bytes that bear loss, [D]."""
    offsets: npt.NDArray[np.int32]
    """Documents before each row, and in all, [R + 1]."""
    trained_tokens: npt.NDArray[np.uint32]
    """[R]"""
    trained_bytes: npt.NDArray[np.uint32]
    """[R]"""


def open_shard(
    path: Path, record: ShardRecord, *, seq_len: int, remedy: str = PREPARE_ANEW, verify: bool = True
) -> ShardColumns:
    """Map a shard whose rows have ``seq_len`` tokens; without ``verify`` its checksum is taken to be right.

    Raises:
        UserError: the file is missing, is not the one of the record or is no shard; ``remedy`` ends the message.
    """
    try:
        if verify:
            _verify(path, record)
        return _map(path, seq_len=seq_len)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"shard {path} cannot be read ({reason}); {remedy}") from error


def _verify(path: Path, record: ShardRecord) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != record.sha256:
        raise ValueError(f"its sha256 is {found[:12]}.., not {record.sha256[:12]}.. as when it was written")


def _map(path: Path, *, seq_len: int) -> ShardColumns:
    with pa.memory_map(str(path)) as source:
        columns = pa.ipc.open_stream(source).read_next_batch()
    lengths = columns.column("lengths")
    return ShardColumns(
        ids=_numbers(columns.column("ids").values).reshape(-1, seq_len),
        loss_mask=_numbers(columns.column("loss_mask").values).reshape(-1, seq_len).view(np.bool_),
        lengths=_numbers(lengths.values),
        sources=_numbers(columns.column("sources").values),
        document_bytes=_numbers(columns.column("document_bytes").values),
        offsets=_numbers(lengths.offsets),
        trained_tokens=_numbers(columns.column("trained_tokens")),
        trained_bytes=_numbers(columns.column("trained_bytes")),
    )


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    """An array without nulls, not copied. pyarrow's ``to_numpy`` would import pandas: 0.2 s before the first batch."""
    return np.frombuffer(array.buffers()[1], dtype=str(array.type), count=len(array))
