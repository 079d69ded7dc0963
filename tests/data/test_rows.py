import json
from pathlib import Path
from typing import Any

import pytest

from chatmusician.data.columns import InstructionColumns, TextColumn
from chatmusician.data.mixtures import Mixture
from chatmusician.data.rows import RowCorpus, RowSource
from chatmusician.data.units import SPLITS, one_by_one
from chatmusician.errors import UserError

TEXTS, INSTRUCTIONS = TextColumn(), InstructionColumns()


def corpus(file: Path, columns: Any = TEXTS, *, mixture: Mixture | None = None, held_out: float = 0.0) -> RowCorpus:
    source = RowSource(columns=columns, files=[str(file)], source="src")
    return RowCorpus(sources={"rows": source}, mixture=mixture, held_out=held_out)


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
        (4, "no column 'src'; there are text"),
    ]
    assert (reading.rows, reading.files) == (4, 1)


def test_instructions_become_the_template(tmp_path: Path) -> None:
    file = instructions(tmp_path / "sft.jsonl", counts={"irishman": 1})
    (document,) = corpus(file, INSTRUCTIONS).documents("train")
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
    found = corpus(file, INSTRUCTIONS, mixture=mixture)
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
