"""The logger without a run of training; what it is told stands in `tests/e2e/test_dashboards.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from run_files import items, records

from chatmusician.dashboards import wandb_logger
from chatmusician.dashboards.wandb_logger import WandbRun, finished_runs
from chatmusician.errors import UserError


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A key, and a server that nobody is at."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setattr(wandb_logger, "INIT_SECONDS", 2.0)
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("no_server")
def test_a_run_that_cannot_be_begun_online_is_kept_on_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    with finished_runs():
        logger = WandbRun(save_dir="run", project="music", name="first", tags=["a"], group="together")
        logger.log_metrics({"train/loss": 2.5}, step=7)
    refusal, farewell = (record.message for record in caplog.records if record.message.startswith("Weights & Biases"))
    assert refusal.endswith("; the run is kept on disk")
    (folder,) = Path("run", "wandb").glob("offline-run-*")
    assert farewell.endswith(f"it is sent by: wandb sync {folder}")
    assert folder.name.endswith(Path("run", "wandb", "run-id.txt").read_text().strip())
    assert wandb.run is None  # the next job of a sweep begins its own
    wandb.teardown()  # as at the end of a process: what is not written yet is
    told = list(records(next(folder.glob("run-*.wandb"))))
    (begun,) = (record.run for record in told if record.WhichOneof("record_type") == "run")
    assert (begun.project, begun.display_name) == ("music", "first")
    assert (list(begun.tags), begun.run_group) == (["a"], "together")
    (row,) = (items(record.history.item) for record in told if record.WhichOneof("record_type") == "history")
    assert (row["train/loss"], row["trainer/global_step"]) == (2.5, 7)


def test_there_is_no_other_mode(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^logger.wandb.mode=sometimes: use one of auto, online, offline, disabled$"):
        WandbRun(save_dir=str(tmp_path), project="music", name="first", mode="sometimes")
