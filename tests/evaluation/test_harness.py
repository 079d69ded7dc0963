import json
import sys
from pathlib import Path

import pytest
from asked_models import make_model, make_tokenizer

from chatmusician.errors import UserError
from chatmusician.evaluation.choice_questions import option_strings
from chatmusician.evaluation.choice_scores import encode_strings
from chatmusician.evaluation.harness import TASKS_BY_SHOTS, evaluate_mmlu, evaluate_music_theory_bench
from chatmusician.evaluation.music_theory_bench import evaluate_by_likelihood, load_benchmark
from chatmusician.export.saving import save_model_folder

QUESTIONS = str(Path(__file__).with_name("music_theory_questions.jsonl"))


@pytest.fixture
def needs_lm_eval() -> None:
    pytest.importorskip("lm_eval", reason="lm-eval (the extra eval) is not installed")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = make_tokenizer()
    output = tmp_path_factory.mktemp("tiny") / "model"
    return save_model_folder(model=make_model(len(tokenizer)), tokenizer=tokenizer, output=output)


@pytest.mark.usefixtures("needs_lm_eval")
@pytest.mark.parametrize("shots", [0, 5])
def test_lm_eval_gives_our_scores_option_by_option(model_folder: Path, shots: int) -> None:
    theirs = evaluate_music_theory_bench(
        model=str(model_folder), questions=QUESTIONS, shots=shots, shuffles=2, device="cpu"
    )
    tokenizer = make_tokenizer()
    ours = evaluate_by_likelihood(
        make_model(len(tokenizer)), tokenizer, load_benchmark(QUESTIONS), shots=shots, shuffles=2
    )
    assert len(theirs.records) == len(ours.records) == 22
    for their, our in zip(theirs.records, ours.records, strict=True):
        assert (their.outcome.question_id, their.shuffle, their.order) == (
            our.outcome.question_id,
            our.shuffle,
            our.order,
        )
        assert their.outcome.scores == pytest.approx(our.outcome.scores, abs=1e-5)
        assert (their.outcome.chosen, their.outcome.examples) == (our.outcome.chosen, shots)
    assert theirs.subjects == ours.subjects
    assert theirs.to_dict() | {"scoring": "likelihood"} == ours.to_dict()


@pytest.mark.usefixtures("needs_lm_eval")
def test_a_tokenizer_that_adds_a_beginning_scores_alike(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert tokenizer("").input_ids == [0]
    model = make_model(len(tokenizer))
    folder = save_model_folder(model=model, tokenizer=tokenizer, output=tmp_path / "model")
    theirs = evaluate_music_theory_bench(model=str(folder), questions=QUESTIONS, shuffles=1, device="cpu")
    ours = evaluate_by_likelihood(model, tokenizer, load_benchmark(QUESTIONS), shuffles=1)
    for their, our in zip(theirs.records, ours.records, strict=True):
        assert their.outcome.scores == pytest.approx(our.outcome.scores, abs=1e-5)


@pytest.mark.usefixtures("needs_lm_eval")
def test_what_does_not_fit_is_shortened_and_left_out_alike(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    benchmark = load_benchmark(QUESTIONS)
    lengths = [
        max(map(len, encode_strings(tokenizer, option_strings(question, benchmark.examples[:1]))))
        for question in benchmark.questions
    ]
    model = make_model(len(tokenizer), window=min(lengths))
    folder = save_model_folder(model=model, tokenizer=tokenizer, output=tmp_path / "model")
    theirs = evaluate_music_theory_bench(model=str(folder), questions=QUESTIONS, shots=5, shuffles=1, device="cpu")
    ours = evaluate_by_likelihood(model, tokenizer, benchmark, shots=5, shuffles=1)
    assert theirs.to_dict() | {"scoring": "likelihood"} == ours.to_dict()
    assert theirs.examples_dropped > 0

    window = min(len(ids) for question in benchmark.questions for ids in encode_strings(tokenizer, [question.stem]))
    small = save_model_folder(
        model=make_model(len(tokenizer), window=window), tokenizer=tokenizer, output=tmp_path / "small"
    )
    with pytest.raises(UserError, match=f"no question of .* fits the window of {window} tokens"):
        evaluate_music_theory_bench(model=str(small), questions=QUESTIONS, device="cpu")


def mmlu_of(folder: Path, stem: str) -> dict[str, object]:
    """One of MMLU's own tasks with questions from files of its schema, in the terms of lm-eval's configurations."""
    files = {}
    for split, count in (("test", 7), ("dev", 5)):
        rows = [
            {
                "question": f"{stem} {i} + 1?",
                "subject": "anatomy",
                "choices": [str(i), str(i + 1), "9", "12"],
                "answer": 1,
            }
            for i in range(count)
        ]
        files[split] = str(folder / f"{split}.jsonl")
        Path(files[split]).write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "mmlu_anatomy",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }
    return {"group": "mmlu_of_files", "task": [task]}


@pytest.mark.usefixtures("needs_lm_eval")
def test_mmlu_runs_as_shipped_on_questions_of_its_schema(model_folder: Path, tmp_path: Path) -> None:
    import torch

    result = evaluate_mmlu(model=str(model_folder), tasks=[mmlu_of(tmp_path, "What is")], device="cpu")
    assert (result.shots, result.truncated, result.overall.questions) == (5, 0, 7)
    assert [subject.group for subject in result.subjects] == ["mmlu_anatomy"]
    assert json.loads(json.dumps(result.to_dict()))["published"]["ChatMusician-Base"] == 0.485

    # The same by hand: five examples, then the question, and the likelihood of " A" to " D".
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer))
    turn = "What is {0} + 1?\nA. {0}\nB. {1}\nC. 9\nD. 12\nAnswer:"
    shown = "".join(turn.format(i, i + 1) + " B\n\n" for i in range(5))
    head = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    right = 0
    for i in range(7):
        ids = [tokenizer(f"{head}{shown}{turn.format(i, i + 1)} {letter}").input_ids for letter in "ABCD"]
        with torch.no_grad():
            logits = model(torch.tensor([ids[0][:-1]])).logits[0, -1]
        right += int(torch.stack([logits[one[-1]] for one in ids]).argmax()) == 1
    assert result.overall.accuracy is not None and result.overall.accuracy.estimate == pytest.approx(right / 7)


@pytest.mark.usefixtures("needs_lm_eval")
def test_prompts_that_mmlu_cuts_are_counted(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    folder = save_model_folder(
        model=make_model(len(tokenizer), window=128), tokenizer=tokenizer, output=tmp_path / "model"
    )
    result = evaluate_mmlu(model=str(folder), tasks=[mmlu_of(tmp_path, "What is the sum")], device="cpu")
    assert result.truncated == 7


@pytest.mark.usefixtures("needs_lm_eval")
def test_the_names_of_mmlu_resolve(model_folder: Path) -> None:
    from chatmusician.evaluation.harness import _shipped_tasks, _task_manager

    manager = _task_manager(_shipped_tasks("mmlu"))
    assert {"mmlu", "mmlu_stem", "mmlu_humanities", "mmlu_anatomy"} <= set(manager.all_tasks)
    assert len([name for name in manager.all_subtasks if name.startswith("mmlu_") and "_generative" not in name]) >= 57
    with pytest.raises(UserError, match="lm-eval has no task 'mmlu_music'"):
        evaluate_mmlu(model=str(model_folder), tasks=["mmlu_music"])
    with pytest.raises(UserError, match="shots=6 is out of range"):
        evaluate_mmlu(model=str(model_folder), shots=6)


@pytest.mark.usefixtures("needs_lm_eval")
def test_what_cannot_run_is_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shots=3 has no lm-eval task: choose one of 0, 5"):
        evaluate_music_theory_bench(model=str(model_folder), questions=QUESTIONS, shots=3)
    with pytest.raises(UserError, match=r"config\.json"):
        evaluate_music_theory_bench(model=str(tmp_path), questions=QUESTIONS)
    with pytest.raises(UserError, match="is not there"):
        evaluate_music_theory_bench(model=str(model_folder), questions="nowhere.jsonl")
    with pytest.raises(UserError, match="batch_size=0 is out of range"):
        evaluate_music_theory_bench(model=str(model_folder), questions=QUESTIONS, batch_size=0)


@pytest.mark.parametrize("shots", TASKS_BY_SHOTS)
def test_without_lm_eval_one_line_says_how_to_get_it(
    shots: int, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for call in (
        lambda: evaluate_music_theory_bench(model=str(model_folder), questions=QUESTIONS, shots=shots),
        lambda: evaluate_mmlu(model=str(model_folder), shots=shots),
    ):
        with pytest.raises(UserError, match=r"lm-eval.*pip install 'chatmusician\[eval\]'") as caught:
            call()
        assert "\n" not in str(caught.value)
