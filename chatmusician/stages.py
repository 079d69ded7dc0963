"""Stages of a pipeline: each is one of the package's commands, run as a process of its own.

A stage that finished is recorded in ``stages.json`` with a fingerprint of its command and of the code and configuration
it ran with. Running the pipeline again starts at the first stage that is not recorded so, and forgets those after it.
At the end ``metrics.json`` holds the figures that each stage wrote into its folder, and the seconds it took.
"""

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmusician.config.paths import conf_dir, experiments_dir
from chatmusician.data.shards import write_json
from chatmusician.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command: ``python -m chatmusician.{command} {overrides}``, run in ``folder``."""

    name: str
    command: str
    overrides: Sequence[str]
    folder: str
    """Where the command writes: its ``hydra.run.dir``, and where its ``metrics.json`` is looked for."""

    def arguments(self) -> list[str]:
        """The command line, behind the interpreter."""
        return ["-m", f"chatmusician.{self.command}", *self.overrides, f"hydra.run.dir={self.folder}"]


def run_stages(*, stages: Sequence[Stage], output: str) -> None:
    """Run the stages that have not finished yet, then gather their figures in ``output/metrics.json``.

    Raises:
        UserError: a stage exited with a failure; the message of its command stands above it.
        KeyboardInterrupt: a stage was interrupted.
    """
    record = Path(output) / "stages.json"
    finished: dict[str, Any] = _read(record)
    code = _fingerprint_of_code()
    kept: dict[str, Any] = {}
    for number, stage in enumerate(stages, start=1):
        fingerprint = hashlib.sha256(json.dumps([code, stage.arguments()]).encode()).hexdigest()[:16]
        before = finished.get(stage.name, {})
        title = f"[{number}/{len(stages)}] {stage.name}"
        if len(kept) == number - 1 and before.get("fingerprint") == fingerprint:
            print(f"{title}: done before, in {before['seconds']:.0f} s", flush=True)
            kept[stage.name] = before
            continue
        finished = {}
        print(f"{title}: python {' '.join(map(_quote, stage.arguments()))}", flush=True)
        seconds = _run(stage)
        print(f"{title}: {seconds:.0f} s", flush=True)
        kept[stage.name] = {"fingerprint": fingerprint, "seconds": round(seconds, 1)}
        write_json(record, kept)
    figures = {stage.name: _read(Path(stage.folder) / "metrics.json") for stage in stages}
    seconds_by_stage = {name: stage["seconds"] for name, stage in kept.items()}
    write_json(Path(output) / "metrics.json", {**figures, "seconds": seconds_by_stage})


def _run(stage: Stage) -> float:
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *stage.arguments()])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal sent Ctrl-C to the stage too: let it end as it should
        raise
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise UserError(f"stage {stage.name} failed with status {status}; mend what it says above and run this again")
    return time.perf_counter() - started


def _quote(argument: str) -> str:
    return repr(argument) if any(character in argument for character in " \n'\"") else argument


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _fingerprint_of_code() -> str:
    """A hash of the package's source, the configuration and the recipes: a change of any makes stages run again."""
    digest = hashlib.sha256()
    for folder, pattern in ((Path(__file__).parent, "*.py"), (conf_dir(), "*.yaml"), (experiments_dir(), "*.yaml")):
        for file in sorted(Path(folder).rglob(pattern)):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
