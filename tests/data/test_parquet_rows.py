import pickle
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatmusician.data.parquet_rows import ParquetRun, parquet_runs
from chatmusician.data.raw_rows import RawRow
from chatmusician.errors import UserError

TOO_LONG = "longer than corpus.max_row_bytes=100"


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def runs_of(path: Path, *columns: str, unit_bytes: int = 10**6, max_row_bytes: int = 10**6) -> list[ParquetRun]:
    runs = list(
        parquet_runs(str(path), columns=columns or ("text",), unit_bytes=unit_bytes, max_row_bytes=max_row_bytes)
    )
    return pickle.loads(pickle.dumps(runs))


def read(path: Path, *columns: str, **sizes: int) -> list[RawRow]:
    return [row for run in runs_of(path, *columns, **sizes) for row in run.rows()]


def texts(count: int, *, length: int = 50, seed: int = 3) -> list[str]:
    """Texts that no encoding shortens."""
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefgh", k=length)) for _ in range(count)]


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"id": [7, 8], "text": ["one", "two"], "src": ["pile", None]})
    assert read(path, "text", "src") == [
        RawRow(1, {"text": "one", "src": "pile"}),
        RawRow(2, {"text": "two", "src": None}),
    ]


@pytest.mark.parametrize("unit_bytes", [1, 700, 5000, 10**9])
@pytest.mark.parametrize("group_rows", [1, 7, 300, 1000])
def test_rows_are_numbered_over_row_groups_and_runs(tmp_path: Path, group_rows: int, unit_bytes: int) -> None:
    wanted = texts(1000)
    path = write(tmp_path / "a.parquet", {"text": wanted}, row_group_size=group_rows)
    runs = runs_of(path, unit_bytes=unit_bytes)
    assert [run.begins_file for run in runs] == [True] + [False] * (len(runs) - 1)
    rows = [row for run in runs for row in run.rows()]
    assert rows == [RawRow(number, {"text": text}) for number, text in enumerate(wanted, start=1)]


def test_a_row_group_is_cut_by_the_size_of_the_columns_that_are_read(tmp_path: Path) -> None:
    """Stored plainly, 1000 texts of 96 bytes take 4 more each and 100 kB in all: 10 runs of 10 kB."""
    columns = {"text": texts(1000, length=96), "big": texts(1000, length=900)}
    path = write(tmp_path / "a.parquet", columns, use_dictionary=False, compression="none")
    stated = pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    assert 100_000 < stated < 100_500  # with what stands before the pages
    runs = runs_of(path, "text", unit_bytes=stated // 10 + 1)
    assert [(run.start, run.stop) for run in runs] == [(n, n + 100) for n in range(0, 1000, 100)]


def test_texts_that_a_dictionary_holds_once_do_not_make_one_huge_run(tmp_path: Path) -> None:
    """20,000 rows of 4 kB are 80 MB, of which the file states 60 kB."""
    few = texts(10, length=4000)
    path = write(tmp_path / "a.parquet", {"text": [few[n % 10] for n in range(20_000)]})
    assert [(run.start, run.stop) for run in runs_of(path)] == [(0, 8192), (8192, 16384), (16384, 20_000)]


def test_nested_columns_count_and_are_read(tmp_path: Path) -> None:
    messages = [[{"role": "user", "content": text}, {"role": "gpt", "content": None}] for text in texts(100)]
    path = write(tmp_path / "a.parquet", {"messages": [*messages, [], None], "text": texts(102)})
    runs = runs_of(path, "messages", unit_bytes=1000)
    assert len(runs) > 5
    rows = [row for run in runs for row in run.rows()]
    assert [row.values for row in rows] == [{"messages": value} for value in [*messages, [], None]]


def test_a_column_with_a_point_in_its_name_is_not_a_nested_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"a.b": texts(100), "a": texts(100)}, use_dictionary=False)
    assert len(runs_of(path, "a.b", unit_bytes=600)) > 5
    assert read(path, "a.b", unit_bytes=600) == [RawRow(n + 1, {"a.b": text}) for n, text in enumerate(texts(100))]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["one", None, "été"], pa.string()),
        pa.array(["one", None, "été"], pa.large_string()),
        pa.array(["one", None, "été"], pa.string_view()),
        pa.array(["one", None, "été"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_every_kind_of_text_is_text(tmp_path: Path, column: pa.Array) -> None:
    path = write(tmp_path / "a.parquet", {"text": column})
    assert [row.values for row in read(path)] == [{"text": "one"}, {"text": None}, {"text": "été"}]


def test_values_of_other_kinds_are_left_to_who_reads_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": [b"one"], "src": [1.5]})
    assert read(path, "text", "src") == [RawRow(1, {"text": b"one", "src": 1.5})]


def strings(*values: bytes) -> pa.Array:
    """Bytes that are said to be text, whatever they are."""
    ends = pa.array(np.cumsum([0, *map(len, values)]), pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(values), [None, ends, pa.py_buffer(b"".join(values))])


def test_text_that_is_not_utf_8_is_a_row_with_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": strings(b"one", b"caf\xe9", b"three", b"\xed\xa0\x80")})
    assert read(path) == [
        RawRow(1, {"text": "one"}),
        RawRow(2, None, "not UTF-8: byte 0xe9 at 3"),
        RawRow(3, {"text": "three"}),
        RawRow(4, None, "not UTF-8: byte 0xed at 0"),
    ]


def test_a_value_that_python_has_not_is_a_row_with_a_reason(tmp_path: Path) -> None:
    """The first microsecond of the year 10,000."""
    times = pa.array([0, 253_402_300_800_000_000], pa.timestamp("us"))
    path = write(tmp_path / "a.parquet", {"text": times})
    assert read(path) == [
        RawRow(1, {"text": datetime(1970, 1, 1)}),
        RawRow(2, None, "date value out of range"),
    ]


def test_rows_that_are_too_long_by_their_bytes_have_a_reason(tmp_path: Path) -> None:
    """é has two bytes; a list counts as what is in it."""
    path = write(tmp_path / "a.parquet", {"text": ["a" * 100, "a" * 101, "é" * 50, "é" * 51, "a"]})
    assert [row.reason for row in read(path, max_row_bytes=100)] == ["", TOO_LONG, "", TOO_LONG, ""]
    path = write(tmp_path / "b.parquet", {"messages": [[{"content": "a" * 50}] * 2, [{"content": "a" * 51}] * 2]})
    assert [row.reason for row in read(path, "messages", max_row_bytes=100)] == ["", TOO_LONG]
    path = write(tmp_path / "c.parquet", {"text": ["a" * 60, "a" * 60], "src": ["b" * 40, "b" * 41]})
    assert [row.reason for row in read(path, "text", "src", max_row_bytes=100)] == ["", TOO_LONG]


def test_a_group_of_any_size_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """64 MB in one row group, in pages of a megabyte; 4 MB are decoded at once."""
    wide = ["x" * 100_000 + str(n) for n in range(640)]
    path = write(tmp_path / "a.parquet", {"text": wide}, use_dictionary=False, write_batch_size=10)
    assert pq.ParquetFile(path).num_row_groups == 1
    before = pa.total_allocated_bytes()
    most = 0
    for run in parquet_runs(str(path), columns=["text"], unit_bytes=4_000_000, max_row_bytes=10**6):
        for row in run.rows():
            assert row.values is not None
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 16_000_000


@pytest.mark.parametrize("seed", range(3))
def test_runs_that_are_read_out_of_order_have_the_same_rows(tmp_path: Path, seed: int) -> None:
    """The group's reader is begun anew, goes on, or passes over rows; some readings are left in the middle."""
    draw = random.Random(seed)
    paths = [
        write(tmp_path / f"{name}.parquet", {"text": texts(1500, seed=n)}, row_group_size=700)
        for n, name in enumerate("ab")
    ]
    runs = [run for path in paths for run in runs_of(path, unit_bytes=3000)]
    expected = {(run.file, run.group, run.start): list(run.rows()) for run in runs}
    for _ in range(200):
        run = draw.choice(runs)
        rows = run.rows()
        found = [row for row, _ in zip(rows, range(draw.choice([1, 3, 10**6])), strict=False)]
        assert found == expected[run.file, run.group, run.start][: len(found)]
        del rows


def test_a_file_in_the_place_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    first, *_ = runs_of(write(tmp_path / "a.parquet", {"text": texts(500, seed=1)}), unit_bytes=3000)
    assert next(first.rows()).values == {"text": texts(500, seed=1)[0]}
    write(tmp_path / "new", {"text": texts(500, seed=2)}).replace(tmp_path / "a.parquet")
    rows = [row.values for run in runs_of(tmp_path / "a.parquet", unit_bytes=3000)[1:] for row in run.rows()]
    assert rows == [{"text": text} for text in texts(500, seed=2)[-len(rows) :]]


def lost(path: Path, *columns: str) -> str:
    """Why a file is lost whole."""
    (row,) = read(path, *columns)
    assert (row.line, row.values, row.lost_file) == (0, None, True)
    return row.reason


def test_files_that_are_no_parquet_are_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"")
    assert lost(path) == "Parquet file size is 0 bytes"
    path.write_text('{"text": "lines of JSON under another name"}\n')
    assert "Parquet magic bytes not found in footer" in lost(path)
    content = write(path, {"text": texts(100)}).read_bytes()
    path.write_bytes(content[:-200])  # the footer is at the end
    assert "Parquet magic bytes not found in footer" in lost(path)
    path.write_bytes(content[:-300] + bytes(260) + content[-40:])
    lost(path)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"content": ["one"], "id": [1]})
    assert lost(path, "content", "text") == "no column 'text'; there are 'content', 'id'"


def test_a_file_of_no_rows_is_no_fault(tmp_path: Path) -> None:
    (run,) = runs_of(write(tmp_path / "a.parquet", {"text": pa.array([], pa.string())}))
    assert run.begins_file
    assert list(run.rows()) == []


def test_the_first_run_begins_a_file_whose_first_group_is_empty(tmp_path: Path) -> None:
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for group in ([], ["one"], [], ["two"]):
            writer.write_table(pa.table({"text": group}, schema=schema))
    runs = runs_of(tmp_path / "a.parquet")
    assert [run.begins_file for run in runs] == [True, False]
    assert [row for run in runs for row in run.rows()] == [RawRow(1, {"text": "one"}), RawRow(2, {"text": "two"})]


def damaged(path: Path, text: str) -> Path:
    """The file with a letter changed in the middle of a text, on disk as it is."""
    content = path.read_bytes()
    place = content.index(text.encode()) + len(text) // 2
    path.write_bytes(content[:place] + b"?" + content[place + 1 :])
    return path


@pytest.mark.parametrize("unit_bytes", [4000, 10**6])
def test_rows_before_a_damaged_page_and_in_other_groups_are_kept(tmp_path: Path, unit_bytes: int) -> None:
    """Groups of 1000 rows and pages of about 100; the checksum of the page with row 1501 is not that of its content."""
    wanted = texts(3000, length=100)
    options = {"use_dictionary": False, "compression": "none", "write_page_checksum": True, "write_batch_size": 10}
    path = write(tmp_path / "a.parquet", {"text": wanted}, row_group_size=1000, data_page_size=10_000, **options)
    runs = runs_of(damaged(path, wanted[1500]), unit_bytes=unit_bytes)
    rows = [row for run in runs for row in run.rows()]
    good = [row.line for row in rows if row.values]
    assert all(row.values == {"text": wanted[row.line - 1]} for row in rows if row.values)
    first_bad, *others = [row for row in rows if not row.values]
    assert good == [*range(1, first_bad.line), *range(2001, 3001)]
    assert 1200 < first_bad.line <= 1501
    ends = [run.first_row + run.stop for run in runs if 1000 < run.first_row + run.stop <= 2000]
    assert [row.line for row in others] == [end + 1 for end in ends if first_bad.line <= end < 2000]
    for row in (first_bad, *others):
        assert row.lost_file
        assert row.reason.startswith(f"rows {row.line} to {min(end for end in ends if end >= row.line)}: ")
        assert "CRC checksum verification failed" in row.reason


def test_a_page_that_cannot_be_unpacked_is_damage_too(tmp_path: Path) -> None:
    """Without checksums, as most files of the Hub are."""
    path = write(tmp_path / "a.parquet", {"text": texts(100)}, compression="gzip", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    (row,) = read(path)
    assert row.lost_file
    assert row.reason.startswith("rows 1 to 100: ")


def test_a_file_that_is_gone_is_not_taken_for_a_bad_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["one"]})
    (run,) = runs_of(path)
    path.unlink()
    for act in (run.rows, lambda: parquet_runs(str(path), columns=["text"], unit_bytes=9, max_row_bytes=9)):
        with pytest.raises(UserError, match=r"a.parquet cannot be read \(.*No such file.*\); run again when it can"):
            list(act())


def test_a_file_behind_a_url_has_the_same_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": texts(1000)}, row_group_size=300)
    runs = parquet_runs(f"file://{path}", columns=["text"], unit_bytes=3000, max_row_bytes=1000)
    assert [row for run in runs for row in run.rows()] == read(path)
