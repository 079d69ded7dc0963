"""Answers for the tests of metrics."""

from chatmusician.evaluation.answers import TuneAnswer, read_answer
from chatmusician.evaluation.requirements import Requirements

NO_TUNE = ("", "I would rather not.", "X:1\nL:1/8\nM:4/4\nK:C\n[CDEF GABc | c8 |]\n")
"""Empty; without a tune; a tune that does not parse."""


def answer(
    body: str, *, key: str = "C", meter: str = "4/4", unit: str = "1/8", asked: Requirements | None = None
) -> TuneAnswer:
    """A tune as answer."""
    return text_answer(f"X:1\nL:{unit}\nM:{meter}\nK:{key}\n{body}\n", asked=asked)


def text_answer(text: str, *, asked: Requirements | None = None) -> TuneAnswer:
    """Any text as answer."""
    return read_answer(text, requirements=asked or Requirements())
