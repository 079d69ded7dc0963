import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asked_models import make_model, straight
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.evaluation.choice_questions import option_strings
from chatmusician.evaluation.choice_scores import encode_strings
from chatmusician.evaluation.music_theory_bench import (
    PUBLISHED,
    Benchmark,
    evaluate_by_likelihood,
    evaluate_by_writing,
    load_benchmark,
    shuffled_questions,
    worked_examples,
)
from chatmusician.generation.backends.transformers_backend import TransformersBackend
from chatmusician.generation.generator import Generator

QUESTIONS = Path(__file__).with_name("music_theory_questions.jsonl")

HINT = (
    "Read the following questions from the four options (A, B, C and D) given in each question. "
    "Choose the best option.\n"
)
R_1 = (
    "What is the interval between the first two notes?\n"
    "X:1\nL:1/4\nM:4/4\nK:D\nD A F D | E2 D2 |]\n"
    "A. a major second\nB. a minor third\nC. a perfect fourth\nD. a perfect fifth\n"
)
EXAMPLES = (
    "How many semitones are there in a perfect fifth?\nA. 5\nB. 6\nC. 7\nD. 8\nAnswer: C\n"
    "Which note value lasts as long as two quavers?\n"
    "A. a semiquaver\nB. a crotchet\nC. a minim\nD. a dotted quaver\nAnswer: B\n"
    "How many notes does the first bar have?\n"
    "X:1\nL:1/8\nM:6/8\nK:G\nGAB dBG | c3 B3 |]\n"
    "A. 3\nB. 4\nC. 6\nD. 8\nAnswer: C\n"
    "Which key signature has two sharps?\nA. G major\nB. D major\nC. A major\nD. F major\nAnswer: B\n"
    "On which note does the melody end?\n"
    "X:1\nL:1/4\nM:4/4\nK:F\nF A c A | G E F2 |]\n"
    "A. the tonic\nB. the mediant\nC. the dominant\nD. the leading note\nAnswer: A\n"
)


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return load_benchmark(str(QUESTIONS))


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in QUESTIONS.read_text().splitlines()]


def write(folder: Path, changed: list[dict[str, Any]]) -> str:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in changed))
    return str(path)


# -- reading


def test_the_splits_are_kept_apart(benchmark: Benchmark) -> None:
    assert [question.question_id for question in benchmark.examples] == [f"dev-{i}" for i in range(1, 6)]
    assert [question.question_id for question in benchmark.questions] == [
        *(f"k-{i}" for i in range(1, 7)),
        *(f"r-{i}" for i in range(1, 6)),
    ]
    assert [question.group for question in benchmark.questions] == ["knowledge"] * 6 + ["reasoning"] * 5


def test_prompts_to_the_character(benchmark: Benchmark) -> None:
    (question,) = (question for question in benchmark.questions if question.question_id == "r-1")
    assert option_strings(question)[3] == HINT + R_1 + "Answer: D"
    assert option_strings(question, worked_examples(benchmark, 5))[0] == HINT + EXAMPLES + R_1 + "Answer: A"
    assert option_strings(question, worked_examples(benchmark, 0))[0] == HINT + R_1 + "Answer: A"


def test_parquet_and_a_dataset_of_two_splits_hold_the_same(benchmark: Benchmark, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows()), tmp_path / "questions.parquet")
    from_parquet = load_benchmark(str(tmp_path / "questions.parquet"))
    folder = tmp_path / "dataset" / "data"
    folder.mkdir(parents=True)
    for split in ("test", "dev"):
        members = [row for row in rows() if row["split"] == split]
        pq.write_table(pa.Table.from_pylist(members), folder / f"{split}.parquet")
    from_dataset = load_benchmark(str(tmp_path / "dataset"))
    for other in (from_parquet, from_dataset):
        assert (other.questions, other.examples) == (benchmark.questions, benchmark.examples)


def test_a_number_is_an_id(tmp_path: Path) -> None:
    changed = [row | {"id": i} for i, row in enumerate(rows())]
    assert load_benchmark(write(tmp_path, changed)).questions[0].question_id == "5"


@pytest.mark.parametrize("field", ["id", "stem", "options", "subject", "answer", "split", "abc_score"])
def test_a_missing_field_is_named_with_its_row(field: str, tmp_path: Path) -> None:
    changed = rows()
    del changed[7][field]
    with pytest.raises(UserError, match=rf"questions\.jsonl:8 has no '{field}'") as caught:
        load_benchmark(write(tmp_path, changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "E"}, r"questions\.jsonl:8: answer 'E' is not one of the letters"),
        ({"answer": ""}, r"questions\.jsonl:8: answer '' is not one of the letters"),
        ({"answer": "AB"}, r"questions\.jsonl:8: answer 'AB' is not"),
        ({"answer": 2}, r"questions\.jsonl:8: answer 2 is not"),
        ({"stem": None}, r"questions\.jsonl:8 has no 'stem'"),
        ({"options": {"A": "x", "B": "y", "C": "z"}}, r"questions\.jsonl:8: options must be"),
        ({"options": {"A": "x", "B": "y", "C": "z", "D": None}}, r"questions\.jsonl:8: options must be"),
        ({"options": ["x", "y", "z", "w"]}, r"questions\.jsonl:8: options must be"),
        ({"split": "train"}, r"questions\.jsonl:8: split 'train' is neither"),
        ({"id": "k-1"}, r"questions\.jsonl:8: id 'k-1' is taken by .*questions\.jsonl:6"),
    ],
)
def test_a_bad_row_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    changed = rows()
    changed[7] |= change
    with pytest.raises(UserError, match=message):
        load_benchmark(write(tmp_path, changed))


def test_a_bad_row_of_parquet_is_named(tmp_path: Path) -> None:
    changed = rows()
    changed[2]["answer"] = "x"
    pq.write_table(pa.Table.from_pylist(changed), tmp_path / "questions.parquet")
    with pytest.raises(UserError, match=r"questions\.parquet row 3: answer 'x'"):
        load_benchmark(str(tmp_path / "questions.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", "holds no questions"),
        ("dev.jsonl", QUESTIONS.read_bytes().splitlines()[0], "holds no questions"),
        ("broken.jsonl", b'{"id": 1}\n{"id"', r"broken\.jsonl:1 has no 'stem'"),
        ("broken.jsonl", QUESTIONS.read_bytes() + b'{"id"', r"broken\.jsonl:17 is not JSON"),
        ("list.jsonl", b"[1, 2]", r"list\.jsonl:1 is not an object"),
        ("latin.jsonl", b"\xff\xfe", "cannot be read"),
        ("broken.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_a_bad_file_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_benchmark(str(tmp_path / name))


@pytest.mark.parametrize("source", ["nowhere/questions.jsonl", "nowhere/questions.parquet"])
def test_a_file_that_is_not_there(source: str) -> None:
    with pytest.raises(UserError, match="is not there"):
        load_benchmark(source)


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="cannot be loaded"):
        load_benchmark(str(tmp_path / "nothing"))


# -- asking


@pytest.mark.parametrize("shots", [0, 5])
def test_every_option_of_every_shuffle_scores_as_it_does_alone(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark, shots: int
) -> None:
    result = evaluate_by_likelihood(model, tokenizer, benchmark, shots=shots, shuffles=2, seed=9, batch_size=7)
    asked = shuffled_questions(benchmark, shuffles=2, seed=9)
    assert len(result.records) == len(asked) == 22
    right: dict[str, list[float]] = {"knowledge": [], "reasoning": []}
    for record, (question, number, order) in zip(result.records, asked, strict=True):
        strings = option_strings(question, benchmark.examples[:shots])
        expected = [straight(model, tokenizer, string) for string in strings]
        np.testing.assert_allclose(record.outcome.scores, expected, rtol=0, atol=1e-5)
        assert (record.shuffle, record.order) == (number, order)
        assert record.outcome.right == (int(np.argmin(expected)) == question.answer)
        right[question.group].append(float(record.outcome.right))
    for subject in result.subjects:
        assert subject.accuracy is not None
        assert subject.accuracy.estimate == pytest.approx(np.mean(right[subject.group]))
        assert subject.accuracy.low <= subject.accuracy.estimate <= subject.accuracy.high
    assert [(subject.group, subject.questions, subject.asked) for subject in result.subjects] == [
        ("knowledge", 6, 12),
        ("reasoning", 5, 10),
    ]
    assert result.examples_dropped == 0


def test_shuffles_keep_the_right_option(benchmark: Benchmark) -> None:
    rights = {question.question_id: question.options[question.answer] for question in benchmark.questions}
    asked = shuffled_questions(benchmark)
    assert len(asked) == 5 * 11
    for question, _, _ in asked:
        assert question.options[question.answer] == rights[question.question_id]
    assert len({question.answer for question, _, _ in asked}) == 4


def test_results_go_into_json_with_the_published_figures(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark
) -> None:
    result = evaluate_by_likelihood(model, tokenizer, benchmark, shuffles=1)
    written = json.loads(json.dumps(result.to_dict()))
    assert written["subjects"]["reasoning"]["accuracy"].keys() == {"estimate", "low", "high", "confidence"}
    assert {"model": "ChatMusician", "setting": "zero-shot", "knowledge": 0.395, "reasoning": 0.263} in written[
        "published"
    ]
    row = json.loads(json.dumps(result.records[6].to_dict()))
    assert (row["id"], row["subject"], row["shuffle"]) == ("r-1", "reasoning", 0)
    assert sorted(row["order"]) == ["A", "B", "C", "D"] and len(row["scores"]) == 4
    assert row["order"]["ABCD".index(row["answer"])] == "D"
    assert row["right"] == (row["chosen"] == row["answer"])


def test_the_published_rows() -> None:
    assert len(PUBLISHED) == 8
    assert max(row.knowledge or 0 for row in PUBLISHED) == 0.699
    assert max(row.reasoning or 0 for row in PUBLISHED) == 0.395


def test_too_small_a_window_drops_examples_and_then_questions(
    tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark
) -> None:
    def length(question_id: str, shots: int) -> int:
        (question,) = (question for question in benchmark.questions if question.question_id == question_id)
        return max(map(len, encode_strings(tokenizer, option_strings(question, benchmark.examples[:shots]))))

    window = length("k-1", 2)
    result = evaluate_by_likelihood(
        make_model(len(tokenizer), window=window), tokenizer, benchmark, shots=5, shuffles=1, batch_size=4
    )
    used = {record.outcome.question_id: record.outcome.examples for record in result.records}
    for record in result.records:
        fitting = [n for n in range(6) if length(record.outcome.question_id, n) <= window]
        assert record.outcome.examples == max(fitting)
    assert used["k-1"] == 2
    assert result.examples_dropped == sum(5 - examples for examples in used.values())

    small = evaluate_by_likelihood(
        make_model(len(tokenizer), window=length("k-1", 0)), tokenizer, benchmark, shots=5, shuffles=1
    )
    beyond = [
        question.question_id for question in benchmark.questions if length(question.question_id, 0) > length("k-1", 0)
    ]
    assert beyond
    assert [r.outcome.question_id for r in small.records if not r.outcome.answered] == beyond
    assert sum(subject.not_answered for subject in small.subjects) == len(beyond)


def test_written_answers_of_an_untrained_model_are_counted(
    tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM, benchmark: Benchmark
) -> None:
    result = evaluate_by_writing(
        Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer)), benchmark, shuffles=1
    )
    assert (result.scoring, result.shots) == ("written answer", 0)
    for subject in result.subjects:
        mine = [r.outcome for r in result.records if r.outcome.group == subject.group]
        assert subject.unreadable == sum(outcome.chosen is None for outcome in mine)
        assert subject.accuracy is not None and not math.isnan(subject.accuracy.estimate)
    assert all(record.outcome.text is not None for record in result.records)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 6}, 'shots=6 is out of range: .* has 5 rows with "split": "dev"'),
        ({"shots": -1}, "shots=-1 is out of range"),
        ({"shuffles": 0}, "shuffles=0 is out of range"),
        ({"batch_size": 0}, "batch_size=0 is out of range"),
    ],
)
def test_settings_out_of_range_are_refused(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    benchmark: Benchmark,
    change: dict[str, int],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_by_likelihood(model, tokenizer, benchmark, **change)
