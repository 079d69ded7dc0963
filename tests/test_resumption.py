import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from chatmusician.errors import UserError
from chatmusician.resumption import checkpoint_to_resume


def config(output: Path, resume: str | None = "auto", **more: Any) -> DictConfig:
    """What decides of a run, and where its checkpoints are."""
    content = {
        "name": "mine",
        "seed": 1,
        "model": {"lora": {"r": 4}},
        "data": {"seq_len": 64, "micro_batch": 1, "seed": "${seed}"},
        "trainer": {"max_steps": 10, "devices": 1},
        "callbacks": {"checkpoint": {"dirpath": str(output / "checkpoints")}},
        "resume": resume,
    }
    return OmegaConf.merge(content, more)  # type: ignore[return-value]  # of two dicts


def save(output: Path, name: str, *, step: int, at: int, **more: Any) -> Path:
    """A checkpoint in the folder of a run, ``at`` seconds after a beginning, and the run's configuration."""
    path = output / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step, "state_dict": {"a": torch.arange(1000)}}, path)
    os.utime(path, (1_000_000 + at, 1_000_000 + at))
    (output / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(config(output, **more), output / ".hydra" / "config.yaml")
    return path


def test_without_resume_a_run_begins_at_the_beginning(tmp_path: Path) -> None:
    save(tmp_path, "last.ckpt", step=3, at=0)
    assert checkpoint_to_resume(config(tmp_path, None), output=tmp_path) is None


def test_auto_takes_the_newest_of_the_runs_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(tmp_path, "best.ckpt", step=9, at=5)
    last = save(tmp_path, "last.ckpt", step=7, at=6)
    assert checkpoint_to_resume(config(tmp_path), output=tmp_path) == last
    assert caplog.messages == [f"resume=auto: going on after optimizer step 7, from {last}"]


def test_of_two_names_of_one_file_the_last_is_taken(tmp_path: Path) -> None:
    last = save(tmp_path, "last.ckpt", step=7, at=6)
    os.link(last, last.with_name("best.ckpt"))
    assert checkpoint_to_resume(config(tmp_path), output=tmp_path) == last


@pytest.mark.parametrize(("kept", "why"), [(500, "is not whole"), (None, "is damaged (checksum of last/data/0)")])
def test_auto_passes_over_what_is_damaged_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int | None, why: str
) -> None:
    best = save(tmp_path, "best.ckpt", step=2, at=0)
    last = save(tmp_path, "last.ckpt", step=3, at=1)
    content = bytearray(last.read_bytes())
    content[content.index(torch.arange(1000).numpy().tobytes()) + 80] ^= 1
    last.write_bytes(content[:kept])
    (last.parent / "last.ckpt.partial").write_bytes(b"half")
    assert checkpoint_to_resume(config(tmp_path), output=tmp_path) == best
    assert caplog.messages[0] == f"resume=auto: passed over: the checkpoint {last} {why}; use another one"


def test_auto_without_a_checkpoint_begins_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert checkpoint_to_resume(config(tmp_path), output=tmp_path) is None
    assert caplog.messages == [f"resume=auto: no checkpoint of this run in {tmp_path}; starting at the beginning"]


def test_a_folder_named_after_the_time_goes_on_from_the_same_run_beside_it(tmp_path: Path) -> None:
    runs = tmp_path / "mine"
    save(runs / "1", "last.ckpt", step=3, at=1)
    newest = save(runs / "2", "last.ckpt", step=5, at=2, data={"micro_batch": 8}, trainer={"devices": 4})
    for number, other in enumerate(
        [{"seed": 2}, {"model": {"lora": {"r": 8}}}, {"data": {"seq_len": 32}}, {"trainer": {"max_steps": 20}}]
    ):
        save(runs / f"other {number}", "last.ckpt", step=9, at=9, **other)
    assert checkpoint_to_resume(config(runs / "now"), output=runs / "now") == newest
    own = save(runs / "now", "last.ckpt", step=1, at=0)
    assert checkpoint_to_resume(config(runs / "now"), output=runs / "now") == own


def test_a_folder_that_was_named_has_no_others_beside_it(tmp_path: Path) -> None:
    save(tmp_path / "one", "last.ckpt", step=3, at=1)
    assert checkpoint_to_resume(config(tmp_path / "other"), output=tmp_path / "other") is None


def test_a_checkpoint_that_is_named_has_to_be_whole(tmp_path: Path) -> None:
    path = save(tmp_path, "last.ckpt", step=3, at=1)
    assert checkpoint_to_resume(config(tmp_path, str(path)), output=tmp_path / "new") == path
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=f"resume={path}: the checkpoint {path} is not whole; use another one"):
        checkpoint_to_resume(config(tmp_path, str(path)), output=tmp_path)
    with pytest.raises(UserError, match=r"resume=nowhere\.ckpt: there is no such checkpoint"):
        checkpoint_to_resume(config(tmp_path, "nowhere.ckpt"), output=tmp_path)
