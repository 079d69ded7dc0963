"""All that is found out about a prepared folder, before anything is written about it.

200,000 rows of 2,048 tokens with 1.2 million documents took 5.2 s of one core from a warm cache, and 174 MiB; a fifth
of them took 90 MiB. What grows are the numbers kept of each document and the sorting of their hashes, about 90 bytes
each.

What the corpus rejected is grouped by reason. Reasons that differ only in what they quote, in numbers and in names of
files are one kind: ``same melody as jigs/a.abc:12`` and ``same melody as reels/b.abc:7`` are both ``same melody as
FILE:N``.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatmusician.data.inspection.figures import (
    Repetition,
    SourceFigures,
    SplitFigures,
    by_source,
    find_repetition,
    measure,
)
from chatmusician.data.inspection.folder import PackedDocument, PreparedFolder, Shard
from chatmusician.data.shard_columns import PREPARE_ANEW
from chatmusician.errors import UserError

SHOWN = 5
"""Documents named of those that are there more than once, in a split."""

Follow = Callable[[Iterable[Shard], str, int], Iterable[Shard]]
"""Passes on the shards of a split by its name, of which there are so many: where progress is shown."""

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


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a folder holds, by split; splits without rows are left out."""

    folder: PreparedFolder
    summary: Mapping[str, Mapping[str, Any]]
    """What the manifest says; all splits."""
    figures: Mapping[str, SplitFigures]
    sources: Mapping[str, Mapping[str, SourceFigures]]
    repetition: Mapping[str, Repetition]
    """Of documents of `SHORT` tokens or more."""
    short_repetition: Mapping[str, Repetition]
    """Of the others, none of them named."""
    rejected: tuple[RejectionKind, ...] | None
    """The most frequent first; None of a mirror, which has no quarantine."""

    def document(self, split: str, number: int) -> PackedDocument:
        """A document of a split by its number."""
        shard, place = self.figures[split].place(number)
        return self.folder.shard(split, shard).document(place)


def look_at(folder: PreparedFolder, *, follow: Follow) -> Look:
    """Read every shard once, and the quarantine.

    Raises:
        UserError: a shard is missing or damaged, or the quarantine is.
    """
    rejected = read_quarantine(folder.directory / "quarantine.jsonl")
    summary = folder.manifest.summary()
    figures = {
        split: measure(follow(folder.shards(split), split, len(folder.records(split))), seq_len=folder.seq_len)
        for split in folder.splits
    }

    def repetition(*, short: bool, shown: int) -> dict[str, Repetition]:
        training = figures.get("train")
        return {
            split: find_repetition(found, None if found is training else training, short=short, shown=shown)
            for split, found in figures.items()
        }

    return Look(
        folder=folder,
        summary=summary,
        figures=figures,
        sources={split: by_source(summary[split]["sources"], found.trained_tokens) for split, found in figures.items()},
        repetition=repetition(short=False, shown=SHOWN),
        short_repetition=repetition(short=True, shown=0),
        rejected=rejected,
    )


def read_quarantine(path: Path) -> tuple[RejectionKind, ...] | None:
    """The reasons in a ``quarantine.jsonl``, the most frequent first, read line by line; None where there is none.

    Raises:
        UserError: the file cannot be read, or a line is not a rejection.
    """
    kinds: dict[str, RejectionKind] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                _count(kinds, line, f"{path}:{number}")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); {PREPARE_ANEW}") from error
    return tuple(sorted(kinds.values(), key=lambda kind: -kind.parts))


def _count(kinds: dict[str, RejectionKind], line: str, place: str) -> None:
    try:
        rejection = json.loads(line)
        reason = kind_of(str(rejection["reason"]), file=str(rejection["file"]))
        first = f"{rejection['file']}:{rejection['line']}"
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} is no rejection ({error!r}); {PREPARE_ANEW}") from error
    kind = kinds.get(reason, RejectionKind(reason=reason, parts=0, first=first))
    kinds[reason] = replace(kind, parts=kind.parts + 1)


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
