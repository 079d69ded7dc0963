import json
from pathlib import Path
from typing import Any

import pytest

from chatmusician.data.rows import InstructionRows, TextRows
from chatmusician.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


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


def test_texts_are_split_by_row_and_named_by_source(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"text {n}", "src": "pile" if n % 2 else "wikipedia"} for n in range(200)]
    file = write_rows(tmp_path / "pile.jsonl", rows)
    corpus = TextRows(path="json", files=[str(file)], held_out=0.1)
    splits = {split: [document.text for document in corpus.documents(split)] for split in ("train", "validation")}
    test = [document.text for document in corpus.documents("test")]
    assert sorted([*splits["train"], *splits["validation"], *test]) == sorted(row["text"] for row in rows)
    assert 5 <= len(splits["validation"]) <= 40
    assert {document.source for document in corpus.documents("train")} == {"pile", "wikipedia"}
    assert splits["train"] == [document.text for document in corpus.documents("train")]


def test_rows_without_text_are_rejected_by_number(tmp_path: Path) -> None:
    rows = [{"text": "one", "src": "a"}, {"text": "  ", "src": "a"}, {"text": None, "src": "a"}]
    corpus = TextRows(path="json", files=[str(write_rows(tmp_path / "a.jsonl", rows))], held_out=0.0)
    assert [document.text for document in corpus.documents("train")] == ["one"]
    assert [(rejection.line, rejection.reason) for rejection in corpus.rejections()] == [
        (2, "no text in column 'text'"),
        (3, "no text in column 'text'"),
    ]


def test_instructions_become_the_template(tmp_path: Path) -> None:
    file = instructions(tmp_path / "sft.jsonl", counts={"irishman": 1})
    (document,) = InstructionRows(path="json", files=[str(file)], held_out=0.0).documents("train")
    assert document.text == "Human: irishman 0. X:1 </s> Assistant: 0 </s> "
    assert document.text[slice(*document.trained[0])] == "Assistant: 0 </s> "


def test_a_draw_keeps_the_ratio(tmp_path: Path) -> None:
    counts = {"music knowledge": 60, "music summary": 60, "irishman": 80, "dolly": 50}
    file = instructions(tmp_path / "sft.jsonl", counts=counts)
    settings: dict[str, Any] = {
        "path": "json",
        "files": [str(file)],
        "groups": {"verbal": ["knowledge", "summary"], "score": ["irishman"]},
        "ratio": {"verbal": 2, "score": 1},
        "held_out": 0.0,
    }
    drawn = [document.source for document in InstructionRows(rows=90, **settings).documents("train")]
    assert len(drawn) == 90
    assert drawn.count("irishman") == 30
    assert "dolly" not in drawn
    with pytest.raises(UserError, match=r"group 'verbal' .* has 120 training rows, fewer than the 200"):
        list(InstructionRows(rows=300, **settings).documents("train"))


def test_a_missing_column_and_a_missing_file_are_named(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "b.jsonl", [{"body": "x"}])
    with pytest.raises(UserError, match="has no column 'text'; it has body"):
        TextRows(path="json", files=[str(file)]).describe()
    with pytest.raises(UserError, match="cannot be read"):
        TextRows(path="json", files=[str(tmp_path / "none.jsonl")]).describe()
