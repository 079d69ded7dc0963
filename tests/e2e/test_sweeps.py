"""Sweeps under each launcher and with Optuna: what jobs leave, and what a failed one does not take with it."""

import csv
import io
import json
import os
import re
import select
import signal
from pathlib import Path

import pytest
from commands import run as run_command
from commands import small_corpus
from ensemble import await_line, run, start, write_command
from PIL import Image

SUBMITIT = ("hydra/launcher=submitit_local",)
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_command(tmp_path)
    return tmp_path


def rows(sweep: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((sweep / "summary.csv").read_text())))


def columns(sweep: Path, *names: str) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in names) for row in rows(sweep)]


@pytest.mark.parametrize(
    "launcher", [(), JOBLIB, ("hydra/launcher=submitit_local",)], ids=["basic", "joblib", "submitit"]
)
def test_a_failed_job_takes_nothing_with_it(folder: Path, launcher: tuple[str, ...]) -> None:
    if launcher:
        pytest.importorskip(f"hydra_plugins.hydra_{launcher[0].partition('=')[2].removesuffix('_local')}_launcher")
    status, out, err = run(folder, "-m", "tempo=10,13,666,2000", "key=C", *launcher)
    assert status == 1
    assert [re.sub(r"pid \d+", "pid N", line) for line in err[-3:]] == [
        "error: 2 of 4 jobs failed; sweep/summary.csv has all of them",
        "  job 1 (tempo=13): tempo 13: choose another",
        "  job 2 (tempo=666): the job's process (pid N) was killed by SIGKILL; if by nobody, memory has run out",
    ]
    if launcher != SUBMITIT:  # which keeps what jobs say in files
        assert "job 1 (tempo=13): error: tempo 13: choose another" in err[:-3]
        assert any(line.startswith("job 3 (tempo=2000): 5000.0, ") for line in out)
    assert (folder / "sweep/summary.csv").read_text().splitlines()[0] == (
        "job,folder,tempo,objective,beats,steps.n,seconds,status,error"
    )
    assert columns(folder / "sweep", "job", "folder", "tempo", "objective", "beats", "steps.n", "status") == [
        ("0", "0", "10", "25.0", "25.0", "3", "done"),
        ("1", "1", "13", "", "", "", "failed"),
        ("2", "2", "666", "", "", "", "failed"),
        ("3", "3", "2000", "5000.0", "5000.0", "3", "done"),
    ]
    picture = Image.open(folder / "sweep/objective_over_tempo.png")
    assert picture.size == (880, 440)


def test_optuna_is_told_what_came_of_each_job(folder: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=6")
    one_by_one = "hydra.sweeper.n_jobs=1"  # of several asked for at once the sampler may take the same point twice
    status, _, err = run(folder, "-m", "tempo=choice(13,10,12)", "key=choice(C,D)", *search, one_by_one)
    assert status == 1
    assert err[-3] == "error: 2 of 6 jobs failed; sweep/summary.csv has all of them"
    best = (folder / "sweep/optimization_results.yaml").read_text()
    assert "best_value: 25.0" in best
    assert sorted(columns(folder / "sweep", "tempo", "key", "objective")) == [
        ("10", "C", "25.0"),
        ("10", "D", "25.0"),
        ("12", "C", "30.0"),
        ("12", "D", "30.0"),
        ("13", "C", ""),
        ("13", "D", ""),
    ]
    assert (folder / "sweep/objective_over_key.png").exists()


def test_jobs_of_several_processes_return_their_objective(folder: Path) -> None:
    status, out, _ = run(folder, "-m", "trainer.devices=1,2", "do=play", "tempo=4")
    assert status == 0
    assert [line for line in out if line.startswith("rank")] == ["rank 0 plays", "rank 0 plays"]
    assert columns(folder / "sweep", "trainer.devices", "objective") == [("1", "10.0"), ("2", "10.0")]
    assert (folder / "sweep/1/ranks/rank-1.log").read_text() == "rank 1 plays\n"


@pytest.mark.parametrize("launcher", [(), JOBLIB], ids=["basic", "joblib"])
def test_a_sweep_that_is_stopped_ends_its_jobs_and_keeps_its_table(folder: Path, launcher: tuple[str, ...]) -> None:
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    os.mkfifo(folder / "ready")
    with start(folder, "-m", "do=null,wait", "tempo=4", *launcher) as process:
        await_line(process, "job 0 (do=null): 10.0, ")
        job = os.pidfd_open(int((folder / "ready").read_text()))  # which waits for the job to write it
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 143
    assert columns(folder / "sweep", "do", "status") == [("null", "done"), ("wait", "stopped")]
    (ended,) = select.select([job], [], [], 60)[:1]
    os.close(job)
    assert ended, "the job's process outlived its sweep"
    assert (folder / "left-0").exists()


def test_training_in_one_and_in_two_processes_is_one_sweep(workplace: Path) -> None:
    run_command(
        workplace,
        "train",
        "-m",
        "trainer.devices=1,2",
        "+experiment=nano_sft",
        "optim=paper",
        "model.backbone.path=out/pretrain/model",
        "data.directory=out/data/sft",
        "data.global_batch=4",
        "data.micro_batch=2",
        "trainer.max_steps=3",
        "trainer.val_check_interval=3",
        "callbacks.merge_and_export=null",
        "hydra.sweep.dir=sweep",
        *small_corpus("+"),
    )
    alone, together = (float(row["objective"]) for row in rows(workplace / "sweep"))
    assert together == pytest.approx(alone, abs=1e-5)
    objective = json.loads((workplace / "sweep/1/metrics.json").read_text())["val/bits_per_byte"]
    assert objective == together
    assert (workplace / "sweep/objective_over_trainer.devices.png").exists()
