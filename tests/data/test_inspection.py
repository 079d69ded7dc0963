"""What a prepared folder holds, on documents of which every byte is a token.

The training split of the folder looked at fills rows of 16 tokens like this (in capitals: masked, without loss)::

    row 0   0 1 2 3 4 5 6 7 8 9 a b c d e f    the first piece of a document of 19 tokens
    row 1   a b c d e f g h i j u v w x y z
    row 2   a b c d e f g h i j u v w x y z
    row 3   K L M N O P q r f g h i . . . .    the last piece shares its first token with the one before
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prepared_folders import BYTES, prepare_documents

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.inspection.figures import (
    RepeatedDocument,
    Repetition,
    SourceFigures,
    hash_documents,
    quantile,
    shares_by_bin,
)
from chatmusician.data.inspection.folder import PreparedFolder, Shard, open_folder
from chatmusician.data.inspection.look import Look, kind_of, look_at
from chatmusician.data.mirror import mirror_data
from chatmusician.data.preparation import PackingSettings
from chatmusician.data.shard_columns import ShardColumns
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError

TRAIN = [
    plain_document("abcdefghij", source="reels"),
    plain_document("uvwxyz", source="jigs"),
    plain_document("abcdefghij", source="reels"),
    plain_document("uvwxyz", source="jigs"),
    Document(text="klmnopqr", trained=((6, 8),), source="jigs"),
    plain_document("0123456789abcdefghi", source="reels"),
    plain_document("", source="reels"),
    plain_document("", source="reels"),
]
VALIDATION = [
    plain_document("abcdefghij", source="jigs"),
    plain_document("uvwxyz", source="jigs"),
    plain_document("qqqqqqqqq", source="jigs"),
]


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
    return prepare_documents(tmp_path_factory.mktemp("prepared"), splits, seq_len=16, rejected=rejected)


@pytest.fixture(scope="module")
def look(directory: Path) -> Look:
    return look_at(open_folder(directory), follow=follow)


def texts(folder: PreparedFolder, split: str) -> list[list[str]]:
    rows = folder.rows(split, first=0, count=100)
    return [[folder.tokenizer.decode(document.ids.tolist()) for document in row.documents] for row in rows]


def test_rows_hold_the_documents(directory: Path) -> None:
    folder = open_folder(directory)
    assert texts(folder, "train") == [
        ["0123456789abcdef"],
        ["abcdefghij", "uvwxyz"],
        ["abcdefghij", "uvwxyz"],
        ["klmnopqr", "fghi"],
    ]
    assert texts(folder, "validation") == [["abcdefghij", "uvwxyz"], ["qqqqqqqqq"]]
    rows = list(folder.rows("train", first=0, count=4))
    assert [row.padding for row in rows] == [0, 0, 0, 4]
    assert [document.source for document in rows[2].documents] == ["reels", "jigs"]
    masked, last = rows[3].documents
    assert masked.loss_mask.tolist() == [False] * 6 + [True, True]
    assert (last.where, last.start, last.source) == ("train row 3, document 2 of 2", 8, "reels")


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
    assert rows[0].documents[0].source == "letters"
    look = look_at(folder, follow=follow)
    assert look.figures["train"].shard_documents.tolist() == [2, 2, 1]
    assert [look.document("train", number).row for number in range(5)] == [0, 1, 2, 3, 4]


def counted(counts: dict[int, int]) -> list[int]:
    return [counts.get(tokens, 0) for tokens in range(17)]


def test_lengths_and_fill_are_counted(look: Look) -> None:
    train = look.figures["train"]
    assert train.documents == 7
    assert train.lengths.tolist() == counted({4: 1, 6: 2, 8: 1, 10: 2, 16: 1})
    assert train.fill.tolist() == counted({12: 1, 16: 3})
    assert look.figures["validation"].lengths.tolist() == counted({6: 1, 9: 1, 10: 1})
    assert look.figures.keys() == {"train", "validation"}


def test_sources_are_counted(look: Look) -> None:
    """The document in two pieces counts once; its first tokens and those of the others bear no loss."""
    assert look.sources["train"] == {
        "reels": SourceFigures(documents=3, tokens=40, trained_tokens=9 + 9 + 15 + 3),
        "jigs": SourceFigures(documents=3, tokens=20, trained_tokens=5 + 5 + 2),
    }
    assert list(look.sources["train"]) == ["reels", "jigs"]


def test_repeated_and_leaked_documents_are_found(look: Look) -> None:
    repeats = (RepeatedDocument(document=1, copies=2),)
    assert look.repetition == {
        "train": Repetition(documents=4, distinct=3, tokens=10, most=2, repeats=repeats, leaked=None, leaks=()),
        "validation": Repetition(documents=2, distinct=2, tokens=0, most=1, repeats=(), leaked=1, leaks=((0, 1),)),
    }
    assert look.document("train", 1).where == "train row 1, document 1 of 2"
    assert look.document("train", 5).where == "train row 3, document 1 of 2"


def test_documents_under_8_tokens_are_compared_apart(look: Look) -> None:
    assert look.short_repetition == {
        "train": Repetition(documents=3, distinct=2, tokens=6, most=2, repeats=(), leaked=None, leaks=()),
        "validation": Repetition(documents=1, distinct=1, tokens=0, most=1, repeats=(), leaked=1, leaks=()),
    }


@pytest.mark.parametrize(("tokens", "repeated", "short"), [(7, 0, 1), (8, 1, 0)])
def test_where_short_ends(tmp_path: Path, tokens: int, repeated: int, short: int) -> None:
    documents = [plain_document("a" * tokens, source="a")] * 2
    look = look_at(open_folder(prepare_documents(tmp_path, {"train": documents})), follow=follow)
    assert (look.repetition["train"].repeated, look.short_repetition["train"].repeated) == (repeated, short)


def test_the_most_repeated_documents_are_named_first(tmp_path: Path) -> None:
    """Of equally many the longer one; 5 of them."""
    texts = [letter * (8 + index) for index, letter in enumerate("abcdef")]
    documents = [plain_document(text, source="a") for text in (*texts, *texts, texts[2])]
    look = look_at(open_folder(prepare_documents(tmp_path, {"train": documents}, seq_len=16)), follow=follow)
    found = look.repetition["train"]
    assert (found.documents, found.distinct, found.most) == (13, 6, 3)
    lengths = [(len(look.document("train", repeated.document).ids), repeated.copies) for repeated in found.repeats]
    assert lengths == [(10, 3), (13, 2), (12, 2), (11, 2), (9, 2)]


def test_a_folder_without_a_training_split(tmp_path: Path) -> None:
    """As data=streaming prepares it: nothing can be compared with training documents."""
    splits = {"train": TRAIN, "validation": [], "test": VALIDATION}
    folder = open_folder(prepare_documents(tmp_path, splits, only=("validation", "test")))
    assert folder.splits == ("test",)
    look = look_at(folder, follow=follow)
    assert look.repetition["test"].leaked is None
    assert look.summary["train"]["rows"] == 0


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


def test_no_shard_stays_mapped(tmp_path: Path) -> None:
    """When one is opened, only the one before may still be."""
    prepare_documents(tmp_path, {"train": TRAIN}, window=1)
    mapped = []

    def count(shards: Iterator[Shard], *_: object) -> Iterator[Shard]:
        for shard in shards:
            mapped.append(Path("/proc/self/maps").read_text().count(f"{tmp_path}/train/"))
            yield shard

    look_at(open_folder(tmp_path), follow=count)
    assert len(mapped) == 6
    assert max(mapped) <= 2


def test_only_documents_are_compared_and_not_what_follows_them() -> None:
    """Two rows of ids with a document of 2 tokens each: what stands behind it, padding or not, is no part of it."""

    def shard(ids: list[list[int]], lengths: list[int], offsets: list[int]) -> Shard:
        columns = ShardColumns(
            ids=np.array(ids, np.uint16),
            loss_mask=np.zeros((len(ids), 4), np.bool_),
            lengths=np.array(lengths, np.uint32),
            sources=np.zeros(len(lengths), np.uint32),
            document_bytes=np.zeros(len(lengths), np.uint32),
            offsets=np.array(offsets, np.int32),
            trained_tokens=np.zeros(len(ids), np.uint32),
            trained_bytes=np.zeros(len(ids), np.uint32),
        )
        return Shard(split="train", first_row=0, columns=columns, source_names=("a",))

    padded = hash_documents(shard([[7, 8, 0, 0], [7, 8, 9, 9]], [2, 2, 2], [0, 1, 3]))
    assert padded[0] == padded[1] != padded[2]
    longer = hash_documents(shard([[7, 8, 9, 9]], [3], [0, 1]))
    assert longer[0] != padded[0]


@pytest.mark.parametrize("kept", [-8, None])
def test_a_damaged_or_missing_shard_is_named(tmp_path: Path, kept: int | None) -> None:
    folder = open_folder(prepare_documents(tmp_path, {"train": TRAIN}))
    path = tmp_path / "train" / "00000.arrow"
    path.unlink() if kept is None else path.write_bytes(path.read_bytes()[:kept])
    message = r"^shard \S+/train/00000.arrow cannot be read \(.*\); remove the folder to prepare it anew$"
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


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no rows in any split; prepare it with data=packed, or hold documents out"):
        open_folder(prepare_documents(tmp_path, {"train": TRAIN}, only=("validation", "test")))


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
    ],
)
def test_a_damaged_quarantine_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    (prepare_documents(tmp_path, {"train": TRAIN}) / "quarantine.jsonl").write_bytes(line)
    with pytest.raises(UserError, match=message):
        look_at(open_folder(tmp_path), follow=follow)


def test_a_mirror_has_no_quarantine(directory: Path, tmp_path: Path) -> None:
    mirror_data(url=directory.as_uri(), directory=tmp_path, settings=PackingSettings(seq_len=16), tokenizer=BYTES)
    look = look_at(open_folder(tmp_path), follow=follow)
    assert look.rejected is None
    assert look.figures["train"].documents == 7


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
