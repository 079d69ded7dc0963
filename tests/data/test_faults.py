"""Bad input of every kind, through the whole of preparing: told with file, line and reason, and the run goes on."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_folders import BYTES

from chatmusician.data.columns import TextColumn
from chatmusician.data.mixtures import Mixture
from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.preparation import PackingSettings, prepare, prepared_tokenizer
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.data.shards import Manifest
from chatmusician.data.units import one_by_one
from chatmusician.errors import UserError

SETTINGS = PackingSettings(seq_len=512, overlong="drop")


def row(text: Any, src: str | None = "pile") -> bytes:
    return json.dumps({"text": text, "src": src}).encode()


def rows(name: str, count: int) -> list[bytes]:
    """So many good rows, whose texts end in their line."""
    return [row(f"{name} {line}") for line in range(1, count + 1)]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> bytes:
    pq.write_table(pa.table(columns), path, **options)
    return path.read_bytes()


def strings(*values: bytes) -> pa.Array:
    """Bytes that are said to be text, whatever they are."""
    ends = pa.array(np.cumsum([0, *map(len, values)]), pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(values), [None, ends, pa.py_buffer(b"".join(values))])


BAD_LINES: list[tuple[bytes, str]] = [
    (b'{"text": "cut', "not JSON: Unterminated string starting at character 10"),
    (b'["text"]', "JSON of a list, not of an object"),
    (b"7", "JSON of a int, not of an object"),
    (b'{"text": ' + b"[" * 2000, "JSON that is nested too deep"),
    (b'{"src": "pile"}', "no column 'text'; there are 'src'"),
    (b"{}", "no column 'src'; there are none"),
    (row("no source", src=None), "column 'src' is null, not text"),
    (row(7), "column 'text' is int, not text"),
    (row(["a"]), "column 'text' is list, not text"),
    (b'{"text": "caf\xe9", "src": "pile"}', "not UTF-8: byte 0xe9 at 13"),
    (b'{"text": "a\0b", "src": "pile"}', "not JSON: Invalid control character at character 12"),
    (row("a\0b"), "a NUL character in the text"),
    (row("\ud83c"), "half of a surrogate pair in the text"),
    (row(""), "no text in column 'text'"),
    (row(" \n "), "no text in column 'text'"),
    (b"", "an empty line"),
    (b" \t", "an empty line"),
    (row("x" * 20_000), "longer than corpus.max_row_bytes=10000"),
]


def lines_with_faults() -> tuple[bytes, list[tuple[int, str]]]:
    """Each bad line behind a good one, all as Windows ends them, behind a byte order mark and without the last end."""
    lines = [line for number, (bad, _) in enumerate(BAD_LINES) for line in (row(f"good {number}"), bad)]
    expected = [(2 * number + 2, reason) for number, (_, reason) in enumerate(BAD_LINES)]
    return b"\xef\xbb\xbf" + b"\r\n".join([*lines, row("last")]), expected


LINES, LINE_FAULTS = lines_with_faults()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with faults among good ones; the names begin with letters in the order in which they are read."""
    folder = tmp_path_factory.mktemp("faults")
    packed = b"\n".join([*rows("packed", 3000), b""])
    texts = [f"page {number} " + "".join(random.Random(number).choices("abcdefgh", k=90)) for number in range(1, 901)]
    paged = {"use_dictionary": False, "compression": "none", "write_page_checksum": True, "write_batch_size": 10}
    columns = {"text": texts, "src": ["pile"] * 900}
    page = parquet(folder / "h.parquet", columns, row_group_size=600, data_page_size=2000, **paged)
    place = page.index(texts[449].encode()) + 50
    odd = {"text": strings(b"odd 1", b"caf\xe9", b"", b"a\0b", b"odd 5"), "src": ["pile", "pile", "pile", "pile", None]}
    contents = {
        "a.jsonl": b"\n".join([*rows("whole", 400), b""]),
        "b.jsonl": LINES,
        "c.jsonl": b"",
        "d.jsonl.gz": gzip.compress(packed)[:-2000],
        "e.jsonl.zst": zstd(packed)[:200],
        "f.jsonl.gz": gzip.compress(b"\n".join(rows("first", 30))) + gzip.compress(b"\n" + row("first 31")),
        "g.parquet": b"PAR1 is not all that a file needs PAR1",
        "h.parquet": page[:place] + b"?" + page[place + 1 :],
        "i.parquet": parquet(folder / "i.parquet", odd),
        "j.parquet": parquet(folder / "j.parquet", {"content": ["one"], "src": ["pile"]}),
        "k.parquet": parquet(folder / "k.parquet", {"text": ["last"], "src": ["pile"]}),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def corpus(*files: Path, unit_bytes: int = 4_000_000, **options: Any) -> RowCorpus:
    source = RowSource(
        columns=TextColumn(),
        files=[str(file) for file in files],
        source="src",
        unit_bytes=unit_bytes,
        max_row_bytes=10_000,
    )
    return RowCorpus(sources={"rows": source}, **{"held_out": 0.0, **options})


def prepare_rows(found: RowCorpus, directory: Path) -> Manifest:
    return prepare(corpus=found, tokenizer=BYTES, settings=SETTINGS, directory=directory)


def texts_of(directory: Path, manifest: Manifest) -> list[str]:
    """The training documents of a folder, in alphabetical order."""
    tokenizer = prepared_tokenizer(directory)
    found = []
    packed = PackedRows(directory / "train", manifest.splits["train"], seq_len=512)
    for number in range(len(packed)):
        ids, _, lengths = packed[number]
        ends = np.cumsum(lengths)
        found += [tokenizer.decode(ids[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
    return sorted(found)


def quarantined(directory: Path) -> list[tuple[str, int, str]]:
    records = map(json.loads, (directory / "quarantine.jsonl").read_text().splitlines())
    return [(Path(record["file"]).name, record["line"], record["reason"]) for record in records]


@pytest.mark.parametrize("unit_bytes", [500, 4_000_000])
def test_every_fault_is_told_with_its_place_and_the_run_goes_on(folder: Path, tmp_path: Path, unit_bytes: int) -> None:
    found = corpus(folder, unit_bytes=unit_bytes, max_rejected=1.0)
    manifest = prepare_rows(found, tmp_path)
    by_file: dict[str, list[tuple[int, str]]] = {}
    for file, line, reason in quarantined(tmp_path):
        by_file.setdefault(file, []).append((line, reason))

    assert list(by_file) == ["b.jsonl", "c.jsonl", "d.jsonl.gz", "e.jsonl.zst", *(f"{name}.parquet" for name in "ghij")]
    assert [line for line, _ in by_file["b.jsonl"]] == [line for line, _ in LINE_FAULTS]
    for (_, told), (_, expected) in zip(by_file["b.jsonl"], LINE_FAULTS, strict=True):
        assert told.startswith(expected)
    assert by_file["c.jsonl"] == [(0, "an empty file")]
    ((broken_off, reason),) = by_file["d.jsonl.gz"]
    assert reason == "Truncated compressed stream"
    assert 1000 < broken_off < 3000
    assert by_file["e.jsonl.zst"] == [(1, "Truncated compressed stream")]
    assert len(by_file["g.parquet"]) == len(by_file["j.parquet"]) == 1
    assert by_file["j.parquet"] == [(0, "no column 'text'; there are 'content', 'src'")]
    assert by_file["i.parquet"] == [
        (2, "not UTF-8: byte 0xe9 at 3"),
        (3, "no text in column 'text'"),
        (4, "a NUL character in the text"),
        (5, "column 'src' is null, not text"),
    ]
    (damaged, reason), *others = by_file["h.parquet"]
    assert 1 < damaged <= 450  # of the first row group, of 600
    assert "CRC checksum verification failed" in reason
    assert all(damaged < line <= 600 for line, _ in others)

    good = [f"whole {line}" for line in range(1, 401)] + [f"good {number}" for number in range(len(BAD_LINES))]
    good += [f"packed {line}" for line in range(1, broken_off)] + [f"first {line}" for line in range(1, 32)]
    good += ["last", "odd 1", "last"]
    pages = [text for text in texts_of(tmp_path, manifest) if text.startswith("page ")]
    numbers = sorted(int(text.split()[1]) for text in pages)
    assert numbers == [*range(1, damaged), *range(601, 901)]
    assert texts_of(tmp_path, manifest) == sorted([*good, *pages])


FEW = "2 of 150 rows were rejected, more than data.corpus.max_rejected=0.01 allows; the first: "


def test_too_many_rejected_rows_are_refused_in_a_line_and_nothing_is_done_twice(tmp_path: Path) -> None:
    """1% of 150 rows are one; the run that is allowed two takes what is there."""
    path, directory = tmp_path / "a.jsonl", tmp_path / "data"
    lines = rows("a", 150)
    lines[30], lines[70] = b"{", b"[]"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError) as refused:
        prepare_rows(corpus(path, unit_bytes=500), directory)
    reason = f"{path}, line 31: not JSON: Expecting property name enclosed in double quotes at character 2"
    quarantine = directory / "quarantine.jsonl"
    assert str(refused.value) == f"{FEW}{reason}; mend what {quarantine} lists, or raise that share"
    assert [line for _, line, _ in quarantined(directory)] == [31, 71]
    assert not (directory / "manifest.json").exists()
    kept = {shard: shard.stat().st_mtime_ns for shard in directory.rglob("*.arrow")}
    assert len(kept) > 5
    manifest = prepare_rows(corpus(path, unit_bytes=500, max_rejected=0.02), directory)
    assert manifest.splits["train"].total("documents") == 148
    assert {shard: shard.stat().st_mtime_ns for shard in directory.rglob("*.arrow")} == kept


def test_one_of_ninety_nine_files_is_too_many_and_of_a_hundred_is_not(tmp_path: Path) -> None:
    for number in range(98):
        (tmp_path / f"{number:02d}.jsonl").write_bytes(row(f"{number}"))
    (tmp_path / "98.jsonl").touch()
    with pytest.raises(UserError) as refused:
        prepare_rows(corpus(tmp_path), tmp_path / "data")
    message = "1 of 99 files were rejected, more than data.corpus.max_rejected=0.01 allows; the first: "
    assert str(refused.value).startswith(f"{message}{tmp_path / '98.jsonl'}: an empty file; mend what ")
    (tmp_path / "99.jsonl").write_bytes(row("99"))
    (tmp_path / "data" / "quarantine.jsonl").rename(tmp_path / "old")  # folders are searched for such files
    manifest = prepare_rows(corpus(*sorted(tmp_path.glob("*.jsonl"))), tmp_path / "other")
    assert manifest.splits["train"].total("documents") == 99
    assert quarantined(tmp_path / "other") == [("98.jsonl", 0, "an empty file")]


def test_rows_of_a_source_that_no_category_has_are_told(tmp_path: Path) -> None:
    lines = [row(f"{n}", src="dolly" if n % 10 else "nobody's") for n in range(200)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    mixture = Mixture(name="m", categories={"general": ["dolly"]})
    with pytest.raises(UserError, match=r"20 of 200 rows were rejected, .* the first: .*a.jsonl, line 1: source \"nob"):
        prepare_rows(corpus(tmp_path / "a.jsonl", mixture=mixture), tmp_path / "data")
    prepare_rows(corpus(tmp_path / "a.jsonl", mixture=mixture, max_rejected=0.1), tmp_path / "data")
    assert quarantined(tmp_path / "data") == [
        ("a.jsonl", n + 1, 'source "nobody\'s" is in no category of the mixture') for n in range(0, 200, 10)
    ]


def test_a_corpus_of_which_nothing_can_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"no JSON\nnone\n")
    with pytest.raises(UserError, match=r"2 of 2 rows were rejected, .*, line 1: not JSON: Expecting value at char"):
        prepare_rows(corpus(tmp_path / "a.jsonl"), tmp_path / "data")
    with pytest.raises(UserError, match="the corpus gave no training document"):
        prepare_rows(corpus(tmp_path / "a.jsonl", max_rejected=1.0), tmp_path / "data")


def read_line_by_line(path: Path) -> list[tuple[str, str]]:
    """Text, or reason why there is none, and place of each line, read all at once: what a reader would first write."""
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).split(b"\n")
    found = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            text = ""
        found.append((text if isinstance(text, str) and text.strip() else "rejected", f"{path}:{number}"))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_documents_are_what_a_reading_line_by_line_gives_whatever_the_units(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    kinds: list[Callable[[], bytes]] = [
        lambda: row("é" * draw.randint(1, 300)),
        lambda: row("a text") + b"\r",
        lambda: b"",
        lambda: b"{broken",
        lambda: b"[1]",
        lambda: row(" "),
    ]
    files = []
    for number in range(draw.randint(1, 6)):
        content = b"\n".join(draw.choice(kinds)() for _ in range(draw.randint(1, 80))) + b"\n" * draw.randint(0, 1)
        packed = draw.choice([True, False])
        files.append(tmp_path / f"{number}.jsonl{'.gz' if packed else ''}")
        files[-1].write_bytes(gzip.compress(content) if packed else content)
    expected = [pair for file in files for pair in read_line_by_line(file)]
    for unit_bytes in (1, 50, 1000, 10**7):
        readings = [unit.read() for unit in corpus(*files, unit_bytes=unit_bytes).units(one_by_one)]
        assert sum(reading.rows for reading in readings) == len(expected)
        good = [(document.text, document.origin) for reading in readings for _, document in reading.documents]
        bad = [f"{told.file}:{told.line}" for reading in readings for told in reading.rejections if not told.lost_file]
        assert good == [(text, place) for text, place in expected if text != "rejected"]
        assert bad == [place for text, place in expected if text == "rejected"]
