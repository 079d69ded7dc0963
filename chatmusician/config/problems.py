"""What is wrong with a config, and the exception that carries all of it at once."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chatmusician.errors import UserError

_LISTED_AT_MOST = 12


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake: the full dotted path of the key, what is wrong with the remedy, and where the key was set."""

    path: str
    message: str
    origin: str | None = None
    """``file:line`` or ``command line``; None where no single place set it."""

    def __str__(self) -> str:
        """The problem on one line."""
        where = f" ({self.origin})" if self.origin else ""
        return f"{self.path}{where}: {self.message}"


class ConfigError(UserError):
    """A config that is refused, with every problem found in it.

    One problem is one line; several are a summary line and one indented line each.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(str(self.problems[0]))
        else:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            super().__init__(f"the configuration has {len(self.problems)} mistakes{lines}")

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        """Pickle by the problems, not by the message: a sweep's worker sends the error to its parent."""
        return type(self), (self.problems,)


def closest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``name`` was probably meant to be, or None."""
    matches = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    return matches[0] if matches else None


def suggestion(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """How to go on after a wrong ``name``: the closest valid one, else the valid ones; each written after ``prefix``.

    >>> suggestion("max_step", ["max_steps", "seed"], prefix="trainer.")
    'did you mean trainer.max_steps?'
    """
    valid = sorted(set(names))
    match = closest(name, valid)
    if match is not None:
        return f"did you mean {prefix}{match}?"
    if not valid:
        return "remove it: nothing is accepted here"
    more = ", ..." if len(valid) > _LISTED_AT_MOST else ""
    return "choose from: " + ", ".join(valid[:_LISTED_AT_MOST]) + more
