"""The tune inside a chat answer.

Flow: answer of a model -> `extract_tune` -> ``checks``, rendering, evaluation, the web demo. Models wrap ABC in prose
and in fences, put it on the line of a label, or leave out the ``X:`` line; each of these broke integrations of the
original ChatMusician. What is changed is listed in `Extraction.repairs`, so that an evaluation can count it; notes are
never changed, and a tune that was wrong stays wrong.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chatmusician.music.keys import parse_key
from chatmusician.music.lexer import Kind, tokenize

_FENCE = re.compile(r"\s*(```|~~~)")
_NUMBER_LINE = re.compile(r"X:[ \t]*\d*[ \t]*(?:%.*)?$")
_NUMBER_IN_LINE = re.compile(r"(?<![A-Za-z])X:[ \t]*\d+[ \t]*$")
_FIELD = re.compile(r"[A-Z]:(?![|:])")
_KEY = re.compile(r"K:(?![|:])([^%]*)")
_NEAR = 6  # lines after a K: line, comments and fields among them, of which one must be music
_QUOTED = re.compile(r'"[^"]*"')
_WORD = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What `extract_tune` found."""

    abc: str | None
    """The tune from ``X:`` on, without a final newline; None if there is none."""
    repairs: tuple[str, ...] = ()
    """What had to be changed to make it a tune, in words."""
    reason: str | None = None
    """Why there is no tune; None if there is one."""


def extract_tune(answer: str) -> Extraction:
    """Find the first ABC tune in an answer.

    It begins at an ``X:`` line, or, where none comes before the first ``K:`` line with a valid key and music after it,
    at the first field of that header, with ``X:1`` put before. It ends at a fence, at an empty line that no music
    follows, or where prose begins. Indentation is removed.
    """
    lines = [line.strip() for line in answer.splitlines()]
    repairs: list[str] = []
    start = _start(lines)
    if start is None:
        return Extraction(abc=None, reason=_why_none(lines))
    match = _NUMBER_IN_LINE.search(lines[start])
    if match:
        lines[start] = lines[start][match.start() :]
        if match.start():
            repairs.append("removed the text before X: on its line")
    tune = list(_tune_lines(lines, start, repairs))
    if not tune[0].startswith("X:"):
        tune.insert(0, "X:1")
        repairs.append("supplied the missing X: line")
    return Extraction(abc="\n".join(tune), repairs=tuple(repairs))


def _start(lines: Sequence[str]) -> int | None:
    for index, line in enumerate(lines):
        if _NUMBER_LINE.match(line) or _NUMBER_IN_LINE.search(line):
            return index
        if _is_key(line) and any(_is_music(after) for after in lines[index + 1 : index + 1 + _NEAR]):
            while index and (_FIELD.match(lines[index - 1]) or lines[index - 1].startswith("%")):
                index -= 1
            return index
    return None


def _why_none(lines: Sequence[str]) -> str:
    if not any(lines):
        return "the answer is empty"
    if any(_is_key(line) for line in lines):
        return "the answer has a K: line but no line of music with bar lines after it"
    return "the answer has neither an X: line nor a K: line with music after it"


def _tune_lines(lines: Sequence[str], start: int, repairs: list[str]) -> Iterator[str]:
    in_body = False
    skipped = False
    for index in range(start, len(lines)):
        line = lines[index]
        if index > start and (_FENCE.match(line) or _NUMBER_LINE.match(line)):
            return
        if not line:
            rest = next((after for after in lines[index + 1 :] if after), "")
            if not (_is_music(rest) if in_body else _FIELD.match(rest)) or _NUMBER_LINE.match(rest):
                return
            skipped = True
            continue
        if in_body and _is_prose(line):
            return
        if skipped:
            repairs.append("removed an empty line inside the tune")
            skipped = False
        in_body = in_body or line.startswith("K:")
        yield line


def _is_key(line: str) -> bool:
    match = _KEY.match(line)
    if match is None:
        return False
    try:
        parse_key(match[1])
    except ValueError:
        return False
    return True


def _is_music(line: str) -> bool:
    """A line with notes and bar lines and little that is unknown to ABC."""
    kinds = [token.kind for token in tokenize(line)]
    return Kind.NOTE in kinds and Kind.BAR in kinds and 10 * kinds.count(Kind.UNKNOWN) <= len(kinds)


def _is_prose(line: str) -> bool:
    """A line of words: no field, no comment, no bar line, and at least two words that are not ABC."""
    if _FIELD.match(line) or line.startswith(("%", "w:", "+:")) or "|" in line:
        return False
    words = _WORD.findall(_QUOTED.sub("", line))
    return sum(any(token.kind is Kind.UNKNOWN for token in tokenize(word)) for word in words) >= 2
