"""From an answer to the tune in it: found, checked, and written as score and sound."""

import re
from dataclasses import dataclass
from pathlib import Path

from chatmusician.generation.generator import Answer
from chatmusician.music.checks import check_tune
from chatmusician.music.extraction import extract_tune
from chatmusician.music.rendering import render

_BEFORE_NUMBER = re.compile(r"^(?=[ \t]*X:)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class AnsweredTune:
    """The tune in an answer, and what a reader should know about it."""

    abc: str | None
    """ABC notation; None when the answer has no tune."""
    problems: tuple[str, ...]
    """One line each: why there is no tune, what was repaired, what is wrong with it, where it was cut."""


def tune_of(answer: Answer) -> AnsweredTune:
    """Find the tune in the text of ``answer`` and check it."""
    extraction = extract_tune(answer.text)
    problems = [answer.cut] if answer.cut else []
    if answer.gave_way:
        problems.append(f"the constraint gave way at {answer.gave_way} tokens, for which it had left no choice")
    problems += extraction.repairs
    if extraction.abc is None:
        problems.append(extraction.reason or "the answer has no tune")
        return AnsweredTune(abc=None, problems=tuple(problems))
    return AnsweredTune(abc=extraction.abc, problems=(*problems, *faults(extraction.abc)))


def tunes_in(text: str) -> tuple[str, ...]:
    """Every tune in a text, in the order written, each found and repaired as `extract_tune` does."""
    extractions = [extract_tune(part) for part in _BEFORE_NUMBER.split(text)]
    return tuple(found.abc for found in extractions if found.abc is not None)


def faults(abc: str) -> tuple[str, ...]:
    """What is wrong with the notation of a tune: one line, or none."""
    check = check_tune(abc)
    if not check.parses:
        return (f"the tune does not parse: {check.reason}",)
    if check.bars_right < check.bars:
        return (f"{check.bars - check.bars_right} of {check.bars} bars do not add up",)
    return ()


def write_tune(abc: str, directory: Path, *, stem: str = "tune") -> list[str]:
    """Write a tune as ABC and in every format that can be rendered; a line for each file, and for each not made."""
    rendering = render(abc, directory, stem=stem)
    return [*(str(path) for path in rendering.paths.values()), *rendering.problems]
