"""What a check says: what was looked at, what was found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it stands with something."""

    FACT = "-"
    """A figure, neither good nor bad."""
    OK = "ok"
    OPTIONAL = "optional"
    """Not there, or not as it could be; needed for one thing only, which the finding names."""
    MISSING = "missing"
    """Not there, and needed."""
    BROKEN = "broken"
    """There and needed, and it does not work."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check. ``found`` and ``remedy`` are one line each; ``remedy`` is empty where there is nothing to do."""

    name: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Checks that belong together."""

    title: str
    findings: tuple[Finding, ...]


def gibibytes(count: float) -> str:
    """Bytes as people read them: ``12.6 GiB``, ``0.3 GiB``, ``41 MiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 0.1 * 2**30 else f"{count / 2**20:.0f} MiB"
