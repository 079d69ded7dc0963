import gzip
import json
import pickle
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from chatmusician.data.json_lines import CarriedLines, LineRange, line_runs
from chatmusician.data.raw_rows import RawRow, RowRun
from chatmusician.errors import UserError


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACKED: dict[str, Callable[[bytes], bytes]] = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstd}
"""How the content of a file of each ending is written."""


def runs_of(path: Path, content: bytes, *, unit_bytes: int = 1000, max_row_bytes: int = 1000) -> list[RowRun]:
    path.write_bytes(content)
    runs = list(line_runs(str(path), unit_bytes=unit_bytes, max_row_bytes=max_row_bytes))
    return pickle.loads(pickle.dumps(runs))


def read(path: Path, content: bytes, **sizes: int) -> list[RawRow]:
    return [row for run in runs_of(path, content, **sizes) for row in run.rows()]


def numbered(count: int, *, padding: int = 0) -> bytes:
    """So many lines of ``{"n": 1}`` and on; with ``padding`` random letters in each, which no compression shortens."""
    draw = random.Random(5)
    letters = ["".join(draw.choices("abcdefgh", k=padding)) for _ in range(count)]
    return b"".join(json.dumps({"n": n + 1, "x": text}).encode() + b"\n" for n, text in enumerate(letters))


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'{"n": 1}\n{"n": 2}\n', [(1, {"n": 1}), (2, {"n": 2})]),
        (b'{"n": 1}\n{"n": 2}', [(1, {"n": 1}), (2, {"n": 2})]),  # no newline at the end
        (b'{"n": 1}\r\n{"n": 2}\r\n', [(1, {"n": 1}), (2, {"n": 2})]),
        (b'\xef\xbb\xbf{"n": 1}\n{"n": 2}\n', [(1, {"n": 1}), (2, {"n": 2})]),  # a byte order mark
        (b'\n{"n": 2}\n \t\r\n\n', [(1, "an empty line"), (2, {"n": 2}), (3, "an empty line"), (4, "an empty line")]),
        (b'\xef\xbb\xbf\n{"n": 2}\n', [(1, "an empty line"), (2, {"n": 2})]),
    ],
)
def test_lines_are_rows_by_their_number(tmp_path: Path, ending: str, content: bytes, lines: list[Any]) -> None:
    rows = read(tmp_path / f"a{ending}", PACKED[ending](content))
    assert [(row.line, row.reason or row.values) for row in rows] == lines


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"n": 1', "not JSON: Expecting ',' delimiter at character 8"),
        (b"{'n': 1}", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        (b'{"n": 1} {"n": 2}', "not JSON: Extra data at character 10"),
        (b'{"n": "\x01"}', "not JSON: Invalid control character at character 8"),
        (b"\0\0\0", "not JSON: Expecting value at character 1"),
        (b'{"n": "a\0b"}', "not JSON: Invalid control character at character 9"),
        (b'{"n": ' + b"1" * 5000 + b"}", "longer than corpus.max_row_bytes=1000"),
        (b"[1, 2]", "JSON of a list, not of an object"),
        (b'"text"', "JSON of a str, not of an object"),
        (b"null", "JSON of a NoneType, not of an object"),
        (b"[" * 999, "JSON that is nested too deep"),
        (b'{"n": "caf\xe9"}', "not UTF-8: byte 0xe9 at 10"),
        (b'{"n": "\xed\xa0\x80"}', "not UTF-8: byte 0xed at 7"),  # half of a surrogate pair as bytes
        (b'\xff\xfe{\0"\0n\0', "not UTF-8: byte 0xff at 0"),  # UTF-16
    ],
)
def test_a_line_that_is_no_row_has_a_reason(tmp_path: Path, ending: str, line: bytes, reason: str) -> None:
    content = b'{"n": 1}\n' + line + b'\n{"n": 3}\n'
    first, second, third = read(tmp_path / f"a{ending}", PACKED[ending](content))
    assert (first.values, third.values) == ({"n": 1}, {"n": 3})
    assert (first.line, second, third.line) == (1, RawRow(2, None, reason), 3)


def test_a_number_of_too_many_digits_is_a_reason(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.jsonl", b'{"n": ' + b"1" * 5000 + b"}\n", max_row_bytes=10_000)
    assert row.reason.startswith("not JSON: Exceeds the limit (4300 digits) for integer string conversion")


def test_what_json_allows_is_read(tmp_path: Path) -> None:
    """A NUL and half of a surrogate pair may be escaped: whether a text may hold them is for its reader to say."""
    (row,) = read(tmp_path / "a.jsonl", b'{"a": "\\u0000", "b": "\\ud83c\\udfb5", "c": "\\ud83c", "a": "x\\u0000"}')
    assert row.values == {"a": "x\0", "b": "🎵", "c": "\ud83c"}


def test_runs_of_a_plain_file_are_ranges_that_end_with_a_line(tmp_path: Path) -> None:
    """Lines of 9, 10 and 9 bytes: 9 are enough for a run of 9, 18 are not for one of 19."""
    content = b'{"n": 1}\n{"n": 22}\n{"n": 3}\n'

    def cuts(unit_bytes: int) -> list[tuple[int, int, int]]:
        runs = runs_of(tmp_path / "a.jsonl", content, unit_bytes=unit_bytes)
        assert all(isinstance(run, LineRange) for run in runs)
        assert [run.begins_file for run in runs] == [True] + [False] * (len(runs) - 1)
        return [(run.start, run.end, run.first_line) for run in runs if isinstance(run, LineRange)]

    assert cuts(1) == cuts(9) == [(0, 9, 1), (9, 19, 2), (19, 28, 3)]
    assert cuts(10) == [(0, 19, 1), (19, 28, 3)]
    assert cuts(19) == [(0, 19, 1), (19, 28, 3)]
    assert cuts(20) == cuts(28) == cuts(10**9) == [(0, 28, 1)]


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_runs_of_a_stream_carry_the_lines_of_the_same_cuts(tmp_path: Path, ending: str) -> None:
    content = b'{"n": 1}\n{"n": 22}\n{"n": 3}\n'
    runs = runs_of(tmp_path / f"a{ending}", PACKED[ending](content), unit_bytes=10)
    assert [(run.content, run.first_line) for run in runs if isinstance(run, CarriedLines)] == [
        (b'{"n": 1}\n{"n": 22}\n', 1),
        (b'{"n": 3}\n', 3),
    ]
    assert [run.begins_file for run in runs] == [True, False]


def read_plainly(content: bytes, *, max_row_bytes: int) -> list[tuple[int, Any]]:
    """Number and values of each line, or None for a line that is no row: one line after the other, all in memory."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    found: list[tuple[int, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line.decode()) if len(line) <= max_row_bytes else None
        except ValueError:
            values = None
        found.append((number, values if isinstance(values, dict) else None))
    return found


def random_lines(draw: random.Random, *, count: int) -> bytes:
    kinds: list[Callable[[], bytes]] = [
        lambda: json.dumps({"text": "é🎵 a" * draw.randrange(6)}).encode(),
        lambda: json.dumps({"text": "naïve" * draw.randrange(4)}, ensure_ascii=False).encode() + b"\r",
        lambda: b"",
        lambda: b"{broken",
        lambda: b'{"text": "' + b"x" * draw.randrange(60, 140) + b'"}',
        lambda: b"\xff" * draw.randrange(3),
    ]
    return b"\n".join(draw.choice(kinds)() for _ in range(count)) + b"\n" * draw.randrange(2)


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("seed", range(8))
def test_any_cut_gives_what_a_plain_reading_gives(tmp_path: Path, ending: str, seed: int) -> None:
    draw = random.Random(seed)
    content = random_lines(draw, count=draw.randrange(1, 60)) or b"\n"
    expected = read_plainly(content, max_row_bytes=100)
    for unit_bytes in (1, 2, 7, 33, 100, 512, 10**6):
        rows = read(tmp_path / f"a{ending}", PACKED[ending](content), unit_bytes=unit_bytes, max_row_bytes=100)
        assert [(row.line, row.values) for row in rows] == expected


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("unit_bytes", [1, 4_000_000])
def test_lines_that_cross_blocks_and_lines_too_long_for_one(tmp_path: Path, ending: str, unit_bytes: int) -> None:
    """Blocks are of a mebibyte. Too long: the first, two on end, one before a short line, and the last, without end."""
    long = b'{"text": "' + b"x" * 2_500_000 + b'"}'
    longest = long * 2
    content = b"\n".join([longest, b'{"n": 2}', long, b"", longest, longest, b'{"n": 7}', long, longest])
    rows = read(tmp_path / f"a{ending}", PACKED[ending](content), unit_bytes=unit_bytes, max_row_bytes=len(long))
    whole, too_long = {"text": "x" * 2_500_000}, "longer than corpus.max_row_bytes=2500012"
    assert [(row.line, row.reason or row.values) for row in rows] == [
        (1, too_long),
        (2, {"n": 2}),
        (3, whole),
        (4, "an empty line"),
        (5, too_long),
        (6, too_long),
        (7, {"n": 7}),
        (8, whole),
        (9, too_long),
    ]


@pytest.mark.parametrize("ending", PACKED)
def test_a_line_of_50_megabytes_is_never_held(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(PACKED[ending](b'{"n": 1}\n' + b"x" * 50_000_000 + b'\n{"n": 3}\n'))
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    try:
        runs = line_runs(str(path), unit_bytes=4_000_000, max_row_bytes=1_000_000)
        rows = [row for run in runs for row in run.rows()]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row.line for row in rows if row.values] == [1, 3]
    assert [(row.line, row.reason) for row in rows if row.reason] == [(2, "longer than corpus.max_row_bytes=1000000")]
    assert peak < 6_000_000
    assert pa.total_allocated_bytes() - arrow < 6_000_000


@pytest.mark.parametrize("ending", PACKED)
def test_a_file_without_a_line_is_lost(tmp_path: Path, ending: str) -> None:
    lost = RawRow(0, None, "an empty file", lost_file=True)
    assert read(tmp_path / f"nothing{ending}", b"") == [lost]
    assert read(tmp_path / f"a{ending}", PACKED[ending](b"")) == [lost]
    (run,) = runs_of(tmp_path / f"a{ending}", b"")
    assert run.begins_file


def test_members_of_a_gzip_file_are_read_on_end(tmp_path: Path) -> None:
    """They are what ``cat a.gz b.gz`` gives; a line may be in two of them."""
    content = numbered(100)
    parts = gzip.compress(content[:333]) + gzip.compress(b"") + gzip.compress(content[333:])
    rows = read(tmp_path / "a.jsonl.gz", parts)
    assert [(row.line, (row.values or {})["n"]) for row in rows] == [(n, n) for n in range(1, 101)]


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("unit_bytes", [100, 50_000, 10**9])
def test_rows_before_a_break_are_kept(tmp_path: Path, ending: str, unit_bytes: int) -> None:
    """Three megabytes of letters, cut in the middle: zstd gives whole blocks of 128 KiB, gzip all there is."""
    content = numbered(3000, padding=1000)
    packed = PACKED[ending](content)
    *rows, lost = read(tmp_path / f"a{ending}", packed[: len(packed) // 2], unit_bytes=unit_bytes, max_row_bytes=10**4)
    assert 1300 < len(rows) < 1600
    assert [(row.line, (row.values or {})["n"]) for row in rows] == [(n, n) for n in range(1, len(rows) + 1)]
    assert lost == RawRow(len(rows) + 1, None, "Truncated compressed stream", lost_file=True)


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_a_break_says_which_run_begins_its_file(tmp_path: Path, ending: str) -> None:
    """Of the files that are read some break off; each has begun once, in the middle of its first line too."""
    content = numbered(3000, padding=1000)
    packed = PACKED[ending](content)
    for size in (10, 1000, len(packed) // 2):
        for max_row_bytes in (10, 10**4):
            runs = runs_of(tmp_path / f"a{ending}", packed[:size], max_row_bytes=max_row_bytes)
            assert [run.begins_file for run in runs] == [True] + [False] * (len(runs) - 1)


def test_damage_in_a_stream_loses_no_more_than_what_is_behind_it(tmp_path: Path) -> None:
    content = numbered(6000, padding=1000)
    packed = bytearray(gzip.compress(content))
    packed[len(packed) // 2] ^= 0xFF
    rows = read(tmp_path / "a.jsonl.gz", bytes(packed), max_row_bytes=10**4)
    good = [row for row in rows if row.values]
    assert len(good) > 1500
    assert [row.line for row in good[:1500]] == [(row.values or {})["n"] for row in good[:1500]]
    assert rows[-1].lost_file
    assert rows[-1].reason.startswith("zlib inflate failed")


def test_what_is_no_stream_of_its_kind_is_lost(tmp_path: Path) -> None:
    plain = b'{"n": 1}\n'
    for ending in (".jsonl.gz", ".jsonl.zst"):
        (row,) = read(tmp_path / f"a{ending}", plain)
        assert (row.line, row.lost_file) == (1, True)


def test_a_file_that_is_gone_is_not_taken_for_a_bad_one(tmp_path: Path) -> None:
    """It may be back in the next run, which must find nothing recorded of it."""
    path = tmp_path / "a.jsonl"
    (run,) = runs_of(path, b'{"n": 1}\n')
    path.unlink()
    for act in (run.rows, lambda: line_runs(str(path), unit_bytes=9, max_row_bytes=9)):
        with pytest.raises(UserError, match=r"a.jsonl cannot be read \(.*No such file.*\); run again when it can"):
            list(act())
    with pytest.raises(UserError, match=r"b.jsonl.gz cannot be read"):
        list(line_runs(str(tmp_path / "b.jsonl.gz"), unit_bytes=9, max_row_bytes=9))


def test_a_file_behind_a_url_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n\n{"n": 3}\n')
    (run,) = line_runs(f"file://{path}", unit_bytes=1000, max_row_bytes=1000)
    assert isinstance(run, CarriedLines)
    assert run.file == f"file://{path}"
    assert [(row.line, row.reason or row.values) for row in run.rows()] == [
        (1, {"n": 1}),
        (2, "an empty line"),
        (3, {"n": 3}),
    ]
