"""The unit of training data: a text and which of its characters are trained on.

Everything upstream (corpora, instruction tasks) yields `Document`s; everything downstream (tokenising, packing,
shards) sees nothing else, so a new source needs no change below this line.
"""

from dataclasses import dataclass

from chatmusician.data.prompts import format_answer, format_question


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


def plain_document(text: str, *, source: str, origin: str = "") -> Document:
    """A pretraining document: every character is trained on."""
    return Document(text=text, trained=((0, len(text)),), source=source, origin=origin)


def chat_document(question: str, answer: str, *, source: str, origin: str = "") -> Document:
    """A one-turn conversation in the chat template; the loss is on ``Assistant: {answer} </s> ``."""
    human = format_question(question)
    text = human + format_answer(answer)
    return Document(text=text, trained=((len(human), len(text)),), source=source, origin=origin)
