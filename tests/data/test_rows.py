import gzip
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatmusician.data.columns import InstructionColumns, TextColumn
from chatmusician.data.mixtures import Mixture
from chatmusician.data.row_reading import RowUnit
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.data.units import SPLITS, Reading, one_by_one
from chatmusician.errors import UserError

TEXTS, INSTRUCTIONS = TextColumn(), InstructionColumns()


def corpus(
    *files: Path,
    columns: Any = TEXTS,
    mixture: Mixture | None = None,
    held_out: float = 0.0,
    **options: Any,
) -> RowCorpus:
    source = RowSource(**{"columns": columns, "files": [str(file) for file in files], "source": "src", **options})
    return RowCorpus(sources={"rows": source}, mixture=mixture, held_out=held_out)


def readings(found: RowCorpus) -> list[Reading]:
    """What each unit holds, read as a worker would."""
    return [pickle.loads(pickle.dumps(unit)).read() for unit in found.units(one_by_one)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def instructions(path: Path, *, counts: dict[str, int]) -> Path:
    rows = [
        {
            "instruction": f"Human: {source} {n}. ",
            "input": "X:1 </s> ",
            "output": f"Assistant: {n}",
            "src": source,
            "id": n,
        }
        for source, count in counts.items()
        for n in range(count)
    ]
    return write_rows(path, rows)


def test_texts_are_split_by_content_and_named_by_source(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"text {n % 200}", "src": "pile" if n % 2 else "wikipedia"} for n in range(400)]
    found = corpus(write_rows(tmp_path / "pile.jsonl", rows), held_out=0.1)
    splits = {split: [document.text for document in found.documents(split)] for split in SPLITS}
    assert sorted(text for texts in splits.values() for text in texts) == sorted(row["text"] for row in rows)
    assert 10 <= len(splits["validation"]) <= 80
    assert not set(splits["train"]) & {*splits["validation"], *splits["test"]}  # though each text is there twice
    assert {document.source for document in found.documents("train")} == {"pile", "wikipedia"}
    assert splits["train"] == [document.text for document in found.documents("train")]


def test_rows_without_text_are_rejected_by_number(tmp_path: Path) -> None:
    rows = [{"text": "one", "src": "a"}, {"text": "  ", "src": "a"}, {"text": None, "src": "a"}, {"text": "x"}]
    (unit,) = corpus(write_rows(tmp_path / "a.jsonl", rows)).units(one_by_one)
    reading = unit.read()
    assert [document.text for _, document in reading.documents] == ["one"]
    assert [(rejection.line, rejection.reason) for rejection in reading.rejections] == [
        (2, "no text in column 'text'"),
        (3, "column 'text' is null, not text"),
        (4, "no column 'src'; there are 'text'"),
    ]
    assert (reading.rows, reading.files) == (4, 1)


def test_instructions_become_the_template(tmp_path: Path) -> None:
    file = instructions(tmp_path / "sft.jsonl", counts={"irishman": 1})
    (document,) = corpus(file, columns=INSTRUCTIONS).documents("train")
    assert document.text == "Human: irishman 0. X:1 </s> Assistant: 0 </s> "
    assert document.text[slice(*document.trained[0])] == "Assistant: 0 </s> "


def test_a_draw_keeps_the_ratio(tmp_path: Path) -> None:
    counts = {"music knowledge": 60, "music summary": 60, "irishman": 80, "dolly": 50}
    file = instructions(tmp_path / "sft.jsonl", counts=counts)
    mixture = Mixture(
        name="m",
        categories={"verbal": ["music_knowledge", "Music Summary"], "score": ["irishman"], "general": ["dolly"]},
        shares={"verbal": 2, "score": 1},
        rows=90,
    )
    found = corpus(file, columns=INSTRUCTIONS, mixture=mixture)
    drawn = [document.source for document in found.documents("train")]
    assert len(drawn) == 90
    assert drawn.count("irishman") == 30
    assert "dolly" not in drawn
    report = found.draw()
    assert report["left_out"] == {"dolly": 50}
    assert report["pools"]["score"] == {
        "asked": 30,
        "taken": 30,
        "missing": 0,
        "sources": {"irishman": {"rows": 80, "taken": 30}},
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.jsonl': there is no such file"):
        corpus(tmp_path / "none.jsonl").describe()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "a\0b", "src": "a"}, "a NUL character in the text"),
        ({"text": "a\ud83c", "src": "a"}, "half of a surrogate pair in the text"),
        ({"text": "\udfb5\ud83c", "src": "a"}, "half of a surrogate pair in the text"),  # the wrong way round
        ({"text": "a", "src": "a\0"}, "a NUL character in the name of the source"),
        ({"text": "a", "src": "\ud83c"}, "half of a surrogate pair in the name of the source"),
        ({"text": "a", "src": 7}, "column 'src' is int, not text"),
        ({"text": "a", "src": None}, "column 'src' is null, not text"),
        ({"text": 7, "src": "a"}, "column 'text' is int, not text"),
        ({"\ud83c": "a", "src": "a"}, "no column 'text'; there are '\\ud83c', 'src'"),
    ],
)
def test_rows_that_no_text_can_be_made_of_say_why(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    """JSON may escape any character: such a row is valid, and its text would break what writes it later."""
    (reading,) = readings(corpus(write_rows(tmp_path / "a.jsonl", [{"text": "🎵", "src": "a"}, row])))
    assert [document.text for _, document in reading.documents] == ["🎵"]
    assert [(rejection.line, rejection.reason) for rejection in reading.rejections] == [(2, reason)]


def test_documents_say_where_they_are_from(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "one", "src": "pile"}, {"text": "two", "src": "wiki"}])
    found = [(document.source, document.origin) for document in corpus(path).documents("train")]
    assert found == [("pile", f"{path}:1"), ("wiki", f"{path}:2")]
    named = [document.source for document in corpus(path, source=None).documents("train")]
    assert named == ["a.jsonl", "a.jsonl"]


def write_as(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format of the name."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=30)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def test_the_split_and_the_draw_depend_on_neither_format_nor_cuts(tmp_path: Path) -> None:
    rows = [{"text": f"text {n % 90}", "src": "dolly" if n % 3 else "bach"} for n in range(120)]
    mixture = Mixture(
        name="m", categories={"score": ["bach"], "general": ["dolly"]}, shares={"score": 1, "general": 1}, rows=50
    )
    found = []
    for name in ("a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"):
        path = write_as(tmp_path / name, rows)
        for unit_bytes in (1, 500, 10**6):
            for drawn in (None, mixture):
                texts = [
                    sorted(document.text for document in documents)
                    for documents in (
                        corpus(path, mixture=drawn, held_out=0.1, unit_bytes=unit_bytes).documents(split)
                        for split in SPLITS
                    )
                ]
                found.append((drawn is None, texts))
    whole = [texts for all_of_them, texts in found if all_of_them]
    drawn_texts = [texts for all_of_them, texts in found if not all_of_them]
    assert all(texts == whole[0] for texts in whole)
    assert all(texts == drawn_texts[0] for texts in drawn_texts)
    assert sum(map(len, whole[0])) == 120
    assert len(drawn_texts[0][0]) == 50
    assert drawn_texts[0][1:] == whole[0][1:]


def test_repeated_rows_are_in_units_of_their_own(tmp_path: Path) -> None:
    """Copies of a row are not in one shard with it, nor twice in the census of what was looked at."""
    rows = [{"text": f"{source} {n}", "src": source} for source in ("bach", "dolly") for n in range(20)]
    mixture = Mixture(name="m", categories={"all": ["bach", "dolly"]}, repeats={"bach": 3})
    counted, *others = readings(corpus(write_rows(tmp_path / "a.jsonl", rows), mixture=mixture, unit_bytes=300))
    assert (counted.rows, counted.files, list(counted.documents)) == (40, 1, [])
    assert sum(reading.rows + reading.files for reading in others) == 0
    texts = Counter(document.text for reading in others for _, document in reading.documents)
    assert texts == {row["text"]: 3 if row["src"] == "bach" else 1 for row in rows}
    for reading in others:
        assert set(Counter(document.text for _, document in reading.documents).values()) == {1}


def test_rows_that_are_not_kept_are_counted_once(tmp_path: Path) -> None:
    rows = [{"text": f"{n}", "src": ("pile", "dolly", "unheard of")[n % 3]} for n in range(9)] + [{"src": "pile"}]
    mixture = Mixture(name="m", categories={"general": ["dolly"]})
    found = corpus(write_rows(tmp_path / "a.jsonl", rows), mixture=mixture, keep=["dolly", "unheard"])
    counted, reading = readings(found)
    assert [document.text for _, document in reading.documents] == ["1", "4", "7"]
    assert found.draw()["left_out"] == {"pile": 4}  # one of them without a text, which is not looked for
    assert [(rejection.line, rejection.reason) for rejection in counted.rejections] == [
        (3, "source 'unheard of' is in no category of the mixture"),
        (6, "source 'unheard of' is in no category of the mixture"),
        (9, "source 'unheard of' is in no category of the mixture"),
    ]
    assert counted.rows == 10


@pytest.mark.parametrize("mixture", [None, Mixture(name="m", categories={"all": ["a"]})])
def test_files_that_are_lost_count_as_files_and_not_as_rows(tmp_path: Path, mixture: Mixture | None) -> None:
    good = write_rows(tmp_path / "good.jsonl", [{"text": "one", "src": "a"}, {"text": "", "src": "a"}])
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "bad.parquet").write_text("no Parquet")
    packed = gzip.compress(b"".join(json.dumps({"text": f"{n}", "src": "a"}).encode() + b"\n" for n in range(99)))
    (tmp_path / "broken.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    files = [tmp_path / name for name in ("empty.jsonl", "bad.parquet", "broken.jsonl.gz")]
    found = readings(corpus(good, *files, mixture=mixture))
    rejections = [rejection for reading in found for rejection in reading.rejections]
    assert [Path(rejection.file).name for rejection in rejections if rejection.lost_file] == [
        "empty.jsonl",
        "bad.parquet",
        "broken.jsonl.gz",
    ]
    assert sum(reading.files for reading in found) == 4
    documents = [document for reading in found for _, document in reading.documents]
    assert len(documents) > 20
    assert sum(reading.rows for reading in found) == len(documents) + 1


def test_a_corpus_without_a_row_has_no_documents(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "src": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    mixture = Mixture(name="m", categories={"all": ["a"]})
    for drawn in (None, mixture):
        assert list(corpus(tmp_path / "a.parquet", mixture=drawn).documents("train")) == []
        assert sum(reading.files for reading in readings(corpus(tmp_path / "a.parquet", mixture=drawn))) == 1


def test_several_sources_are_read_one_after_the_other(tmp_path: Path) -> None:
    texts = RowSource(columns=TEXTS, files=[str(write_rows(tmp_path / "a.jsonl", [{"text": "one"}]))])
    file = instructions(tmp_path / "sft.jsonl", counts={"bach": 1})
    questions = RowSource(columns=INSTRUCTIONS, files=[str(file)], source="src")
    found = RowCorpus(sources={"texts": texts, "questions": questions}, held_out=0.0)
    assert [document.source for document in found.documents("train")] == ["a.jsonl", "bach"]
    assert list(found.describe()["sources"]) == ["texts", "questions"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": 0.5}, "corpus.held_out=0.5: use a share from 0 to below 0.5"),
        ({"held_out": -0.1}, "corpus.held_out=-0.1: use a share"),
        ({"max_rejected": 1.5}, "corpus.max_rejected=1.5: use a share from 0 to 1"),
        ({"unit_bytes": 0}, "corpus.unit_bytes=0: use at least 1 byte"),
        ({"max_row_bytes": 0}, "corpus.max_row_bytes=0: use at least 1 byte"),
        ({"keep": ["dolly"]}, r"corpus.sources.rows.keep=\['dolly'\]: only with a mixture, as data/mixture=all"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    of_corpus = {name: value for name, value in options.items() if name in ("held_out", "max_rejected")}
    of_source = {name: value for name, value in options.items() if name not in of_corpus}
    with pytest.raises(UserError, match=message):
        RowCorpus(sources={"rows": RowSource(columns=TEXTS, files=["a.jsonl"], **of_source)}, **of_corpus)


def test_units_are_runs_of_about_the_size_asked_for(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "x" * 80, "src": "a"} for _ in range(100)])
    units = list(corpus(path, unit_bytes=1000).units(one_by_one))
    assert len(units) == 10  # of 10 lines: 9 of 106 bytes are not 1000
    assert all(isinstance(unit, RowUnit) for unit in units)
