"""The unit of training data: a text and which of its characters are trained on.

Everything upstream (corpora, instruction tasks) yields `Document`s; everything downstream (tokenising, packing,
shards) sees nothing else, so a new source needs no change below this line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chatmusician.data.prompts import Turn, answer_spans, format_answer, format_question


class TrainedText(NamedTuple):
    """A text, and the half-open character ranges of it that bear loss, in order and apart."""

    text: str
    trained: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A text to learn from.

    ``trained`` holds half-open character ranges ``(start, end)``, in order and apart, that bear loss: the whole text in
    pretraining, the answers in fine-tuning. ``source`` is the name that manifests count by; ``origin`` says where
    the document came from (file and line), for messages.
    """

    text: str
    trained: tuple[tuple[int, int], ...]
    source: str
    origin: str = ""

    @property
    def trained_bytes(self) -> int:
        """UTF-8 bytes that bear loss: the denominator of bits per byte."""
        return sum(len(self.text[start:end].encode()) for start, end in self.trained)


def plain_text(text: str) -> TrainedText:
    """A text of which every character is trained on."""
    return TrainedText(text, ((0, len(text)),))


def conversation(turns: Sequence[Turn]) -> TrainedText:
    """A conversation in the chat template; the loss is on each ``Assistant: {answer} </s> ``."""
    parts: list[str] = []
    trained = []
    length = 0
    for turn in turns:
        human, answer = format_question(turn.question), format_answer(turn.answer or "")
        parts += [human, answer]
        trained.append((length + len(human), length := length + len(human) + len(answer)))
    return TrainedText("".join(parts), tuple(trained))


def chat_text(text: str) -> TrainedText:
    """A text that is in the chat template already; the loss is on its answers.

    Raises:
        ValueError: it has no answer.
    """
    spans = answer_spans(text)
    if not spans:
        raise ValueError("no answer in the chat template")
    return TrainedText(text, spans)


def plain_document(text: str, *, source: str, origin: str = "") -> Document:
    """A pretraining document: every character is trained on."""
    return _document(plain_text(text), source, origin)


def chat_document(question: str, answer: str, *, source: str, origin: str = "") -> Document:
    """A one-turn conversation in the chat template; see `conversation`."""
    return _document(conversation([Turn(question=question, answer=answer)]), source, origin)


def _document(text: TrainedText, source: str, origin: str) -> Document:
    return Document(text=text.text, trained=text.trained, source=source, origin=origin)
