from hashlib import sha256
from pathlib import Path

import pytest

from chatmusician.data.documents import chat_document, plain_document
from chatmusician.data.shards import ShardRecord
from chatmusician.data.unit_records import UnitRecord, read_held_out, write_held_out
from chatmusician.data.units import Rejection

CONTENT = b"a shard"
SHARD = ShardRecord(
    name="00007.arrow",
    sha256=sha256(CONTENT).hexdigest(),
    documents=2,
    rows=1,
    tokens=9,
    trained_tokens=8,
    trained_bytes=20,
    sources={"caf\udce9.jsonl": {"documents": 2, "tokens": 9}},  # a name that is not UTF-8
    fates={"drop": 1},
)
REJECTIONS = (
    Rejection(file="caf\udce9.jsonl", line=3, reason="no 'text'"),
    Rejection(file="b.parquet", line=0, reason="no Parquet", lost_file=True),
)
HELD_OUT = [
    ("validation", plain_document("é\n🎵", source="a", origin="a:1")),
    ("test", chat_document("Name the key.", "G", source="b")),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("unfinished", "train"):
        (tmp_path / name).mkdir()
    (tmp_path / "train" / "00007.arrow").write_bytes(CONTENT)
    return tmp_path


def saved(folder: Path, *, shard: ShardRecord | None = SHARD, held_out: bool = True) -> UnitRecord:
    kept = write_held_out(folder, 7, HELD_OUT if held_out else [])
    record = UnitRecord(shard=shard, held_out=kept, rejections=REJECTIONS, rows=12, files=2)
    record.save(folder, 7)
    return record


def test_a_record_and_what_was_held_out_come_back(folder: Path) -> None:
    record = saved(folder)
    assert UnitRecord.load(folder, 7) == record
    assert record.is_whole(folder, 7)
    assert list(read_held_out(folder, 7)) == HELD_OUT
    assert UnitRecord.load(folder, 8) is None
    assert list(read_held_out(folder, 8)) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"shard": null}', '{"shard": {"name": "a"}}'])
def test_what_is_no_record_is_a_unit_that_is_not_done(folder: Path, content: str) -> None:
    (folder / "unfinished" / "00007.json").write_text(content)
    assert UnitRecord.load(folder, 7) is None


def test_a_unit_without_documents_is_whole_without_files(folder: Path) -> None:
    (folder / "train" / "00007.arrow").unlink()
    assert saved(folder, shard=None, held_out=False).is_whole(folder, 7)
    assert [path.name for path in (folder / "unfinished").iterdir()] == ["00007.json"]


@pytest.mark.parametrize("content", [None, b"", b"another"])
def test_a_unit_whose_shard_is_not_there_as_it_was_written_is_not_whole(folder: Path, content: bytes | None) -> None:
    record = saved(folder)
    shard = folder / "train" / "00007.arrow"
    shard.unlink()
    if content is not None:
        shard.write_bytes(content)
    assert not record.is_whole(folder, 7)


def test_a_unit_whose_held_out_documents_are_gone_is_not_whole(folder: Path) -> None:
    record = saved(folder)
    (folder / "unfinished" / "00007.jsonl").unlink()
    assert not record.is_whole(folder, 7)
