import os
import subprocess
import sys
from pathlib import Path

import pytest

from chatmusician.dashboards.wandb_runs import chosen_mode, run_id, sweep_name

SAY = "from chatmusician.dashboards.wandb_runs import chosen_mode; print(chosen_mode('auto'))"
NETRC = "machine {} login user password " + 40 * "0" + "\n"


@pytest.mark.parametrize(
    ("variables", "netrc", "mode"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": 40 * "0"}, None, "online"),
        ({}, "api.wandb.ai", "online"),
        ({"WANDB_BASE_URL": "http://127.0.0.1:8080"}, "127.0.0.1:8080", "online"),
        ({}, "example.org", "offline"),
        ({"WANDB_API_KEY": 40 * "0", "WANDB_MODE": "offline"}, None, "offline"),
        ({"WANDB_MODE": "disabled"}, None, "disabled"),
    ],
)
def test_a_run_is_online_where_there_is_a_key_and_nothing_else_is_asked_for(
    tmp_path: Path, variables: dict[str, str], netrc: str | None, mode: str
) -> None:
    """In a process of its own, since wandb reads its settings once."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    if netrc is not None:
        (tmp_path / "netrc").write_text(NETRC.format(netrc))
    environment = {**inherited, "NETRC": str(tmp_path / "netrc"), "HOME": str(tmp_path), **variables}
    done = subprocess.run([sys.executable, "-c", SAY], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{mode}\n"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_what_is_asked_for_is_taken(mode: str) -> None:
    assert chosen_mode(mode) == mode


def test_a_folder_keeps_the_id_of_its_run_until_another_is_begun(tmp_path: Path) -> None:
    first = run_id(tmp_path, resumes=False)
    assert run_id(tmp_path, resumes=True) == run_id(tmp_path, resumes=True) == first
    assert run_id(tmp_path, resumes=False) != first
    assert run_id(tmp_path / "other", resumes=True) != first  # begun elsewhere: a run of its own


@pytest.mark.parametrize(("mode", "name"), [("MULTIRUN", "sweeps/rates"), ("RUN", None)])
def test_jobs_of_a_sweep_go_by_its_folder(tmp_path: Path, mode: str, name: str | None) -> None:
    job = tmp_path / "sweeps" / "rates" / "3"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  mode: {mode}\n")
    assert sweep_name(job) == name
    assert sweep_name(tmp_path) is None
