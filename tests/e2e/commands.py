"""Running the commands as a user would, and a corpus to run them on."""

import os
import random
import subprocess
import sys
from pathlib import Path


def environment() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "2", **os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def run(folder: Path, command: str, *overrides: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder of its own, as a user would, and check its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", f"chatmusician.{command}", *overrides],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def write_tunes(path: Path, *, count: int) -> None:
    """Reels of random notes: eight bars of eight, no two alike."""
    draw = random.Random(7)
    tunes = []
    for number in range(1, count + 1):
        bars = [" ".join("".join(draw.choices("DEFGABcdefg", k=4)) for _ in range(2)) for _ in range(4)]
        half = " | ".join(bars)
        tunes.append(f"X:{number}\nR:reel\nM:4/4\nL:1/8\nK:G\n|: {half} :|\n|: {' | '.join(reversed(bars))} :|\n")
    path.write_text("\n".join(tunes))


def small_corpus(plus: str) -> list[str]:
    """Overrides that put the tunes of this test in place of the folk tunes; ``plus`` where a recipe has no such key."""
    settings = ("collections=[tunes.abc]", "held_out=0.1")
    return [f"{plus}data.corpus.corpora.{index}.{setting}" for index in (0, 1) for setting in settings]
