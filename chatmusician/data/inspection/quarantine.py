"""What the corpus left out, grouped by reason.

Reasons that differ only in what they quote, in numbers and in names of files are one kind: ``same melody as
jigs/a.abc:12`` and ``same melody as reels/b.abc:7`` are both ``same melody as FILE:N``.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from chatmusician.errors import UserError

_QUOTED = re.compile(r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")
_FILE = re.compile(r"[^\s,:;()]*\w\.[A-Za-z]\w{0,5}\b")
_NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")


@dataclass(frozen=True, kw_only=True)
class RejectionKind:
    """Parts of the corpus that were left out for one reason."""

    reason: str
    """With ``'…'``, ``FILE`` and ``N`` for what differs."""
    parts: int
    first: str
    """Where the first one was: file and line."""


def kind_of(reason: str, *, file: str) -> str:
    """A reason without what differs from one rejection to the next; ``file`` is what the rejection is of.

    >>> kind_of("reel 1.abc, line 7, column 2: 'H' means nothing here", file="reels/reel 1.abc")
    "FILE, line N, column N: '…' means nothing here"
    """
    for name in (file, file.rsplit("/", 1)[-1]):
        reason = reason.replace(name, "FILE") if name else reason
    for pattern, substitute in ((_QUOTED, "'…'"), (_FILE, "FILE"), (_NUMBER, "N")):
        reason = pattern.sub(substitute, reason)
    return reason


def read_quarantine(path: Path) -> tuple[RejectionKind, ...]:
    """The reasons in a ``quarantine.jsonl``, the most frequent first; the file is read line by line.

    Raises:
        UserError: the file is missing, or a line is not a rejection.
    """
    kinds: dict[str, RejectionKind] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                _count(kinds, line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove the folder to prepare it anew") from error
    return tuple(sorted(kinds.values(), key=lambda kind: -kind.parts))


def _count(kinds: dict[str, RejectionKind], line: str, place: str) -> None:
    try:
        rejection = json.loads(line)
        reason = kind_of(str(rejection["reason"]), file=str(rejection["file"]))
        first = f"{rejection['file']}:{rejection['line']}"
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} is no rejection ({error!r}); remove the folder to prepare it anew") from error
    kind = kinds.get(reason, RejectionKind(reason=reason, parts=0, first=first))
    kinds[reason] = replace(kind, parts=kind.parts + 1)
