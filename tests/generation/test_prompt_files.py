import json
from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.generation.prompt_files import AnswerFile, AnswerRow, read_prompts

PROMPTS = ["Compose a reel.", "???", "Une gigue, s'il vous plaît", "Last"]


def row(index: int, *, error: str | None = None) -> AnswerRow:
    answer = None if error else f"answer {index}\nX:1"
    return AnswerRow(index=index, prompt=PROMPTS[index], answer=answer, abc=None, error=error, problems=("one", "two"))


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("Compose a reel.\n\n  Une gigue, s'il vous plaît\r\n", encoding="utf-8")
    assert read_prompts(file) == ["Compose a reel.", "Une gigue, s'il vous plaît"]


def test_json_lines_have_a_prompt_or_an_instruction(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    rows = [
        {"prompt": "Harmonise:\nX:1"},
        {"instruction": "Human: Develop a tune. ", "input": "'ABCA' </s> ", "output": "ignored"},
        {"instruction": "Explain."},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert read_prompts(file) == ["Harmonise:\nX:1", "Develop a tune. 'ABCA'", "Explain."]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", b"a", "unknown kind of file '.csv'"),
        ("p.txt", b" \n\n", "is empty"),
        ("p.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt"', "p.jsonl:2: not valid JSON"),
        ("p.jsonl", b'{"text": "a"}', 'p.jsonl:1: expected {"prompt": text}'),
        ("p.jsonl", b"[1]", "p.jsonl:1: expected"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_prompts(tmp_path / name)
    assert message in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt is not a file"):
        read_prompts(tmp_path / "none.txt")


def test_a_row_is_on_the_disk_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    with AnswerFile(path, PROMPTS) as answers:
        answers.append(row(2))
        assert json.loads(path.read_bytes())["prompt"] == "Une gigue, s'il vous plaît"
        answers.append(row(0))
        assert answers.missing() == [1, 3]
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 2]


def test_a_stopped_run_goes_on_and_ends_in_the_same_file(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    with AnswerFile(whole, PROMPTS) as answers:
        for index in range(4):
            answers.append(row(index))

    path = tmp_path / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt), AnswerFile(path, PROMPTS) as answers:
        answers.append(row(3))
        answers.append(row(0))
        raise KeyboardInterrupt
    with path.open("ab") as stream:
        stream.write(b'{"index": 1, "pro')  # killed in the middle of a line
    with AnswerFile(path, PROMPTS) as answers:
        assert answers.missing() == [1, 2]
        answers.append(row(1))
        answers.append(row(2))
    assert path.read_bytes() == whole.read_bytes()


def test_failed_rows_are_listed_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path, PROMPTS) as answers:
        answers.append(row(1, error="no letters"))
        answers.append(row(0))
    with AnswerFile(path, PROMPTS) as answers:
        assert [failed.index for failed in answers.failed()] == [1]
        assert answers.missing() == [1, 2, 3]
        answers.append(row(1))
        assert answers.failed() == []
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize("content", ['{"loss": 1}\n', "[]\n", '{"index": 9, "prompt": "", "answer": "", "abc": ""}\n'])
def test_a_file_of_something_else_is_not_written_to(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=r"line 1 .*: choose another output"):
        AnswerFile(path, PROMPTS)
    assert path.read_text() == content


def test_answers_to_other_prompts_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path, PROMPTS) as answers:
        answers.append(row(0))
    with pytest.raises(UserError, match="answers another prompt than number 0"):
        AnswerFile(path, ["Something else"])
