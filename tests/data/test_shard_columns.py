import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prepared_folders import prepare_documents

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.shard_columns import ShardColumns, open_shard
from chatmusician.data.shards import ShardRecord, load_manifest
from chatmusician.errors import UserError

COLUMNS = ("ids", "loss_mask", "lengths", "sources", "document_bytes", "trained_tokens", "trained_bytes")
DOCUMENTS = [
    plain_document("abc", source="reels"),
    plain_document("€", source="jigs"),  # three bytes, of which the first bears no loss
    Document(text="abcdef", trained=((4, 6),), source="reels"),
]


@pytest.fixture
def record(tmp_path: Path) -> ShardRecord:
    """Of ``shard.arrow``, whose rows are ``abcdef..`` and ``abc€..``."""
    manifest = load_manifest(prepare_documents(tmp_path / "prepared", {"train": DOCUMENTS}, seq_len=8))
    assert manifest is not None
    (tmp_path / "prepared" / "train" / "00000.arrow").rename(tmp_path / "shard.arrow")
    return manifest.splits["train"].shards[0]


def open_it(tmp_path: Path, record: ShardRecord) -> ShardColumns:
    return open_shard(tmp_path / "shard.arrow", record, seq_len=8, remedy="ask a friend")


def refusal_of(tmp_path: Path, record: ShardRecord) -> str:
    with pytest.raises(UserError) as refusal:
        open_it(tmp_path, record)
    return str(refusal.value)


def test_columns_are_those_of_the_documents(tmp_path: Path, record: ShardRecord) -> None:
    columns = open_it(tmp_path, record)
    assert columns.ids.shape == (2, 8)
    assert columns.ids[0, :3].tolist() == columns.ids[1, :3].tolist()
    assert columns.loss_mask.astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 0, 0]]
    assert columns.lengths.tolist() == [6, 3, 3]
    assert columns.offsets.tolist() == [0, 1, 3]
    assert columns.sources.tolist() == [1, 1, 0]  # jigs, reels
    assert columns.document_bytes.tolist() == [2, 3, 3]
    assert columns.trained_tokens.tolist() == [2, 4]
    assert columns.trained_bytes.tolist() == [2, 6]


def place_of(column: str, path: Path) -> int:
    """Where in a shard's file the last byte of a column lies."""
    with pa.memory_map(str(path)) as source:
        whole = source.read_buffer()
        values = pa.ipc.open_stream(pa.BufferReader(whole)).read_next_batch().column(column).buffers()[-1]
        return values.address - whole.address + values.size - 1


@pytest.mark.parametrize("column", COLUMNS)
def test_a_flipped_bit_is_found_in_every_column(tmp_path: Path, record: ShardRecord, column: str) -> None:
    path = tmp_path / "shard.arrow"
    content = bytearray(path.read_bytes())
    content[place_of(column, path)] ^= 1
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    assert refusal_of(tmp_path, record) == (
        f"shard {path} cannot be read (its sha256 is {found[:12]}.., not {record.sha256[:12]}.. as when it was "
        "written); ask a friend"
    )
    columns = open_shard(path, record, seq_len=8, verify=False)
    assert columns.lengths.shape == (3,)


@pytest.mark.parametrize("kept", [0, 7, -8])
def test_a_shortened_shard_is_named(tmp_path: Path, record: ShardRecord, kept: int) -> None:
    path = tmp_path / "shard.arrow"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal_of(tmp_path, record).startswith(f"shard {path} cannot be read (its sha256 is ")


def test_a_missing_shard_is_named(tmp_path: Path, record: ShardRecord) -> None:
    (tmp_path / "shard.arrow").unlink()
    assert refusal_of(tmp_path, record) == (
        f"shard {tmp_path}/shard.arrow cannot be read (No such file or directory); ask a friend"
    )


def as_written(path: Path, record: ShardRecord) -> ShardRecord:
    """The record of what a file holds now."""
    return replace(record, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    with pa.OSFile(str(path)) as source:
        table = change(pa.ipc.open_stream(source).read_all())
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("content", [b"", b"no arrow"])
def test_what_was_written_as_no_shard_is_named(tmp_path: Path, record: ShardRecord, content: bytes) -> None:
    path = tmp_path / "shard.arrow"
    path.write_bytes(content)
    refusal = refusal_of(tmp_path, as_written(path, record))
    assert refusal.startswith(f"shard {path} cannot be read (")
    assert refusal.endswith("); ask a friend")
    assert "\n" not in refusal


@pytest.mark.parametrize("column", COLUMNS)
def test_a_shard_that_lacks_a_column_is_named(tmp_path: Path, record: ShardRecord, column: str) -> None:
    path = tmp_path / "shard.arrow"
    rewrite(path, lambda table: table.drop_columns([column]))
    refusal = refusal_of(tmp_path, as_written(path, record))
    assert refusal.startswith(f"shard {path} cannot be read (")
    assert column in refusal


def test_columns_that_others_add_are_left_alone(tmp_path: Path, record: ShardRecord) -> None:
    path = tmp_path / "shard.arrow"
    mapped = open_it(tmp_path, record)
    expected = {column: getattr(mapped, column).copy() for column in (*COLUMNS, "offsets")}  # the file is overwritten
    rewrite(path, lambda table: table.add_column(0, "origins", pa.array([["a"], ["b", "c"]])))
    found = open_it(tmp_path, as_written(path, record))
    for column, values in expected.items():
        assert np.array_equal(getattr(found, column), values)
