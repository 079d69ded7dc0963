"""A look at prepared data by the command, as a user would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment, run, write_tunes

from chatmusician.data.folk import FolkTunes
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.tokenizers import TrainedTokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared tunes in ``data=1,a``, a name that Hydra would read as more than text."""
    folder = tmp_path_factory.mktemp("place")
    write_tunes(folder / "tunes.abc", count=20)
    prepare(
        corpus=FolkTunes(collections=[str(folder / "tunes.abc")], held_out=0.1),
        tokenizer=TrainedTokenizer(vocab_size=300),
        settings=PackingSettings(seq_len=256),
        directory=folder / "data=1,a",
    )
    return folder


def test_rows_totals_and_the_report(place: Path) -> None:
    before = sorted(path.name for path in (place / "data=1,a").rglob("*"))
    lines = run(place, "prepare", "inspect=data=1,a", "rows=2", "hydra.run.dir=look").stdout.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("row ")] == ["row 0", "row 1"]
    assert any(line.startswith("│ ⟦X⟧:1") for line in lines)
    assert any(line.split() == ["train", "validation", "test"] for line in lines)
    assert lines[-1] == f"report: {place / 'look' / 'report.html'}"
    assert (place / "look" / "report.html").stat().st_size > 10_000
    assert not any("\x1b" in line for line in lines)
    assert sorted(path.name for path in (place / "data=1,a").rglob("*")) == before


def test_colours_where_they_are_wanted(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chatmusician.prepare", "inspect=data=1,a", "split=validation"],
        cwd=place,
        env={**{k: v for k, v in environment().items() if k != "NO_COLOR"}, "FORCE_COLOR": "1", "TERM": "xterm"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b[33mX\x1b[0m\x1b[32m:1" in done.stdout
    assert "⟦" not in done.stdout


def test_a_reader_that_leaves_gets_its_report(place: Path) -> None:
    """As ``| head -5`` does: here nobody reads from the beginning on."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "chatmusician.prepare", "inspect=data=1,a", "hydra.run.dir=left"],
        cwd=place,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "left" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["inspect=nowhere"], "error: nowhere is no prepared folder"),
        (["inspect=data=1,a", "split=dev"], "error: split='dev': use one of train, validation, test"),
        (["inspect=data=1,a", "first_row=999"], "error: first_row=999: train of data=1,a has rows 0 to "),
        (["inspect=data=1,a", "rows=-1"], "error: rows=-1: use 0 to print none, or more"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(place: Path, overrides: list[str], message: str) -> None:
    done = run(place, "prepare", *overrides, status=1)
    assert done.stderr.startswith(message)
    assert done.stderr.count(os.linesep) == 1
    assert not done.stdout
