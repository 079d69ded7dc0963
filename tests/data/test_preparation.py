import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from prepared_folders import bytes_of
from tiny_corpus import Texts, write_tunes

from chatmusician.data.documents import Document
from chatmusician.data.folk import FolkTunes
from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.preparation import (
    PackingSettings,
    TokenizerSource,
    prepare,
    prepared_tokenizer,
)
from chatmusician.data.shards import Manifest
from chatmusician.data.tokenizers import PretrainedTokenizer, TrainedTokenizer, save_tokenizer, train_bpe
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError

SETTINGS = PackingSettings(seq_len=64, eos=True, window=8)
TOKENIZER = TrainedTokenizer(vocab_size=300)


@pytest.fixture(scope="module")
def abc_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tunes(tmp_path_factory.mktemp("corpus") / "tunes.abc", tunes=60)


def folk(abc_file: Path, *, keys: int = 2) -> FolkTunes:
    return FolkTunes(collections=[str(abc_file)], held_out=0.1, keys=keys)


def prepare_folk(abc_file: Path, directory: Path, *, workers: int = 1) -> Manifest:
    return prepare(corpus=folk(abc_file), tokenizer=TOKENIZER, settings=SETTINGS, directory=directory, workers=workers)


@pytest.fixture(scope="module")
def prepared(abc_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prepared")
    prepare_folk(abc_file, directory)
    return directory


def test_a_prepared_folder_holds_what_the_documents_say(abc_file: Path, prepared: Path) -> None:
    manifest = prepare_folk(abc_file, prepared)
    tokenizer = prepared_tokenizer(prepared)
    for split in ("train", "validation", "test"):
        rows = PackedRows(prepared / split, manifest.splits[split], seq_len=64)
        documents = list(folk(abc_file).documents(split))
        assert manifest.splits[split].total("documents") == len(documents)
        assert rows.read(range(len(rows))).trained_bytes == sum(document.trained_bytes for document in documents)
        texts = set()
        for index in range(len(rows)):
            ids, _, lengths = rows[index]
            for end, length in zip(accumulate(lengths), lengths, strict=True):
                texts.add(tokenizer.decode(ids[end - length : end].tolist()).removesuffix("</s>"))
        assert all(any(text in document.text for document in documents) for text in texts)
        short = [document.text for document in documents if len(tokenizer(document.text).input_ids) < 64]
        assert set(short) <= texts


def test_preparing_again_changes_nothing(abc_file: Path, prepared: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in prepared.rglob("*") if path.name != ".lock"}
    prepare_folk(abc_file, prepared)
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*") if path.name != ".lock"} == times
    assert not list(prepared.rglob("*.partial"))
    assert not (prepared / "unfinished").exists()


def test_two_workers_write_the_same_bytes(abc_file: Path, prepared: Path, tmp_path: Path) -> None:
    prepare_folk(abc_file, tmp_path, workers=2)
    assert bytes_of(tmp_path) == bytes_of(prepared)


class _Deadly(FolkTunes):
    """Folk tunes that kill the process that reads them, at one of the documents counted over all readings."""

    def __init__(self, abc_file: Path, *, deadly: int) -> None:
        super().__init__(collections=[str(abc_file)], held_out=0.1, keys=2)
        self._left = deadly

    def documents(self, split: str) -> Iterator[Document]:
        for document in super().documents(split):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield document


def _prepare_until_killed(abc_file: Path, directory: Path, deadly: int) -> None:
    prepare(corpus=_Deadly(abc_file, deadly=deadly), tokenizer=TOKENIZER, settings=SETTINGS, directory=directory)


def test_a_run_killed_several_times_ends_in_the_same_bytes(abc_file: Path, prepared: Path, tmp_path: Path) -> None:
    """Killed while it trains the tokenizer, then in the middle of writing shards, then in the validation split."""
    train = len(list(folk(abc_file).documents("train")))
    shards = []
    for deadly in (20, train + 20, 50, train + 2):
        child = multiprocessing.get_context("fork").Process(
            target=_prepare_until_killed, args=(abc_file, tmp_path, deadly)
        )
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert not (tmp_path / "manifest.json").exists()
        shards.append(len(list(tmp_path.rglob("*.arrow"))))
    assert shards == [0, 2, 6, train // 8 + 1]
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    prepare_folk(abc_file, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(prepared)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was whole was not written again


def test_a_damaged_shard_of_an_interrupted_run_is_written_anew(abc_file: Path, prepared: Path, tmp_path: Path) -> None:
    train = len(list(folk(abc_file).documents("train")))
    child = multiprocessing.get_context("fork").Process(
        target=_prepare_until_killed, args=(abc_file, tmp_path, train + 30)
    )
    child.start()
    child.join()
    shard = tmp_path / "train" / "00001.arrow"
    shard.write_bytes(shard.read_bytes()[:-1])
    prepare_folk(abc_file, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(prepared)


def test_work_for_other_settings_is_not_gone_on_with(abc_file: Path, prepared: Path, tmp_path: Path) -> None:
    """An interrupted run with a smaller vocabulary and shorter rows leaves nothing in the next one."""
    train = len(list(folk(abc_file).documents("train")))
    other = PackingSettings(seq_len=32, window=8)
    child = multiprocessing.get_context("fork").Process(
        target=prepare,
        kwargs={
            "corpus": _Deadly(abc_file, deadly=train + 30),
            "tokenizer": TrainedTokenizer(vocab_size=270),
            "settings": other,
            "directory": tmp_path,
        },
    )
    child.start()
    child.join()
    assert (tmp_path / "tokenizer").exists()
    assert list(tmp_path.rglob("*.arrow"))
    prepare_folk(abc_file, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(prepared)


KILLED_WITH_WORKERS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_preparation
if __name__ == "__main__":
    corpus = test_preparation._Deadly(Path(sys.argv[2]), deadly=int(sys.argv[4]))
    test_preparation.prepare(corpus=corpus, tokenizer=test_preparation.TOKENIZER, settings=test_preparation.SETTINGS,
                             directory=Path(sys.argv[3]), workers=2)
"""


def test_workers_end_with_the_process_that_is_killed(abc_file: Path, tmp_path: Path) -> None:
    """The pipe of their output closes, or this would wait for ever."""
    script = tmp_path / "prepare_until_killed.py"
    script.write_text(KILLED_WITH_WORKERS)
    deadly = 2 * len(list(folk(abc_file).documents("train")))
    arguments = [str(Path(__file__).parent), str(abc_file), str(tmp_path / "data"), str(deadly)]
    done = subprocess.run([sys.executable, script, *arguments], stdout=subprocess.PIPE, timeout=600, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_folder_of_an_earlier_format_is_refused(abc_file: Path, prepared: Path, tmp_path: Path) -> None:
    earlier = shutil.copytree(prepared, tmp_path / "earlier")
    manifest = json.loads((earlier / "manifest.json").read_text())
    del manifest["settings"]["format"]
    (earlier / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"was prepared otherwise: format is None there and 2 here; choose another"):
        prepare_folk(abc_file, earlier)


@pytest.mark.parametrize(
    ("settings", "tokenizer", "keys", "difference"),
    [
        (PackingSettings(seq_len=128, eos=True, window=8), TOKENIZER, 2, "seq_len is 64 there and 128 here"),
        (
            PackingSettings(seq_len=64, eos=False, window=9),
            TOKENIZER,
            2,
            "eos is True there and False here; window is 8 there and 9 here",
        ),
        (SETTINGS, TrainedTokenizer(vocab_size=280), 2, "tokenizer.vocab_size is 300 there and 280 here"),
        (SETTINGS, TOKENIZER, 3, "corpus.keys is 2 there and 3 here"),
    ],
)
def test_a_folder_prepared_otherwise_is_refused_with_both_values(
    abc_file: Path,
    prepared: Path,
    settings: PackingSettings,
    tokenizer: TokenizerSource,
    keys: int,
    difference: str,
) -> None:
    before = bytes_of(prepared)
    message = f"{prepared} was prepared otherwise: {difference}; choose another data.directory, or replace it "
    message += "with data.overwrite=true"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        prepare(corpus=folk(abc_file, keys=keys), tokenizer=tokenizer, settings=settings, directory=prepared)
    assert bytes_of(prepared) == before


def test_a_folder_prepared_otherwise_is_replaced_where_asked_for(abc_file: Path, tmp_path: Path) -> None:
    other = PackingSettings(seq_len=64, eos=False, window=8)
    for directory in (tmp_path / "new", tmp_path / "old"):
        prepare_folk(abc_file, tmp_path / "old")
        prepare(
            corpus=folk(abc_file, keys=3),
            tokenizer=TrainedTokenizer(vocab_size=280),
            settings=other,
            directory=directory,
            overwrite=True,
        )
    assert bytes_of(tmp_path / "old") == bytes_of(tmp_path / "new")


def test_a_folder_that_is_as_asked_is_kept_even_with_overwrite(abc_file: Path, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*.arrow")}
    prepare(corpus=folk(abc_file), tokenizer=TOKENIZER, settings=SETTINGS, directory=prepared, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*.arrow")} == before


def test_a_corpus_that_changed_is_refused(tmp_path: Path) -> None:
    path = write_tunes(tmp_path / "tunes.abc", tunes=20, seed=1)
    prepare_folk(path, tmp_path / "data")
    write_tunes(path, tunes=20, seed=2)
    with pytest.raises(UserError, match=r"corpus.content is '\w{16}' there and '\w{16}' here"):
        prepare_folk(path, tmp_path / "data")


def test_the_tokenizer_of_the_model_is_kept_with_the_shards(tmp_path: Path) -> None:
    for name, text in (("model", "ab ab"), ("copy", "ab ab"), ("other", "cd cd")):
        save_tokenizer(train_bpe([text], vocab_size=260), tmp_path / name)
    corpus = Texts({"train": ["ab cd"], "validation": ["ab"], "test": ["cd"]})

    def prepare_with(name: str) -> Manifest:
        return prepare(
            corpus=corpus,
            tokenizer=PretrainedTokenizer(path=str(tmp_path / name)),
            settings=PackingSettings(seq_len=16),
            directory=tmp_path / "data",
        )

    manifest = prepare_with("model")
    assert prepared_tokenizer(tmp_path / "data").get_vocab() == prepared_tokenizer_of(tmp_path / "model")
    assert prepare_with("copy") == manifest  # the same tokenizer in another place
    with pytest.raises(UserError, match=r"tokenizer.fingerprint is .* there and .* here"):
        prepare_with("other")


def prepared_tokenizer_of(folder: Path) -> dict[str, int]:
    return PretrainedTokenizer(path=str(folder)).load((), folder).get_vocab()


@pytest.mark.parametrize(
    ("overlong", "documents", "tokens", "trained_bytes", "fates"),
    [
        ("split", 2, 15, 13, {"split": 1}),  # abcd defg ghij klm
        ("truncate", 2, 7, 7, {"truncate": 1}),  # abcd klm
        ("drop", 1, 3, 3, {"drop": 1}),  # klm
    ],
)
def test_overlong_documents_are_counted(
    tmp_path: Path, overlong: str, documents: int, tokens: int, trained_bytes: int, fates: dict[str, int]
) -> None:
    corpus = Texts({"train": ["abcdefghij", "klm"]})
    manifest = prepare(
        corpus=corpus,
        tokenizer=TrainedTokenizer(vocab_size=259),
        settings=PackingSettings(seq_len=4, overlong=overlong),
        directory=tmp_path,
    )
    train = manifest.summary()["train"]
    assert train["documents"] == 2
    assert train["sources"]["texts"] == {"documents": documents, "tokens": tokens}
    assert (train["tokens"], train["trained_bytes"]) == (tokens, trained_bytes)
    assert train["overlong_or_empty"] == fates


def test_an_overlong_document_can_be_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train:1: 10 tokens do not fit seq_len=4; set data.overlong"):
        prepare(
            corpus=Texts({"train": ["klm", "abcdefghij"]}),
            tokenizer=TrainedTokenizer(vocab_size=259),
            settings=PackingSettings(seq_len=4, overlong="error"),
            directory=tmp_path,
        )


def test_what_was_left_out_is_in_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    write_tunes(path, tunes=20)
    with path.open("a") as file:
        file.write("\nX:99\nK:C\nC D } E |\n")
    line = path.read_text().split("\n").index("X:99") + 1
    prepare_folk(path, tmp_path / "data")
    (record,) = map(json.loads, (tmp_path / "data" / "quarantine.jsonl").read_text().splitlines())
    assert record == {
        "file": str(path),
        "line": line,
        "reason": f"tunes.abc, line {line + 2}, column 5: '}}' closes grace notes that are not open",
    }


def test_a_corpus_in_memory_can_reject_too(tmp_path: Path) -> None:
    rejection = Rejection(file="rows.jsonl", line=7, reason="no text")
    prepare(
        corpus=Texts({"train": ["ab"]}, rejected=[rejection]),
        tokenizer=TrainedTokenizer(vocab_size=259),
        settings=PackingSettings(seq_len=4),
        directory=tmp_path,
    )
    assert (tmp_path / "quarantine.jsonl").read_text() == '{"file": "rows.jsonl", "line": 7, "reason": "no text"}\n'


def test_a_corpus_without_training_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the corpus gave no training document"):
        prepare(
            corpus=Texts({"validation": ["ab"]}),
            tokenizer=TrainedTokenizer(vocab_size=259),
            settings=PackingSettings(seq_len=4),
            directory=tmp_path,
        )


@pytest.mark.parametrize("name", ["a_file/data", "/proc/no_such_place/data"])
def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*; choose another data.directory") as failure:
        prepare(
            corpus=Texts({"train": ["ab"]}),
            tokenizer=TrainedTokenizer(vocab_size=259),
            settings=PackingSettings(seq_len=4),
            directory=tmp_path / name,
        )
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seq_len": 1}, "data.seq_len=1: a row needs at least 2 tokens"),
        ({"seq_len": 8, "overlong": "cut"}, "data.overlong='cut': use one of split, truncate, drop, error"),
        ({"seq_len": 8, "window": 0}, "data.window=0: use at least 1 document"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PackingSettings(**options)  # type: ignore[arg-type]  # the parameters differ in type
