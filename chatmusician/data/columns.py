"""How the columns of a row become a text and its trained ranges: the one thing that a new dataset needs to have said.

Each mapping names the columns that it reads, so that no others are read from files that can leave them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chatmusician.data.documents import TrainedText, chat_text, conversation, plain_text
from chatmusician.data.prompts import Turn, clean_fields
from chatmusician.errors import UserError


class Columns(Protocol):
    """A mapping of columns."""

    def names(self) -> tuple[str, ...]:
        """The columns that it reads."""

    def read(self, row: Mapping[str, Any]) -> TrainedText:
        """The text of a row.

        Raises:
            ValueError: the row has no such text; the message says why.
        """

    def describe(self) -> dict[str, Any]:
        """What decides the text: JSON values."""


@dataclass(frozen=True, kw_only=True)
class TextColumn:
    """A column of texts, such as MusicPile's ``text``.

    With ``chat`` the texts are conversations in the chat template, and the loss is on their answers alone; without it
    every character is trained on.
    """

    text: str = "text"
    chat: bool = False

    def names(self) -> tuple[str, ...]:
        """See `Columns`."""
        return (self.text,)

    def read(self, row: Mapping[str, Any]) -> TrainedText:
        """See `Columns`."""
        text = _text(row, self.text)
        if not text.strip():
            raise ValueError(f"no text in column {self.text!r}")
        return chat_text(text) if self.chat else plain_text(text)

    def describe(self) -> dict[str, Any]:
        """See `Columns`."""
        return {"text": self.text, "chat": self.chat}


@dataclass(frozen=True, kw_only=True)
class InstructionColumns:
    """A question in one or more columns and its answer, such as MusicPile-sft's.

    ``separator`` stands between the columns of the question that have text. Fragments of the chat template inside the
    fields are taken out (`chatmusician.data.prompts.clean_fields`).

    Raises:
        UserError: no column has the question.
    """

    question: Sequence[str] = ("instruction", "input")
    answer: str = "output"
    separator: str = ""

    def __post_init__(self) -> None:
        if not self.question:
            raise UserError("corpus.columns.question=[]: name at least one column")
        # Of a configuration it is a list of OmegaConf's, whose reading takes as long as a row's.
        object.__setattr__(self, "question", tuple(self.question))

    def names(self) -> tuple[str, ...]:
        """See `Columns`."""
        return (*self.question, self.answer)

    def read(self, row: Mapping[str, Any]) -> TrainedText:
        """See `Columns`."""
        parts = [text for name in self.question if (text := _text(row, name, optional=True))]
        question, answer = clean_fields(self.separator.join(parts), "", _text(row, self.answer, optional=True))
        for name, text in (("question", question), ("answer", answer)):
            if not text.strip():
                raise ValueError(f"no {name}")
        return conversation([Turn(question=question, answer=answer)])

    def describe(self) -> dict[str, Any]:
        """See `Columns`."""
        return {"question": list(self.question), "answer": self.answer, "separator": self.separator}


@dataclass(frozen=True, kw_only=True)
class MessagesColumn:
    """A column of lists of messages, each with who speaks and what: ``{"role": "user", "content": "..."}``.

    What a system message says stands before the first question, since the chat template has no place of its own for it.
    Questions behind the last answer are left out: nothing of them would be trained on.
    """

    messages: str = "messages"
    role: str = "role"
    content: str = "content"
    human: Sequence[str] = ("user", "human")
    assistant: Sequence[str] = ("assistant", "gpt")

    def __post_init__(self) -> None:
        for name in ("human", "assistant"):  # see `InstructionColumns`
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def names(self) -> tuple[str, ...]:
        """See `Columns`."""
        return (self.messages,)

    def read(self, row: Mapping[str, Any]) -> TrainedText:
        """See `Columns`."""
        messages = _value(row, self.messages)
        if not isinstance(messages, list):
            raise ValueError(f"column {self.messages!r} is {_kind(messages)}, not a list of messages")
        asked: list[str] = []
        turns: list[Turn] = []
        for number, message in enumerate(messages, start=1):
            try:
                answers, content = self._said(message)
            except ValueError as error:
                raise ValueError(f"message {number}: {error}") from error
            if not answers:
                asked += [content] if content else []
            elif asked:
                turns.append(Turn(question="\n".join(asked), answer=content))
                asked = []
            else:
                raise ValueError(f"message {number}: an answer without a question before it")
        if not turns:
            raise ValueError("no answer")
        return conversation(turns)

    def _said(self, message: Any) -> tuple[bool, str]:
        """Whether a message is an answer, and what it says; only a system message may say nothing."""
        if not isinstance(message, Mapping):
            raise ValueError(f"{_kind(message)}, not an object")
        role, content = _text(message, self.role), _text(message, self.content)
        if role not in (*self.human, *self.assistant, "system"):
            raise ValueError(f"of {role!r}, who is neither human nor assistant")
        if not content.strip() and role != "system":
            raise ValueError(f"no text of {role!r}")
        return role in self.assistant, content if content.strip() else ""

    def describe(self) -> dict[str, Any]:
        """See `Columns`."""
        fields = {"messages": self.messages, "role": self.role, "content": self.content}
        return {**fields, "human": list(self.human), "assistant": list(self.assistant)}


def source_of(row: Mapping[str, Any], column: str) -> str:
    """The name of a row's source.

    Raises:
        ValueError: the column is not there, or is no text.
    """
    return _text(row, column)


def _value(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        there = ", ".join(map(repr, row)) or "none"
        raise ValueError(f"no column {name!r}; there are {there[:200]}")
    return row[name]


def _text(row: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    """The text of a column; with ``optional``, nothing where it is null."""
    value = _value(row, name)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"column {name!r} is {_kind(value)}, not text")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
