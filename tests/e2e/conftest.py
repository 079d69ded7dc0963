"""A small pipeline that has run: what the tests of single commands start from."""

import json
import os
import shutil
from pathlib import Path

import pytest
from commands import run, small_corpus, write_tunes
from filelock import FileLock


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tunes, in which the model was pretrained and fine-tuned by a pipeline of one's own.

    Made once, and shared by the processes that pytest-xdist deals tests to.
    """
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = common / "workplace"
    with FileLock(common / "workplace.lock"):
        if not (common / "workplace.made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make_workplace(folder)
            (common / "workplace.made").touch()
    return folder


def _make_workplace(folder: Path) -> None:
    folder.mkdir()
    write_tunes(folder / "tunes.abc", count=80)
    recipes = folder / "recipes" / "experiment"
    recipes.mkdir(parents=True)
    stages = []
    for name, steps, more in (
        ("pretrain", 30, ["model.backbone.layers=2", "data.tokenizer.vocab_size=320", "data.corpus.corpora.0.keys=2"]),
        ("sft", 6, ["model.backbone.path=out/pretrain/model", "callbacks.merge_and_export.output=out"]),
    ):
        settings = [
            f"+experiment=nano_{name}",
            f"data.directory=out/data/{name}",
            f"trainer.max_steps={steps}",
            f"trainer.val_check_interval={steps // 2}",
            "data.global_batch=4",
            "data.micro_batch=4",
            *more,
        ]
        overrides = json.dumps([*settings, *small_corpus("" if name == "pretrain" else "+")])
        stages.append(
            f"    - _target_: chatmusician.stages.Stage\n      name: {name}\n      command: train\n"
            f"      folder: out/{name}\n      overrides: {overrides}\n"
        )
    (recipes / "small.yaml").write_text(
        "# @package _global_\n# python -m chatmusician.pipeline +experiment=small\n# Two stages on random tunes.\n"
        "pipeline:\n  output: out\n  stages:\n" + "".join(stages)
    )
    done = run(folder, "pipeline", "+experiment=small", "--config-dir", "recipes")
    assert "[2/2] sft" in done.stdout
