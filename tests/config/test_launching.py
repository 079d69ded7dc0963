"""Jobs on several processes, real ones: how they start, how each way to end looks to a user and to a script."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from ensemble import await_line, run, start, write_command

from chatmusician.config.ranks import count_devices, own_rank, world_size
from chatmusician.config.sweep_jobs import quoted
from chatmusician.errors import UserError

TWO = ("trainer.devices=2", "hydra.run.dir=out")
SLURM = {"SLURM_JOB_NAME": "music", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_command(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("devices", "count"),
    [(1, 1), (4, 4), ("3", 3), ([0, 2], 2), ("0,2", 2), ("1,", 1), ("auto", 1), (-1, 1), ("-1", 1), (None, 1), (0, 1)],
)
def test_as_many_processes_as_the_trainer_has_devices(devices: object, count: int) -> None:
    assert count_devices(devices, lambda: 1) == count


def test_devices_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.devices=many: give a number, a list of numbers, or auto"):
        count_devices("many", lambda: 1)


@pytest.mark.parametrize(
    ("environment", "rank", "size"),
    [
        ({}, 0, 1),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, 3, 4),
        ({**SLURM, "SLURM_PROCID": "1"}, 1, 2),
        ({**SLURM, "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"}, 0, 1),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 0, 1),  # in a script of sbatch, without srun
    ],
)
def test_who_started_a_process_says_which_rank_it_is(environment: dict[str, str], rank: int, size: int) -> None:
    assert (own_rank(environment), world_size(environment)) == (rank, size)


def test_two_ranks_run_with_the_same_config_in_one_folder(folder: Path) -> None:
    status, out, err = run(folder, *TWO, "do=play", "key='F, sharp'", "tempo=100")
    assert (status, err) == (0, [])
    assert [line.rpartition("] - ")[2] for line in out] == ["rank 0", "rank 0 plays"]  # what rank 1 says is in its log
    assert (folder / "out/ranks/rank-1.log").read_text() == "rank 1 plays\n"
    assert json.loads((folder / "out/metrics.json").read_text())["key"] == "F, sharp"
    assert "- tempo=100" in (folder / "out/.hydra/overrides.yaml").read_text()
    assert (folder / "out/play.log").read_text().count("rank") == 1


@pytest.mark.parametrize(
    ("do", "who", "error"),
    [
        ("mistake", 1, ["error: tempo 60 in 1: give a positive number"]),
        ("fault", 1, ["Traceback (most recent call last):", "RuntimeError: a string broke"]),
        ("kill", 1, ["error: rank 1 (pid N) was killed by SIGKILL; if by nobody, memory has run out"]),
        ("kill", 0, ["error: rank 0 (pid N) was killed by SIGKILL; if by nobody, memory has run out"]),
        ("all", 1, ["error: nobody has a score: give one"]),
    ],
)
def test_the_rank_that_failed_first_speaks_first(folder: Path, do: str, who: int, error: list[str]) -> None:
    status, _, err = run(folder, *TWO, f"do={do}", f"who={who}")
    assert status == 1
    said = [re.sub(r"pid \d+", "pid N", line) for line in err if not line.startswith(" ")]
    assert said[: len(error)] == error
    assert not any("Connection closed" in line for line in err)
    behind = {"mistake": ["rank 1 of 2 failed first"], "fault": ["rank 1 of 2 failed first"]}.get(do, [])
    log = [f"its output is in {folder}/out/ranks/rank-1.log"] if do != "all" and who == 1 else []
    assert said[len(error) :] == behind + log


def test_a_rank_that_waits_for_a_dead_one_is_not_waited_for(folder: Path) -> None:
    status, _, err = run(folder, *TWO, "do=deaf")
    assert status == 1
    assert re.match(r"error: rank 1 \(pid \d+\) was killed by SIGKILL", err[0])
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_goes_to_all_ranks(folder: Path, number: signal.Signals, status: int) -> None:
    with start(folder, *TWO, "do=wait") as process:
        await_line(process, "rank 0 plays")
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == status
    assert err == ("interrupted\n" if number == signal.SIGINT else "")
    assert (folder / "left-0").exists()
    assert (folder / "left-1").exists()


def test_a_rank_that_has_stopped_leaves_the_other_time_to_save(folder: Path) -> None:
    with start(folder, *TWO, "do=stop when asked") as process:
        await_line(process, "rank 0 plays")
        process.send_signal(signal.SIGUSR1)
        _, err = process.communicate()
    assert (process.returncode, err) == (85, "")
    assert (folder / "saved").exists()


def test_ranks_end_with_the_process_that_started_them(folder: Path) -> None:
    with start(folder, *TWO, "do=wait") as process:
        await_line(process, "rank 0 plays")
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.read()  # until rank 0 has closed it
    assert (folder / "left-0").exists()


def test_ranks_of_torchrun_share_the_folder_of_the_first(folder: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    status, _, err = run(folder, "trainer.devices=2", "do=play", python=torchrun, OMP_NUM_THREADS="1")
    assert status == 0, err
    (only,) = (folder / "out").iterdir()
    assert {file.name for file in only.iterdir()} == {".hydra", "metrics.json", "play.log"}


def slurm_tasks(folder: Path, *arguments: str) -> list[tuple[int, str]]:
    """What srun would start: status and standard error of each."""
    tasks = [
        start(folder, *arguments, **SLURM, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), SLURM_NODEID="0")
        for rank in (0, 1)
    ]
    errors = [task.communicate()[1] for task in tasks]
    return [(task.returncode, error) for task, error in zip(tasks, errors, strict=True)]


def test_tasks_of_slurm_are_ranks_and_need_a_folder_of_their_own(folder: Path) -> None:
    assert slurm_tasks(folder, "trainer.devices=2", "do=play", "hydra.run.dir=out") == [(0, ""), (0, "")]
    assert (folder / "out/play.log").read_text().count("rank") == 1
    refused = "error: each rank would write to a folder of its own: add hydra.run.dir=FOLDER, the same for all\n"
    assert slurm_tasks(folder, "trainer.devices=2") == [(1, refused), (1, refused)]
    unequal = (
        "error: trainer.devices=1: with trainer.num_nodes=1 that is 1 processes, but 2 were started: make them equal\n"
    )
    assert slurm_tasks(folder, "hydra.run.dir=out") == [(1, unequal), (1, unequal)]


def test_several_machines_are_refused_with_what_to_type(folder: Path) -> None:
    status, _, err = run(folder, "trainer.num_nodes=2", "trainer.devices=8", "key=a b")
    assert status == 1
    assert len(err) == 1
    assert "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-id play " in err[0]
    assert "srun --nodes 2 --ntasks-per-node 8 python -m chatmusician.train" in err[0]
    assert "'key=a b'" in err[0]


@pytest.mark.parametrize("value", ["/a b/c,d=e", "it's", "back\\slash\\", "${x}"])
def test_any_text_can_be_the_value_of_an_override(value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(value)}"])
    assert override.value() == value
