"""The doctor as a user calls it: on this machine, and on a run that fits and one that does not."""

import json
from pathlib import Path

from commands import run


def test_this_machine_and_a_run_that_fits(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "+experiment=nano_pretrain", "json=true", "output=report.json")
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    titles = [section["title"] for section in report["sections"]]
    assert titles[0] == "Python and packages"
    assert titles[-1] == "The run: +experiment=nano_pretrain"
    verdict = report["sections"][-1]["findings"][-1]
    assert (verdict["name"], verdict["state"]) == ("verdict", "ok")
    assert report["recipe"]["estimate"]["steps"] == 370
    assert report["machine"]["cores"] >= 1


def test_a_run_that_does_not_fit(tmp_path: Path) -> None:
    """Weights, gradients and moments of 300 billion parameters, 5 TB, fit nowhere."""
    overrides = ["model.backbone.hidden_size=98304", "model.backbone.heads=768", "model.backbone.layers=8"]
    done = run(tmp_path, "doctor", "+experiment=nano_pretrain", *overrides, status=1)
    assert done.stderr.splitlines()[-1].startswith("error: the run does not fit on this machine: ")
    assert "GiB of memory, of which" in done.stderr.splitlines()[-1]
    assert "  missing   verdict" in done.stdout
