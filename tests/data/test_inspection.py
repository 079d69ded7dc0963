"""What a prepared folder holds, on documents of which every byte is a token.

The training split of `LOOKED_AT` fills rows of 8 tokens like this (a document is in capitals where it bears no loss)::

    row 0   0 1 2 3 4 5 6 7    the first piece of 0123456789
    row 1   a b c d e x y z
    row 2   a b c d e 7 8 9    the last piece shares its first token with the one before
    row 3   M N o p . . . .
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prepared_folders import prepare_documents, rewrite_shard, with_sources, without_sources

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.inspection.figures import SourceFigures, hash_documents, quantile, shares_by_bin
from chatmusician.data.inspection.folder import PreparedFolder, Shard, open_folder
from chatmusician.data.inspection.look import Look, look_at
from chatmusician.data.inspection.quarantine import kind_of
from chatmusician.data.inspection.repetition import Leaks, RepeatedDocument, Repeats
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError

TRAIN = [
    plain_document("abcde", source="reels"),
    plain_document("xyz", source="jigs"),
    plain_document("abcde", source="reels"),
    Document(text="mnop", trained=((2, 4),), source="jigs"),
    plain_document("0123456789", source="reels"),
    plain_document("", source="reels"),
    plain_document("", source="reels"),
]
VALIDATION = [plain_document("xyz", source="jigs"), plain_document("qq", source="jigs")]
SOURCES = ([1], [1, 0], [1, 1], [0])
"""Of the documents of each row: jigs are 0 and reels 1."""


def follow(shards: Iterator[Shard], *_: object) -> Iterator[Shard]:
    return shards


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rejected = [
        Rejection(file="a/x.abc", line=3, reason="x.abc, line 3: 'H' means nothing"),
        Rejection(file="a/x.abc", line=8, reason="the tune has several voices"),
        Rejection(file="b/y z.abc", line=12, reason='y z.abc, line 14: "it\'s" means nothing'),
    ]
    splits = {"train": TRAIN, "validation": VALIDATION}
    folder = prepare_documents(tmp_path_factory.mktemp("prepared"), splits, seq_len=8, rejected=rejected)
    rewrite_shard(folder, "train", with_sources(*SOURCES))
    return folder


@pytest.fixture(scope="module")
def look(directory: Path) -> Look:
    return look_at(open_folder(directory), follow=follow)


def texts(folder: PreparedFolder, split: str) -> list[list[str]]:
    rows = folder.rows(split, first=0, count=100)
    return [[folder.tokenizer.decode(document.ids.tolist()) for document in row.documents] for row in rows]


def test_rows_hold_the_documents(directory: Path) -> None:
    folder = open_folder(directory)
    assert texts(folder, "train") == [["01234567"], ["abcde", "xyz"], ["abcde", "789"], ["mnop"]]
    assert texts(folder, "validation") == [["xyz", "qq"]]
    rows = list(folder.rows("train", first=0, count=4))
    assert [row.padding for row in rows] == [0, 0, 0, 4]
    last = rows[2].documents[1]
    assert (last.where, last.start, last.source) == ("train row 2, document 2 of 2", 5, "reels")
    assert rows[3].documents[0].loss_mask.tolist() == [False, False, True, True]


@pytest.mark.parametrize(("first", "count", "rows"), [(0, 0, []), (0, 2, [0, 1]), (2, 1, [2]), (3, 5, [3])])
def test_rows_are_read_from_where_one_asks(directory: Path, first: int, count: int, rows: list[int]) -> None:
    assert [row.row for row in open_folder(directory).rows("train", first=first, count=count)] == rows


def test_rows_are_numbered_over_shards(tmp_path: Path) -> None:
    documents = [plain_document(text * 8, source="letters") for text in "abcde"]
    folder = open_folder(prepare_documents(tmp_path, {"train": documents}, seq_len=8, window=2))
    assert len(folder.records("train")) == 3
    rows = list(folder.rows("train", first=1, count=3))
    assert [(row.row, folder.tokenizer.decode(row.documents[0].ids.tolist())[0]) for row in rows] == [
        (1, "b"),
        (2, "c"),
        (3, "d"),
    ]
    assert rows[0].documents[0].source == "letters"  # the only one there is
    look = look_at(folder, follow=follow)
    assert look.figures["train"].shard_documents.tolist() == [2, 2, 1]
    assert [look.document("train", number).row for number in range(5)] == [0, 1, 2, 3, 4]


def test_lengths_and_fill_are_counted(look: Look) -> None:
    train = look.figures["train"]
    assert train.documents == 6
    assert train.lengths.tolist() == [0, 0, 0, 2, 1, 2, 0, 0, 1]
    assert train.fill.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert look.figures["validation"].lengths.tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert look.figures.keys() == {"train", "validation"}


def test_sources_are_counted(look: Look) -> None:
    """The document in two pieces counts once; its first tokens and those of the others bear no loss."""
    assert look.sources["train"] == {
        "reels": SourceFigures(documents=3, tokens=21, trained_tokens=4 + 4 + 7 + 2),
        "jigs": SourceFigures(documents=2, tokens=7, trained_tokens=2 + 2),
    }
    assert list(look.sources["train"]) == ["reels", "jigs"]


def test_shards_that_do_not_say_the_sources(tmp_path: Path) -> None:
    folder = prepare_documents(tmp_path, {"train": TRAIN}, seq_len=8)
    rewrite_shard(folder, "train", without_sources)
    look = look_at(open_folder(folder), follow=follow)
    assert look.sources["train"]["reels"] == SourceFigures(documents=3, tokens=21, trained_tokens=None)
    assert look.document("train", 0).source is None


def test_repeated_and_leaked_documents_are_found(look: Look) -> None:
    most = (RepeatedDocument(document=1, copies=2),)
    assert look.repeats["train"] == Repeats(documents=6, distinct=5, tokens=5, most=most)
    assert look.repeats["validation"] == Repeats(documents=2, distinct=2, tokens=0, most=())
    assert look.leaks == {"validation": Leaks(documents=1, examples=((0, 2),))}
    assert look.document("train", 1).where == "train row 1, document 1 of 2"
    assert look.document("train", 2).where == "train row 1, document 2 of 2"


def test_what_is_cut_and_rejected_is_counted(look: Look) -> None:
    assert look.summary["train"]["overlong_or_empty"] == {"split": 1, "empty": 2}
    assert [(kind.reason, kind.parts, kind.first) for kind in look.rejected] == [
        ("FILE, line N: '…' means nothing", 2, "a/x.abc:3"),
        ("the tune has several voices", 1, "a/x.abc:8"),
    ]


def test_every_shard_is_followed(directory: Path) -> None:
    seen = []

    def count(shards: Iterator[Shard], split: str, total: int) -> Iterator[Shard]:
        for shard in shards:
            seen.append((split, total, shard.first_row))
            yield shard

    look_at(open_folder(directory), follow=count)
    assert seen == [("train", 1, 0), ("validation", 1, 0)]


def test_only_documents_are_compared_and_not_what_follows_them() -> None:
    """Two rows of ids with a document of 2 tokens each: what stands behind it, padding or not, is no part of it."""

    def shard(ids: list[list[int]], lengths: list[int], bounds: list[int]) -> Shard:
        return Shard(
            split="train",
            first_row=0,
            ids=np.array(ids, np.uint16),
            loss_mask=np.zeros((len(ids), 4), np.uint8),
            lengths=np.array(lengths),
            bounds=np.array(bounds),
            sources=None,
            source_names=("a",),
        )

    padded = hash_documents(shard([[7, 8, 0, 0], [7, 8, 9, 9]], [2, 2, 2], [0, 1, 3]))
    assert padded[0] == padded[1] != padded[2]
    longer = hash_documents(shard([[7, 8, 9, 9]], [3], [0, 1]))
    assert longer[0] != padded[0]


def broken(directory: Path, *, kind: str) -> Path:
    shard = directory / "train" / "00000.arrow"
    content = shard.read_bytes()
    if kind == "cut":
        shard.write_bytes(content[:-8])
    elif kind == "empty":
        shard.write_bytes(b"")
    elif kind == "one bit":
        shard.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    else:
        shard.unlink()
    return directory


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", r"shard \S+/train/00000.arrow is damaged: its checksum is not the manifest's; remove the folder"),
        ("empty", r"shard \S+/train/00000.arrow (is damaged|cannot be read).*; remove the folder"),
        ("one bit", r"shard \S+/train/00000.arrow is damaged"),
        ("missing", r"shard \S+/train/00000.arrow cannot be read \(.*No such file.*\); remove the folder"),
    ],
)
def test_a_damaged_shard_is_named(tmp_path: Path, kind: str, message: str) -> None:
    folder = open_folder(broken(prepare_documents(tmp_path, {"train": TRAIN}), kind=kind))
    with pytest.raises(UserError, match=message):
        look_at(folder, follow=follow)
    with pytest.raises(UserError, match=message):
        list(folder.rows("train", first=0, count=1))


@pytest.mark.parametrize(
    ("split", "first", "count", "message"),
    [
        ("dev", 0, 3, "split='dev': use one of train, validation, test"),
        ("test", 0, 3, r"split='test': \S+ has no rows in it; use one of train, validation$"),
        ("train", 4, 3, r"first_row=4: train of \S+ has rows 0 to 3"),
        ("train", -1, 3, r"first_row=-1: train"),
        ("train", 0, -1, "rows=-1: use 0 to print none, or more"),
        ("train", 0, "all", "rows=all: use 0"),
    ],
)
def test_rows_that_are_not_there_are_refused(directory: Path, split: str, first: int, count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(open_folder(directory).rows(split, first=first, count=count))


def test_a_folder_that_is_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is no prepared folder: it has no manifest.json; give one that"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no prepared folder"):
        open_folder(tmp_path)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    """As an interrupted run leaves it: an overlong document is an error, after the first shard was written."""
    documents = [plain_document("abc", source="a"), plain_document("a" * 99, source="a")]
    with pytest.raises(UserError, match="do not fit"):
        prepare_documents(tmp_path, {"train": documents}, window=1, overlong="error")
    with pytest.raises(UserError, match="is not prepared to the end; run the command that prepares it again"):
        open_folder(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", None])
def test_a_damaged_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    path = prepare_documents(tmp_path, {"train": TRAIN}) / "tokenizer" / "tokenizer.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"tokenizer/tokenizer.json cannot be read .*remove the folder"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"file": "a"}\n', r"quarantine.jsonl:1 is no rejection \(KeyError\('reason'\)\); remove the folder"),
        (b"[]\n", "quarantine.jsonl:1 is no rejection"),
        (b"{\n", "quarantine.jsonl:1 is no rejection"),
        (b"\xff\n", "quarantine.jsonl cannot be read"),
        (None, "quarantine.jsonl cannot be read .*No such file"),
    ],
)
def test_a_damaged_quarantine_is_named(tmp_path: Path, line: bytes | None, message: str) -> None:
    path = prepare_documents(tmp_path, {"train": TRAIN}) / "quarantine.jsonl"
    path.unlink() if line is None else path.write_bytes(line)
    with pytest.raises(UserError, match=message):
        look_at(open_folder(tmp_path), follow=follow)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no text in column 'text'", "no text in column '…'"),
        ("same melody as reels/b.abc:12", "same melody as FILE:N"),
        ("same melody as b.abc:3", "same melody as FILE:N"),
        ("my reel.abc, line 4, column 12: 9 notes", "FILE, line N, column N: N notes"),
        ("corpus/my reel.abc:4: the meter 6/8", "FILE:N: the meter N"),
        ("'it\\'s' and \"it's\"", "'…' and '…'"),
        ("it doesn't end, and that's all", "it doesn't end, and that's all"),
        ("a mode, such as G, F#m or D mix.", "a mode, such as G, F#m or D mix."),
    ],
)
def test_reasons_are_alike_but_for_what_they_name(reason: str, kind: str) -> None:
    assert kind_of(reason, file="corpus/my reel.abc") == kind


@pytest.mark.parametrize(("share", "value"), [(0.2, 1), (0.25, 1), (0.26, 3), (0.5, 3), (1.0, 3)])
def test_quantiles(share: float, value: int) -> None:
    assert quantile(np.array([0, 1, 0, 3, 0]), share) == value


@pytest.mark.parametrize(
    ("edges", "shares"), [([0, 2, 3], [0.25, 0.75]), ([0, 1, 2, 9], [0.0, 0.25, 0.75]), ([0, 3], [1.0])]
)
def test_shares_by_bin(edges: list[int], shares: list[float]) -> None:
    assert shares_by_bin(np.array([0, 1, 0, 3]), edges) == shares
