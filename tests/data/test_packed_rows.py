import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from plain_reading import read_plainly
from tiny_corpus import prepare_words

from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.shards import Manifest
from chatmusician.errors import UserError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return prepare_words(tmp_path)


def rows_of(directory: Path, manifest: Manifest, *, open_shards: int = 100) -> PackedRows:
    return PackedRows(directory / "train", manifest.splits["train"], seq_len=16, open_shards=open_shards)


def mapped(directory: Path) -> int:
    """Shards that this process has mapped."""
    return Path("/proc/self/maps").read_text().count(f"{directory}/train/")


@pytest.mark.parametrize("open_shards", [1, 3, 100])
def test_rows_in_any_order_are_those_of_a_plain_reading(tmp_path: Path, manifest: Manifest, open_shards: int) -> None:
    plain = read_plainly(tmp_path)
    rows = rows_of(tmp_path, manifest, open_shards=open_shards)
    assert len(rows) == len(plain) > 40
    numbers = list(range(len(plain))) * 2
    random.Random(0).shuffle(numbers)
    for first in range(0, len(numbers), 3):
        batch = numbers[first : first + 3]
        read = rows.read(batch)
        assert read.ids.tolist() == [plain[row].ids for row in batch]
        assert read.loss_mask.astype(int).tolist() == [plain[row].loss_mask for row in batch]
        padded = [[*plain[row].lengths, 16 - sum(plain[row].lengths)] for row in batch]
        assert read.lengths.tolist() == [length for lengths in padded for length in lengths]
        assert read.trained_bytes == sum(plain[row].trained_bytes for row in batch)
        assert rows.trained_tokens(np.array(batch)) == sum(sum(plain[row].loss_mask) for row in batch)
        ids, mask, lengths = rows[batch[0]]
        assert (ids.tolist(), mask.tolist(), lengths) == (
            plain[batch[0]].ids,
            plain[batch[0]].loss_mask,
            plain[batch[0]].lengths,
        )


def test_no_rows_are_read_as_none(tmp_path: Path, manifest: Manifest) -> None:
    read = rows_of(tmp_path, manifest).read([])
    assert (read.ids.shape, read.loss_mask.shape, read.lengths.shape, read.trained_bytes) == ((0, 16), (0, 16), (0,), 0)


def test_shards_are_mapped_when_they_are_needed_and_only_so_many(tmp_path: Path, manifest: Manifest) -> None:
    files = len(list(Path("/proc/self/fd").iterdir()))
    shards = manifest.splits["train"].shards
    rows = rows_of(tmp_path, manifest, open_shards=3)
    assert mapped(tmp_path) == 0
    rows.read([0])
    assert mapped(tmp_path) == 1
    starts = np.cumsum([0, *(shard.rows for shard in shards)])[:-1]
    assert len(starts) == 12
    rows.read(starts.tolist())
    assert rows.trained_tokens(starts) > 0
    assert mapped(tmp_path) == 3
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def test_a_shard_that_is_not_needed_may_be_missing(tmp_path: Path, manifest: Manifest) -> None:
    first, second = manifest.splits["train"].shards[:2]
    (tmp_path / "train" / second.name).unlink()
    rows = rows_of(tmp_path, manifest)
    rows.read(range(first.rows))
    assert rows.trained_tokens(np.arange(first.rows)) == first.trained_tokens
    message = r"^shard \S*/train/00001.arrow cannot be read \(No such file or directory\); remove the folder to prepare"
    with pytest.raises(UserError, match=message):
        rows.read([first.rows])
    with pytest.raises(UserError, match=message):
        rows.trained_tokens(np.array([0, first.rows]))


def test_a_spawned_process_gets_the_places_and_no_rows(tmp_path: Path, manifest: Manifest) -> None:
    rows = rows_of(tmp_path, manifest)
    unopened = len(pickle.dumps(rows))
    everything = range(len(rows))
    expected = rows.read(everything)
    sent = pickle.dumps(rows)
    assert len(sent) == unopened
    again = pickle.loads(sent)
    assert np.array_equal(again.read(everything).ids, expected.ids)
    (tmp_path / "train" / "00000.arrow").unlink()
    with pytest.raises(UserError, match=r"00000.arrow cannot be read"):
        pickle.loads(sent).read([0])
    assert np.array_equal(rows.read([0]).ids, expected.ids[:1])
