"""Runs on two ranks that are killed, asked to stop, fed what cannot be learned from, or short of room on the disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import environment, write_tunes

from chatmusician.errors import STOPPED

TESTS = Path(__file__).resolve().parents[1]
LAST = "checkpoints/last.ckpt"
STEPS = 120


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all of `forked_ranks.py` has happened."""
    folder = tmp_path_factory.mktemp("place")
    write_tunes(folder / "tunes.abc", count=80)
    path = os.pathsep.join([str(TESTS.parent), str(TESTS / "e2e")])
    done = subprocess.run(
        [sys.executable, str(TESTS / "e2e" / "forked_ranks.py"), str(folder)],
        env={**environment(), "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def happened(place: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place / "happened.json").read_text())
    return content


def said(place: Path, run: str, rank: int = 0) -> str:
    return (place / run / f"said-by-{rank}.txt").read_text()


def assert_same_end(place: Path, run: str) -> None:
    """A run left what the undisturbed one left: adapter, weights, moments."""
    ours, theirs = (place / name for name in (run, "undisturbed"))
    adapter = Path("adapter/adapter_model.safetensors")
    assert (ours / adapter).read_bytes() == (theirs / adapter).read_bytes()
    a, b = (torch.load(folder / LAST, weights_only=True) for folder in (ours, theirs))
    assert a["global_step"] == b["global_step"] == STEPS
    for index, state in b["optimizer_states"][0]["state"].items():
        for key, value in state.items():
            assert torch.equal(a["optimizer_states"][0]["state"][index][key], value), (index, key)
    figures = [json.loads((folder / "metrics.json").read_text())["val/bits_per_byte"] for folder in (ours, theirs)]
    assert figures[0] == figures[1]


def test_a_rank_killed_ten_times_costs_nothing_but_time(place: Path, happened: dict[str, Any]) -> None:
    assert happened["undisturbed"] == [0, 0]
    *kills, end = happened["killed"]
    assert len(kills) == 10
    assert {kill["victim"] for kill in kills} == {0, 1}
    for kill in kills:
        assert kill["statuses"][kill["victim"]] == -signal.SIGKILL
        assert kill["statuses"][1 - kill["victim"]] not in (0, STOPPED)  # the other rank does not wait for ever
    steps = [kill["step"] for kill in kills]
    assert steps == sorted(steps)
    assert len(set(steps)) > 5
    assert steps[-1] < STEPS
    assert end["statuses"] == [0, 0]
    assert_same_end(place, "killed")
    assert said(place, "killed").count("resume=auto: going on after optimizer step") == len([s for s in steps if s])


def test_a_run_asked_to_stop_by_one_rank_stops_as_a_whole_and_goes_on(place: Path, happened: dict[str, Any]) -> None:
    asked = happened["asked"]
    assert asked["statuses"] == [STOPPED, STOPPED]
    assert 0 < asked["step"] < STEPS
    output, checkpoint = said(place, "asked"), place / "asked" / LAST
    assert f"stopped by a signal to another process after optimizer step {asked['step']}: {checkpoint} is" in output
    assert f"going on after optimizer step {asked['step']}, from {checkpoint}" in output
    assert asked["then"] == [0, 0]
    assert_same_end(place, "asked")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_loss_that_is_not_finite_ends_every_rank_with_its_rows(
    place: Path, happened: dict[str, Any], rank: int
) -> None:
    assert happened["infinite"] == [1, 1]
    error = said(place, "infinite", rank).strip().splitlines()[-1]
    assert error.startswith("error: the loss of optimizer step 2 is not finite (rank 0, micro-batch 0, rows ")
    row = error.partition("rows ")[2].partition(")")[0]
    assert (
        f"prepare inspect=outputs/data/nano_pretrain split=train first_row={row} rows=1; nothing was saved yet" in error
    )
    assert not (place / "infinite" / LAST).exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_ends_every_rank_and_keeps_the_checkpoint(place: Path, happened: dict[str, Any], rank: int) -> None:
    assert happened["full"] == [[0, 0], [1, 1]]
    last = place / "full" / LAST
    error = said(place, "full", rank).strip().splitlines()[-1]
    assert error == f"error: the checkpoint {last} cannot be written (File too large); earlier ones are as they were"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.ckpt"]
