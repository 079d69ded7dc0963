import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "experiments" / "dashboard.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_view_has_a_panel_for_what_is_logged() -> None:
    pytest.importorskip("wandb_workspaces")
    done = run("us/tunes", "--name", "All of it")
    assert done.returncode == 0, done.stderr
    view: dict[str, Any] = json.loads(done.stdout)
    assert (view["entity"], view["project"], view["displayName"]) == ("us", "tunes", "All of it")
    sections = {section["name"]: section for section in view["spec"]["section"]["panelBankConfig"]["sections"]}
    assert list(sections) == ["Quality", "Samples", "Speed", "Optimisation", "Machine", "Export"]
    panels = [panel["config"] for section in sections.values() for panel in section["panels"]]
    lines = [panel for panel in panels if "metrics" in panel]
    assert all(panel["xAxis"] == "trainer/global_step" for panel in lines)
    drawn = {key for panel in lines for key in panel["metrics"]}
    assert {"val/bits_per_byte", "throughput/mfu", "optim/gradient_norm", "samples/bar_rate", "memory/process"} <= drawn
    assert [panel["metricRegex"] for panel in panels if "metricRegex" in panel] == ["val/bits_per_byte/.*"]
    assert "samples/answers" in json.dumps(sections["Samples"])


@pytest.mark.parametrize("project", ["tunes", "us/", "us/tunes/more"])
def test_a_project_is_named_with_whose_it_is(project: str) -> None:
    done = run(project)
    assert done.returncode == 2
    assert f"{project!r} is not ENTITY/PROJECT" in done.stderr
