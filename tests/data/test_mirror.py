import hashlib
import json
import logging
import multiprocessing
import shutil
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from file_server import Site, serve
from filelock import FileLock, Timeout
from plain_reading import read_plainly
from tiny_corpus import prepare_words

from chatmusician.data.mirror import mirror_data, mirror_folder
from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.preparation import PackingSettings, prepared_tokenizer
from chatmusician.data.shards import Manifest
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.errors import UserError

SHARDS = sorted([*(f"train/{n:05d}.arrow" for n in range(12)), "validation/00000.arrow", "validation/00001.arrow"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data that no test changes."""
    directory = tmp_path_factory.mktemp("prepared")
    prepare_words(directory)
    return directory


@pytest.fixture
def origin(prepared: Path, tmp_path: Path) -> Path:
    """Prepared data of one's own."""
    return shutil.copytree(prepared, tmp_path / "origin", ignore=shutil.ignore_patterns(".lock"))


@pytest.fixture
def site(origin: Path) -> Iterator[Site]:
    with serve(origin) as site:
        yield site


def fetch(
    url: str, directory: Path, *, overwrite: bool = False, seq_len: int = 16, window: int = 5, vocab_size: int = 259
) -> Manifest:
    return mirror_data(
        url=url,
        directory=directory,
        settings=PackingSettings(seq_len=seq_len, window=window),
        tokenizer=TrainedTokenizer(vocab_size=vocab_size),
        overwrite=overwrite,
    )


def assert_whole(directory: Path, origin: Path) -> None:
    """The copy has the rows and the tokenizer, and nothing half-made."""
    for split in ("train", "validation"):
        assert read_plainly(directory, split) == read_plainly(origin, split)
    assert prepared_tokenizer(directory).get_vocab() == prepared_tokenizer(origin).get_vocab()
    assert not list(directory.rglob("*.partial"))
    assert sorted(path.name for path in directory.iterdir()) == [
        ".lock",
        "manifest.json",
        "test",
        "tokenizer",
        "train",
        "validation",
    ]


@pytest.mark.parametrize("lists", [True, False])
def test_data_over_http(site: Site, origin: Path, tmp_path: Path, lists: bool) -> None:
    site.lists = lists
    (origin / "tokenizer" / "chat_template.jinja").write_text("{{ messages }}")
    fetch(f"{site.url}/", tmp_path / "copy")
    assert_whole(tmp_path / "copy", origin)
    files = sorted(path.name for path in (origin / "tokenizer").iterdir())
    assert sorted(path.name for path in (tmp_path / "copy" / "tokenizer").iterdir()) == files
    assert site.shards_asked_for() == SHARDS


def test_data_in_a_folder_named_by_url(origin: Path, tmp_path: Path) -> None:
    fetch(origin.as_uri(), tmp_path / "copy")
    assert_whole(tmp_path / "copy", origin)


def test_a_store_that_forbids_what_is_not_there_has_no_such_file(site: Site, origin: Path, tmp_path: Path) -> None:
    site.lists = False
    site.statuses = {f"tokenizer/{name}": 403 for name in ("added_tokens.json", "chat_template.jinja")}
    fetch(site.url, tmp_path / "copy")
    assert_whole(tmp_path / "copy", origin)


def test_a_second_run_asks_for_the_manifest_alone(site: Site, tmp_path: Path) -> None:
    first = fetch(site.url, tmp_path / "copy")
    site.asked.clear()
    assert fetch(site.url, tmp_path / "copy") == first
    assert site.asked == ["manifest.json"]


def test_a_damaged_copy_is_mended_as_its_message_says(site: Site, origin: Path, tmp_path: Path) -> None:
    manifest = fetch(site.url, tmp_path / "copy")
    damaged = tmp_path / "copy" / "train" / "00000.arrow"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    rows = PackedRows(damaged.parent, manifest.splits["train"], seq_len=16, remedy="remove the file to fetch it again")
    with pytest.raises(UserError, match=r"00000.arrow cannot be read .*; remove the file to fetch it again"):
        rows.read([0])
    site.asked.clear()
    damaged.unlink()
    fetch(site.url, tmp_path / "copy")
    assert site.shards_asked_for() == ["train/00000.arrow"]
    assert_whole(tmp_path / "copy", origin)


def test_a_run_that_was_killed_is_gone_on_with(site: Site, origin: Path, tmp_path: Path) -> None:
    site.held = {"train/00009.arrow"}
    process = multiprocessing.get_context("spawn").Process(target=fetch, args=(site.url, tmp_path / "copy"))
    process.start()
    site.reached.wait()
    process.kill()
    process.join()
    assert not (tmp_path / "copy" / "manifest.json").exists()
    there = {path: path.stat().st_ino for path in (tmp_path / "copy").rglob("*.arrow")}
    assert 2 <= len(there) < len(SHARDS)  # eight are under way at once, and the tenth was reached
    site.released.set()
    fetch(site.url, tmp_path / "copy")
    assert {path: path.stat().st_ino for path in there} == there  # a file that is fetched anew is another
    assert_whole(tmp_path / "copy", origin)


def test_what_a_killed_run_left_is_checked(site: Site, origin: Path, tmp_path: Path) -> None:
    fetch(site.url, tmp_path / "copy")
    (tmp_path / "copy" / "manifest.json").unlink()
    (tmp_path / "copy" / "train" / "00003.arrow").write_bytes(b"of another time")
    (tmp_path / "copy" / "incoming").mkdir()
    (tmp_path / "copy" / "incoming" / "manifest.json").write_text("{")
    site.asked.clear()
    fetch(site.url, tmp_path / "copy")
    assert site.shards_asked_for() == ["train/00003.arrow"]
    assert_whole(tmp_path / "copy", origin)


def fetch_after(url: str, directory: Path, started: Connection) -> None:
    """Fetch in a second process, which says first whether another holds the lock."""
    try:
        with FileLock(directory / ".lock", blocking=False):
            started.send("free")
    except Timeout:
        started.send("held")
    fetch(url, directory)


def test_of_two_processes_one_fetches(site: Site, origin: Path, tmp_path: Path) -> None:
    site.held = {"train/00000.arrow"}
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=fetch, args=(site.url, tmp_path / "copy"))
    first.start()
    site.reached.wait()
    said, says = context.Pipe(duplex=False)
    second = context.Process(target=fetch_after, args=(site.url, tmp_path / "copy", says))
    second.start()
    assert said.recv() == "held"
    site.released.set()
    first.join()
    second.join()
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert site.asked.count("manifest.json") == 2
    assert site.shards_asked_for() == SHARDS
    assert_whole(tmp_path / "copy", origin)


def test_data_that_have_changed_are_noticed(site: Site, origin: Path, tmp_path: Path) -> None:
    fetch(site.url, tmp_path / "copy")
    shutil.rmtree(origin)
    prepare_words(origin, documents=65)
    message = (
        rf"{site.url} has changed since it was mirrored to \S*/copy; choose another data.mirror, or bring the copy"
    )
    with pytest.raises(UserError, match=message):
        fetch(site.url, tmp_path / "copy")
    site.asked.clear()
    fetch(site.url, tmp_path / "copy", overwrite=True)
    assert site.shards_asked_for() == ["train/00012.arrow"]
    assert_whole(tmp_path / "copy", origin)


def test_a_whole_copy_serves_where_the_url_does_not_answer(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = fetch(site.url, tmp_path / "copy")
    site.statuses["manifest.json"] = 503
    with caplog.at_level(logging.WARNING):
        assert fetch(site.url, tmp_path / "copy") == first
    assert "going on with the copy in" in caplog.text
    with pytest.raises(UserError, match=r"copy was prepared otherwise: seq_len is 16 there and 32 here"):
        fetch(site.url, tmp_path / "copy", seq_len=32)
    with pytest.raises(UserError, match=r"manifest.json cannot be fetched \(503"):
        fetch(site.url, tmp_path / "another")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"seq_len": 32, "window": 9}, "seq_len is 16 there and 32 here; window is 5 there and 9 here"),
        ({"vocab_size": 300}, "tokenizer.vocab_size is 259 there and 300 here"),
    ],
)
def test_data_of_other_settings_are_refused_before_they_are_fetched(
    site: Site, tmp_path: Path, options: dict[str, int], difference: str
) -> None:
    with pytest.raises(UserError) as refusal:
        fetch(site.url, tmp_path / "copy", **options)
    assert str(refusal.value) == (
        f"{site.url} was prepared otherwise: {difference}; set data and tokenizer to what is there"
    )
    assert site.asked == ["manifest.json"]


def refusal_of(url: str, directory: Path) -> str:
    with pytest.raises(UserError) as refusal:
        fetch(url, directory)
    assert "\n" not in str(refusal.value)
    assert not (directory / "manifest.json").exists()
    return str(refusal.value)


def test_a_url_without_prepared_data_is_refused(site: Site, tmp_path: Path) -> None:
    assert refusal_of(f"{site.url}/elsewhere", tmp_path / "copy") == (
        f"{site.url}/elsewhere/manifest.json is not there; data.directory has to be the URL of whole prepared data"
    )


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/data"
        refusal = refusal_of(url, tmp_path / "copy")
    assert refusal.startswith(f"{url}/manifest.json cannot be fetched (Cannot connect to host 127.0.0.1")
    assert refusal.endswith("); check data.directory, network and disk, and run again")


@pytest.mark.parametrize(
    ("url", "reason"),
    [("gopher://data/folk", "Protocol not known: gopher"), ("abc://[", "Protocol not known: abc")],
)
def test_an_unknown_protocol_is_named(tmp_path: Path, url: str, reason: str) -> None:
    assert refusal_of(url, tmp_path / "copy") == f"data.directory={url!r}: {reason}; use a protocol that fsspec reads"


def test_a_missing_shard_is_named(site: Site, origin: Path, tmp_path: Path) -> None:
    (origin / "train" / "00007.arrow").unlink()
    assert refusal_of(site.url, tmp_path / "copy").startswith(f"{site.url}/train/00007.arrow is not there; ")


def test_a_damaged_shard_is_named(site: Site, origin: Path, tmp_path: Path) -> None:
    path = origin / "validation" / "00000.arrow"
    written = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert refusal_of(site.url, tmp_path / "copy") == (
        f"{site.url}/validation/00000.arrow is damaged (its sha256 is {found[:12]}.., not {written[:12]}.. as in the "
        "manifest); run again, or put the data there anew"
    )
    assert not list((tmp_path / "copy" / "validation").glob("00000*"))


@pytest.mark.parametrize("content", ["<html>Sign in</html>", "{}"])
def test_a_page_that_is_no_manifest_is_refused(site: Site, origin: Path, tmp_path: Path, content: str) -> None:
    (origin / "manifest.json").write_text(content)
    assert refusal_of(site.url, tmp_path / "copy") == (
        f"{site.url}/manifest.json is not a manifest; give the URL of prepared data"
    )


@pytest.mark.parametrize("name", ["../../stolen.arrow", "/stolen.arrow", ".lock"])
def test_a_manifest_cannot_write_elsewhere(site: Site, origin: Path, tmp_path: Path, name: str) -> None:
    manifest = json.loads((origin / "manifest.json").read_text())
    manifest["shards"]["train"][0]["name"] = name
    (origin / "manifest.json").write_text(json.dumps(manifest))
    assert refusal_of(site.url, tmp_path / "copy") == (
        f"{site.url}/manifest.json names {name!r}, no file of its folder; do not use it"
    )


def test_another_tokenizer_is_refused(site: Site, origin: Path, tmp_path: Path) -> None:
    path = origin / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"<pad>"', '"<fill>"'))
    refusal = refusal_of(site.url, tmp_path / "copy")
    assert refusal.startswith(f"{site.url}/tokenizer is not what the data were prepared with: fingerprint is ")


def test_a_missing_tokenizer_is_named(site: Site, origin: Path, tmp_path: Path) -> None:
    shutil.rmtree(origin / "tokenizer")
    assert refusal_of(site.url, tmp_path / "copy").startswith(f"{site.url}/tokenizer/tokenizer.json is not there; ")


def test_a_mirror_that_cannot_be_made_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal_of(site.url, tmp_path / "file" / "copy") == (
        f"{tmp_path}/file/copy: cannot be written (Not a directory); choose another data.mirror"
    )


def test_mirrors_are_named_after_what_they_mirror() -> None:
    folder = mirror_folder("s3://bucket/data/folk")
    assert folder.parent == Path("outputs/mirror")
    assert folder.name == "folk-" + hashlib.sha256(b"s3://bucket/data/folk").hexdigest()[:8]
    assert mirror_folder("s3://bucket/data/folk/") == folder
    assert mirror_folder("s3://other/data/folk") != folder
