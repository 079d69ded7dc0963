"""The conversation as markup: every word of it escaped, with its spaces and lines as they were said.

Gradio's own chat component reads messages as HTML or Markdown even when told not to; ABC is neither, and what a model
writes is not to be trusted. The last turn is a component of its own, so that an answer that is being written does not
send the whole conversation again with each word.
"""

from collections.abc import Sequence
from html import escape

from chatmusician.data.prompts import Turn

EMPTY = "<p class='hint'>Ask for a tune, or fill in one of the forms below.</p>"


def transcript(turns: Sequence[Turn]) -> tuple[str, str]:
    """The markup of all turns but the last, and that of the last."""
    if not turns:
        return EMPTY, ""
    return "".join(_turn(turn) for turn in turns[:-1]), _turn(turns[-1])


def _turn(turn: Turn) -> str:
    answer = _said("model", "Model", turn.answer) if turn.answer is not None else ""
    return _said("you", "You", turn.question) + answer


def _said(kind: str, who: str, text: str) -> str:
    return f"<div class='said {kind}'><b>{who}</b><pre>{escape(text)}</pre></div>"
