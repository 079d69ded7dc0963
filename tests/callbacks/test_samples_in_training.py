"""Samples of a model that is trained meanwhile; what loggers get of them stands in `tests/e2e/test_dashboards.py`."""

import json
from pathlib import Path

import pytest
import torch
from modeling.tiny_run import LORA, fit, make_data, make_module, write_corpus

from chatmusician.callbacks.samples import Samples, find_questions, is_in_pieces
from chatmusician.data.prompts import format_answer, format_question
from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding

SHORT = Decoding(temperature=1.0, top_k=0, top_p=1.0, min_new_tokens=1, max_new_tokens=8)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def samples_to(folder: Path, *, prompts: tuple[str, ...] = ("Play.",)) -> Samples:
    return Samples(output=str(folder), every_n_steps=2, prompts=prompts, decoding=SHORT, render=False)


@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "lora with dropout"])
def test_training_goes_on_as_without_samples(corpus: Path, tmp_path: Path, lora: object) -> None:
    weights = {}
    for name, callbacks in (("with", (samples_to(tmp_path),)), ("without", ())):
        module = make_module(lora=lora)  # type: ignore[arg-type]  # None or an adapter
        data = make_data(corpus, micro_batch=2)
        weights[name] = fit(tmp_path / name, module=module, data=data, steps=4, callbacks=callbacks).weights
    assert all(torch.equal(value, weights["without"][name]) for name, value in weights["with"].items())
    folders = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert folders == ["step-000002", "step-000004"]
    (line,) = (tmp_path / "samples" / "step-000004" / "answers.jsonl").read_text().splitlines()
    assert (json.loads(line)["prompt"], json.loads(line)["parses"]) == ("Play.", False)


def test_data_that_ask_for_no_tune_are_named_once(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = samples_to(tmp_path, prompts=())
    fit(tmp_path, module=make_module(), data=make_data(corpus), steps=4, callbacks=(callback,))
    said = [record.message for record in caplog.records if "samples" in record.message]
    assert said == ["no samples: no held-out document asks for a tune; give callbacks.samples.prompts"]


def test_samples_that_fail_cost_no_training(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "samples").write_text("in the way")
    run = fit(tmp_path, module=make_module(), data=make_data(corpus), steps=4, callbacks=(samples_to(tmp_path),))
    assert run.trainer.global_step == 4
    said = [record.message for record in caplog.records if "samples" in record.message]
    assert len(said) == 2
    assert said[0].startswith("training goes on without the samples of step 2: ")


def test_questions_are_those_answered_by_a_tune_that_fit() -> None:
    tune = "X:1\nK:G\nGABc|"
    texts = [format_question(f"Compose {number}.") + format_answer(f"Here:\n{tune}") for number in range(6)]
    texts[0] = format_question("What is a fifth?") + format_answer("Seven semitones.")
    texts[1] = tune
    assert find_questions(texts, count=2, fits=lambda text: text != "Compose 3.") == ["Compose 2.", "Compose 4."]
    assert find_questions(texts, count=9, fits=lambda _: True) == [f"Compose {number}." for number in (2, 3, 4, 5)]


def test_weights_in_pieces_are_noticed() -> None:
    model = torch.nn.Linear(2, 2)
    assert not is_in_pieces(model)
    model.bias.ds_id = 0  # as ZeRO stage 3 marks what it has partitioned
    assert is_in_pieces(model)


@pytest.mark.parametrize("option", ["every_n_steps", "count", "max_new_tokens"])
def test_numbers_out_of_range_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UserError, match=f"^callbacks.samples.{option}=0: use 1 or more$"):
        Samples(output=str(tmp_path), **{option: 0})  # type: ignore[arg-type]  # one of them
