"""What a run was: its command, code, libraries, machine, data and resolved config, as JSON values."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("chatmusician", "torch", "lightning", "transformers", "peft", "deepspeed", "datasets", "tokenizers")
PACKAGE = Path(__file__).resolve().parents[1]
GIT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class CodeState:
    """Which code ran. Both are None where it is not in a checkout of git, or git is not there."""

    commit: str | None
    dirty: bool | None
    """Whether files differ from the commit, new ones among them."""


def code_state(folder: Path = PACKAGE) -> CodeState:
    """The state of the checkout that a folder is in, as far as the folder goes."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", ".") == "":  # installed somewhere inside another project's checkout
        return CodeState(commit=None, dirty=None)
    status = _git(folder, "status", "--porcelain", ".")
    return CodeState(commit=commit, dirty=None if status is None else bool(status))


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """The versions of those of some distributions that are installed."""
    found = {"python": sys.version.partition(" ")[0]}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def data_fingerprint(manifest: Mapping[str, Any]) -> str:
    """A hash of the settings and totals of prepared data: equal for what was made from the same in the same way."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def run_record(
    *, config: Mapping[str, Any], manifest: Mapping[str, Any], directory: str, hardware: str
) -> dict[str, Any]:
    """The record of a run that is about to begin.

    Args:
        config: resolved.
        manifest: settings and totals of its data.
        directory: where these are.
        hardware: what it runs on, in words.
    """
    code = code_state()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "code": {"commit": code.commit, "dirty": code.dirty},
        "versions": versions(),
        "hardware": hardware,
        "data": {"directory": directory, "fingerprint": data_fingerprint(manifest), **manifest},
        "config": config,
    }
