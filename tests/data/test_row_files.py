import gzip
import json
import os
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from chatmusician.data.columns import Columns, InstructionColumns, TextColumn
from chatmusician.data.raw_rows import RawRow
from chatmusician.data.row_files import RowFiles
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.errors import UserError


def row_files(
    *files: Path | str, path: Path | str | None = None, split: str = "train", unit_bytes: int = 1000
) -> RowFiles:
    return RowFiles(
        path=None if path is None else str(path),
        files=tuple(map(str, files)),
        subset=None,
        split=split,
        revision=None,
        unit_bytes=unit_bytes,
        max_row_bytes=1000,
    )


def read(files: RowFiles, *columns: str) -> list[tuple[str, RawRow]]:
    """Each row, with the name of its file."""
    return [(Path(run.file).name, row) for run in files.runs(columns or ("text",)) for row in run.rows()]


def values(files: RowFiles, *columns: str) -> list[Any]:
    return [row.reason or row.values for _, row in read(files, *columns)]


def write_lines(path: Path, *texts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def write_parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def refused(files: RowFiles) -> str:
    with pytest.raises(UserError) as error:
        files.describe()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of rows, some in folders of a folder, and others."""
    write_lines(tmp_path / "b.jsonl", "b")
    write_lines(tmp_path / "a" / "z.ndjson", "z")
    write_parquet(tmp_path / "a" / "y.parquet" / "part-0.parquet", text=["y"])  # as Spark has it: the name of a folder
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(b'{"text": "c"}\n'))
    (tmp_path / "README.md").write_text("no rows")
    return tmp_path


def test_a_folder_is_searched_for_files_of_rows_in_order(folder: Path) -> None:
    found = row_files(folder)
    assert [os.path.relpath(name, folder) for name in found.names] == [
        "a/y.parquet/part-0.parquet",
        "a/z.ndjson",
        "b.jsonl",
        "c.json.gz",
    ]
    assert values(found) == [{"text": text} for text in "yzbc"]


@pytest.mark.parametrize(
    ("patterns", "texts"),
    [(["b.jsonl"], "b"), (["b.jsonl", "a/*.ndjson"], "bz"), (["**/*.*json*"], "zbc"), (["*", "a/z.ndjson"], "bcz")],
)
def test_patterns_stand_for_files_in_order(folder: Path, patterns: list[str], texts: str) -> None:
    (folder / "README.md").unlink()
    assert values(row_files(*(folder / pattern for pattern in patterns))) == [{"text": text} for text in texts]


def test_urls_and_patterns_of_urls(folder: Path) -> None:
    assert values(row_files(f"file://{folder}/b.jsonl", f"file://{folder}/a/*.ndjson")) == [
        {"text": "b"},
        {"text": "z"},
    ]


def test_files_are_known_by_their_content_wherever_they_lie(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "one" / "a.jsonl", *map(str, range(100_000)))
    described = row_files(first).describe()
    assert described[0]["name"] == "a.jsonl"
    assert described[0]["size"] == first.stat().st_size
    second = tmp_path / "two" / "a.jsonl"
    second.parent.mkdir()
    second.write_bytes(first.read_bytes())
    assert row_files(second).describe() == described
    write_lines(second, *map(str, range(99_999)), "x9999")  # as long, and another at the end
    assert row_files(second).describe()[0]["size"] == described[0]["size"]
    assert row_files(second).describe() != described
    remote = row_files(f"file://{first}").describe()
    assert (remote[0]["name"], remote[0]["size"]) == (f"file://{first}", described[0]["size"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["none.jsonl"], r"corpus.files='.*none.jsonl': there is no such file; folders are searched for .parquet, "),
        (["none/*.parquet"], r"corpus.files='.*none/\*.parquet': there is no such file"),
        (["empty"], r"corpus.files='.*empty': there is no such file"),
        (["strange://a/b.jsonl"], r"corpus.files='strange://a/b.jsonl' cannot be opened \(Protocol not known: strange"),
        (["s3://a/b.jsonl"], r"corpus.files='s3://a/b.jsonl' cannot be opened \(Install s3fs to access S3\)"),
        (["memory://a/*.jsonl"], r"corpus.files='memory://a/\*.jsonl': there is no such file"),
        (["memory://a/b.jsonl"], r"memory://a/b.jsonl cannot be read \(.*\); run again when it can"),
    ],
)
def test_files_that_are_not_there_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        row_files(*(name if "://" in name else tmp_path / name for name in files)).describe()


@pytest.mark.parametrize("name", ["a.jsonl", "*.jsonl"])
def test_a_server_that_does_not_answer_is_one_line(name: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    message = refused(row_files(f"http://127.0.0.1:{port}/{name}"))
    assert message.startswith(f"http://127.0.0.1:{port}/{name} cannot be read (")
    assert "Connect call failed" in message


@pytest.mark.parametrize(("files", "path"), [([], None), (["a.jsonl"], "m-a-p/MusicPile")])
def test_either_a_dataset_or_files_are_given(files: list[str], path: str | None) -> None:
    assert (
        refused(row_files(*files, path=path)) == f"corpus.path={path!r} and corpus.files={files}: give one of the two"
    )


def test_files_of_no_known_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a/>")
    with pytest.raises(UserError, match=r"corpus.files='.*a.xml': rows are not read from .xml; use one of .parquet, "):
        read(row_files(tmp_path / "a.xml"))


@pytest.mark.parametrize("start", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_array_of_json_is_rows(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.json").write_bytes(start + b'[{"text": "a"},\n {"text": "b"}]')
    assert read(row_files(tmp_path / "a.json")) == [
        ("a.json", RawRow(1, {"text": "a"})),
        ("a.json", RawRow(2, {"text": "b"})),
    ]


def test_lines_of_json_may_be_called_json(tmp_path: Path) -> None:
    assert values(row_files(write_lines(tmp_path / "a.json", "a", "b"))) == [{"text": "a"}, {"text": "b"}]


def test_other_formats_are_read_through_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,src\none,pile\n"two\nlines",\n')
    (tmp_path / "b.txt").write_text("three\nfour\n")
    found = read(row_files(tmp_path / "a.csv", tmp_path / "b.txt"))
    assert found == [
        ("a.csv", RawRow(1, {"text": "one", "src": "pile"})),
        ("a.csv", RawRow(2, {"text": "two\nlines", "src": None})),
        ("b.txt", RawRow(1, {"text": "three"})),
        ("b.txt", RawRow(2, {"text": "four"})),
    ]


def test_rows_that_datasets_reads_are_cut_and_checked_too(tmp_path: Path) -> None:
    rows = [{"text": "x" * length} for length in (400, 1001, 400, 400, 400)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    runs = list(row_files(tmp_path / "a.json", unit_bytes=1100).runs(["text"]))
    assert [run.begins_file for run in runs] == [True, False, False]
    found = [row for run in runs for row in run.rows()]
    assert [row.line for row in found] == [1, 2, 3, 4, 5]
    assert [row.reason for row in found] == ["", "longer than corpus.max_row_bytes=1000", "", "", ""]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "No columns to parse from file"),
        ("a.csv", b'text,src\na,b\n"never closed,b\n', "Error tokenizing data"),
        ("a.csv", b"text,src\na,b\nc,d,e,f\n", "Error tokenizing data"),
        ("a.csv", b"text,src\na,b\ncaf\xe9,d\n", "'utf-8' codec can't decode byte 0xe9"),
        ("a.json", b'[{"text": "a"}, {"text":', "Expected object or value"),
        ("a.json", b"[]", "an empty file"),
        ("a.txt", b"", "an empty file"),
    ],
)
def test_what_datasets_cannot_read_is_a_lost_file(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    write_lines(tmp_path / "b.jsonl", "good")
    (_, lost), (_, good) = read(row_files(tmp_path / name, tmp_path / "b.jsonl"))
    assert (lost.line, lost.values, lost.lost_file) == (0, None, True)
    assert lost.reason.startswith(reason)
    assert good.values == {"text": "good"}


MUSICPILE = [
    {"id": 0, "text": "The Pile.", "src": "pile"},
    {"id": 1, "text": "Human: Hello. </s> Assistant: Hi. </s> ", "src": "openchat"},
]
SFT = [
    {"instruction": "Add chords. ", "input": "X:1", "output": "X:2", "src": "irishman", "id": 0},
    {
        "instruction": "Human: Add chords. ",
        "input": "X:3 </s> ",
        "output": "Assistant: X:4 </s> ",
        "src": "irishman",
        "id": 1,
    },
]


def write_dataset(folder: Path, kind: str, rows: list[dict[str, Any]], *, split: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
    elif kind == "jsonl":
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        (folder / f"{split}.json").write_text(json.dumps(rows))
    else:
        pc.write_csv(pa.Table.from_pylist(rows), folder / f"{split}.csv")


def documents(path: Path, columns: Columns, *, split: str) -> list[tuple[str, str, str]]:
    """Text, trained text and source of each."""
    source = RowSource(columns=columns, path=str(path), split=split, source="src")
    found = RowCorpus(sources={"rows": source}, held_out=0.0).documents("train")
    return [
        (document.text, "".join(document.text[start:end] for start, end in document.trained), document.source)
        for document in found
    ]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "csv"])
@pytest.mark.parametrize("inside", ["", "data"])
def test_a_folder_laid_out_as_on_the_hub_is_a_dataset(tmp_path: Path, kind: str, inside: str) -> None:
    """The columns of MusicPile and MusicPile-sft, whose rows carry parts of the template or not."""
    for name, rows in (("pile", MUSICPILE), ("sft", SFT)):
        write_dataset(tmp_path / name / inside, kind, rows, split="train")
        write_dataset(tmp_path / name / inside, kind, rows[:1], split="test")
    assert documents(tmp_path / "pile", TextColumn(), split="train") == [
        (row["text"], row["text"], row["src"]) for row in MUSICPILE
    ]
    assert documents(tmp_path / "sft", InstructionColumns(), split="train") == [
        ("Human: Add chords. X:1 </s> Assistant: X:2 </s> ", "Assistant: X:2 </s> ", "irishman"),
        ("Human: Add chords. X:3 </s> Assistant: X:4 </s> ", "Assistant: X:4 </s> ", "irishman"),
    ]
    assert len(documents(tmp_path / "sft", InstructionColumns(), split="test")) == 1
    message = refused(row_files(path=tmp_path / "pile", split="dev"))
    assert message == f"corpus.path='{tmp_path / 'pile'}' has no split 'dev'; it has train, test"
    described = row_files(path=tmp_path / "pile").describe()
    assert [file["name"] for file in described] == [
        "train-00000-of-00001.parquet" if kind == "parquet" else f"train.{kind}"
    ]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_that_is_no_dataset_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    message = refused(row_files(path=tmp_path / name))
    assert message.startswith(f"corpus.path='{tmp_path / name}' cannot be read (")
    assert message.endswith("; give a Hub id, or path=null and files")
