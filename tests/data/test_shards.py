import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.packing import PackedWindow
from chatmusician.data.shards import (
    Manifest,
    ShardRecord,
    SplitManifest,
    load_manifest,
    write_bytes,
    write_shard,
)
from chatmusician.errors import UserError

ROWS = PackedWindow(
    ids=np.array([[5, 6, 7, 0], [1, 2, 3, 65535]], np.uint32),
    loss_mask=np.array([[False, True, True, False], [False, True, False, True]]),
    lengths=np.array([3, 2, 2]),
    texts=np.array([0, 2, 1]),
    document_bytes=np.array([9, 1, 3]),
    ends=np.array([1, 3]),
    trained_tokens=np.array([2, 2]),
    trained_bytes=np.array([9, 4]),
)


def some(first: int, last: int) -> PackedWindow:
    """The rows ``first`` to ``last``."""
    ends = np.append(0, ROWS.ends)
    documents = slice(ends[first], ends[last])
    return PackedWindow(
        ids=ROWS.ids[first:last],
        loss_mask=ROWS.loss_mask[first:last],
        lengths=ROWS.lengths[documents],
        texts=ROWS.texts[documents],
        document_bytes=ROWS.document_bytes[documents],
        ends=ROWS.ends[first:last] - ends[first],
        trained_tokens=ROWS.trained_tokens[first:last],
        trained_bytes=ROWS.trained_bytes[first:last],
    )


def write(path: Path, rows: PackedWindow = ROWS, *, dtype: type = np.uint16) -> ShardRecord:
    texts = ["reels", "reels", "jigs", "hornpipes"]  # the last left no token
    return write_shard(rows, path, dtype=np.dtype(dtype), texts=texts, fates={"drop": 1})


def test_rows_come_back(tmp_path: Path) -> None:
    record = write(tmp_path / "00000.arrow")
    assert (record.rows, record.tokens, record.trained_tokens, record.trained_bytes) == (2, 7, 4, 13)
    rows = PackedRows(tmp_path, SplitManifest(shards=(record,)), seq_len=4)
    assert len(rows) == 2
    ids, mask, lengths = rows[1]
    assert ids.tolist() == [1, 2, 3, 65535]
    assert mask.tolist() == [False, True, False, True]
    assert lengths == [2, 2]
    assert rows.trained_tokens(np.array([0, 1])) == 4
    assert [rows.read([row]).trained_bytes for row in (0, 1)] == [9, 4]


def test_rows_know_their_sources(tmp_path: Path) -> None:
    """A reel; a jig and a reel. In another shard what was number 1 is number 0, and padding is of the last tune."""
    one = write(tmp_path / "00000.arrow")
    other = write_shard(
        some(0, 1), tmp_path / "00001.arrow", dtype=np.dtype(np.uint16), texts=["jigs", "reels", "reels"], fates={}
    )
    rows = PackedRows(tmp_path, SplitManifest(shards=(one, other)), seq_len=4)
    assert rows.sources == ("hornpipes", "jigs", "reels")
    found = rows.read_sources([1, 0, 2])
    assert found.of_tokens.tolist() == [[1, 1, 2, 2], [2, 2, 2, 2], [1, 1, 1, 1]]
    assert found.trained_bytes.tolist() == [0, 1 + 9, 3 + 9]
    assert rows.read_sources([]).of_tokens.shape == (0, 4)


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path, row: int) -> None:
    rows = PackedRows(tmp_path, SplitManifest(shards=(write(tmp_path / "00000.arrow"),)), seq_len=4)
    with pytest.raises(IndexError, match=f"row {row} of 2"):
        rows[row]


def test_rows_are_numbered_over_shards_and_empty_shards_are_skipped(tmp_path: Path) -> None:
    contents = (some(0, 1), some(1, 1), some(1, 2))
    shards = tuple(write(tmp_path / f"{index:05d}.arrow", rows) for index, rows in enumerate(contents))
    rows = PackedRows(tmp_path, SplitManifest(shards=shards), seq_len=4)
    assert [rows[index][0].tolist() for index in range(2)] == [[5, 6, 7, 0], [1, 2, 3, 65535]]
    assert SplitManifest(shards=shards).total("rows") == 2
    assert len(PackedRows(tmp_path, SplitManifest(shards=()), seq_len=4)) == 0


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_ids_have_the_type_asked_for(tmp_path: Path, dtype: type) -> None:
    rows = PackedRows(tmp_path, SplitManifest(shards=(write(tmp_path / "a.arrow", dtype=dtype),)), seq_len=4)
    assert rows[0][0].dtype == dtype


def test_datasets_reads_a_shard(tmp_path: Path) -> None:
    write(tmp_path / "00000.arrow")
    dataset = Dataset.from_file(str(tmp_path / "00000.arrow"))
    assert dataset[0]["ids"] == [5, 6, 7, 0]
    assert dataset[1]["lengths"] == [2, 2]
    assert (dataset[0]["sources"], dataset[1]["sources"]) == ([2], [1, 2])  # hornpipes, jigs, reels


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a.arrow").sha256 == write(tmp_path / "b.arrow").sha256


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    assert load_manifest(tmp_path) is None
    record = write(tmp_path / "00000.arrow")
    manifest = Manifest(settings={"seq_len": 4}, splits={"train": SplitManifest(shards=(record, record))})
    manifest.save(tmp_path)
    assert load_manifest(tmp_path) == manifest


def test_totals_are_written_for_people(tmp_path: Path) -> None:
    record = write(tmp_path / "00000.arrow")
    other = replace(record, sources={"jigs": {"documents": 1, "tokens": 2}}, fates={"drop": 2, "empty": 1})
    Manifest(settings={"seq_len": 4}, splits={"train": SplitManifest(shards=(record, other))}).save(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["summary"]["train"] == {
        "documents": 8,
        "rows": 4,
        "tokens": 14,
        "trained_tokens": 8,
        "trained_bytes": 26,
        "fill": 0.875,  # 14 of 4 x 4
        "overlong_or_empty": {"drop": 3, "empty": 1},
        "sources": {
            "hornpipes": {"documents": 0, "tokens": 0},
            "jigs": {"documents": 2, "tokens": 4},
            "reels": {"documents": 2, "tokens": 5},
        },
    }


@pytest.mark.parametrize("content", ["", "[]", '{"settings": {}}', '{"settings": {}, "shards": {"train": [{}]}}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest.json is not a manifest .*remove the folder"):
        load_manifest(tmp_path)


def test_a_file_is_replaced_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
