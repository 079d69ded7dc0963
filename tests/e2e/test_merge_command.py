"""The merge command's three sources: an adapter, a checkpoint, a model."""

import json
from pathlib import Path

import pytest
from commands import run


def test_a_checkpoint_gives_what_its_run_exported(workplace: Path) -> None:
    done = run(workplace, "merge", "checkpoint=out/sft/checkpoints/last.ckpt", "output=from-checkpoint")
    assert "28 trained tensors, of optimizer step 6" in done.stdout
    assert "same most likely token at 100.0%" in done.stdout
    for part in ("model/model.safetensors", "adapter/adapter_model.safetensors", "adapter/base.json"):
        assert (workplace / "from-checkpoint" / part).read_bytes() == (workplace / "out" / part).read_bytes()


def test_a_run_without_an_adapter_is_exported_from_its_checkpoint_too(workplace: Path) -> None:
    run(workplace, "merge", "checkpoint=out/pretrain/checkpoints/last.ckpt", "output=from-pretraining")
    ours, theirs = workplace / "from-pretraining" / "model", workplace / "out" / "pretrain" / "model"
    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_an_adapter_finds_its_base_by_itself(workplace: Path) -> None:
    done = run(workplace, "merge", "adapter=out/adapter", "output=by-itself", "dtype=bfloat16", "check=false")
    assert "GB bfloat16" in done.stdout
    assert json.loads((workplace / "by-itself" / "config.json").read_text())["dtype"] == "bfloat16"


def test_figures_of_an_evaluation_come_into_the_card(workplace: Path) -> None:
    run(workplace, "merge", "adapter=out/adapter", "output=evaluated", "check=false")
    (workplace / "figures.json").write_text('{"parse_rate": 0.975, "note": "by hand"}')
    done = run(workplace, "merge", "model=evaluated", "figures=figures.json", "upload=someone/tunes")
    assert "| parse_rate | 0.975 |" in (workplace / "evaluated" / "README.md").read_text()
    assert "dry run: would send" in done.stdout


def test_a_gguf_file_and_its_modelfile_come_into_the_folder_and_the_card(workplace: Path) -> None:
    done = run(workplace, "merge", "adapter=out/adapter", "output=for-llama", "check=false", "gguf=f16")
    folder = workplace / "for-llama"
    assert (folder / "model-f16.gguf").read_bytes()[:4] == b"GGUF"
    assert (folder / "Modelfile").read_text().startswith("FROM ./model-f16.gguf\n")
    assert "GB f16, vocabulary llama of 320 tokens" in done.stdout
    assert "ollama create chatmusician -f Modelfile" in (folder / "README.md").read_text()
    refused = run(workplace, "merge", "adapter=out/adapter", "output=not-made", "gguf=q9", status=1)
    assert refused.stderr.startswith("error: gguf=q9 is unknown: choose one of f32, f16, bf16, q8_0, ")
    assert not (workplace / "not-made").exists()


def test_the_card_of_another_program_is_left_as_it_is(workplace: Path) -> None:
    run(workplace, "merge", "adapter=out/adapter", "output=foreign", "check=false")
    (workplace / "foreign" / "card.json").unlink()
    (workplace / "foreign" / "README.md").write_text("# Mine\n")
    (workplace / "figures.json").write_text('{"parse_rate": 0.975}')
    done = run(workplace, "merge", "model=foreign", "figures=figures.json")
    assert "somebody else's card, left as it is" in done.stdout
    assert (workplace / "foreign" / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "one of adapter=, checkpoint=, model= says what to export, none was given"),
        (
            ["adapter=a", "model=b"],
            "says what to export, adapter=a and model=b were given",
        ),
        (["adapter=out/adapter"], "output= is missing: a model given as model= is completed where it lies"),
        (["model=out/model", "output=x"], "output=x goes with adapter= or checkpoint=: a model given as model= is"),
        (["model=out/model"], "model=out/model is a model already: give gguf=, compose=, figures= or upload="),
        (["adapter=nowhere", "output=x"], "adapter=nowhere does not exist"),
        (["checkpoint=nowhere", "output=x"], "checkpoint=nowhere does not exist"),
        (
            ["adapter=out/adapter", "base=out/model", "output=x"],
            "base=out/model is not the base that out/adapter was",
        ),
        (["model=out/model", "figures=out/data/sft/.hydra.json"], ".hydra.json is missing"),
        (["model=out/model", "upload=tunes"], "upload=tunes is not a repository of the Hub"),
    ],
)
def test_what_cannot_be_exported_is_one_line(workplace: Path, overrides: list[str], message: str) -> None:
    done = run(workplace, "merge", *overrides, status=1)
    assert "Traceback" not in done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not (workplace / "x").exists()
