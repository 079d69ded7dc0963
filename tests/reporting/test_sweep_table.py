"""The table and the plots of a sweep, from what its jobs left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chatmusician.reporting.plots import dots
from chatmusician.reporting.sweeps import DONE, FAILED, JobRecord, swept_keys, unquoted, write_record, write_summary

JOBS = [
    JobRecord(
        number=0,
        folder="a/0",
        values={"optim": "muon", "prompt": "'a, b'"},
        swept=["optim"],
        status=DONE,
        objective=1.5,
        seconds=2.0,
    ),
    JobRecord(
        number=1,
        folder="a/1",
        values={"optim": "paper", "prompt": "'a, b'"},
        swept=["optim"],
        status=FAILED,
        seconds=0.5,
        error="lr 0, or less",
    ),
]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for job in JOBS:
        write_record(tmp_path, job)
    figures = {
        "val/loss": 1.5,
        "seconds": 9,
        "by_source": {"folk": 0.25},
        "name": "x",
        "best": True,
        "nan": float("nan"),
    }
    (tmp_path / "a/0/metrics.json").write_text(json.dumps(figures))
    (tmp_path / "a/1/metrics.json").write_text(json.dumps({"val/loss": 9}))  # of a run before
    return tmp_path


def test_a_line_for_each_job(sweep: Path) -> None:
    assert write_summary(sweep) == JOBS
    assert (sweep / "summary.csv").read_text() == (
        "job,folder,optim,objective,val/loss,metrics.seconds,by_source.folk,seconds,status,error\n"
        "0,a/0,muon,1.5,1.5,9,0.25,2.0,done,\n"
        '1,a/1,paper,,,,,0.5,failed,"lr 0, or less"\n'
    )


def test_keys_that_vary_unannounced_are_swept_too() -> None:
    def job(number: int, **values: str) -> JobRecord:
        return JobRecord(number=number, folder=str(number), values=values, swept=["lr"])

    assert swept_keys([job(0, lr="1", rank="8", seed="3"), job(1, lr="1", rank="16", seed="3")]) == ["lr", "rank"]


@pytest.mark.parametrize(("value", "text"), [("'a b'", "a b"), ('"x"', "x"), ("1e-4", "1e-4"), ("'", "'"), ("", "")])
def test_quotes_are_not_part_of_a_value(value: str, text: str) -> None:
    assert unquoted(value) == text


@pytest.mark.parametrize("values", [["1", "1", "3"], ["1e-5", "1e-3"], ["muon", "$paper$"], ["0"]])
def test_an_objective_is_drawn_over_numbers_and_names(values: list[str]) -> None:
    points = [(value, 1.0 + number) for number, value in enumerate(values)]
    assert dots(points, title="a sweep", x="optim", y="bits").startswith(b"\x89PNG")


def test_the_table_of_a_folder_can_be_made_again(sweep: Path) -> None:
    def make(folder: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "chatmusician.reporting.sweeps", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert make(sweep).stdout == f"{sweep}/summary.csv\n{sweep}/objective_over_optim.png\n"
    nothing = make(sweep / "a/2")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert (
        nothing.stderr
        == f"error: {sweep}/a/2: no job.json in it or below; name the folder of a sweep, as outputs/sweeps/NAME/TIME\n"
    )
