import pickle
from typing import Any

import pytest
from omegaconf import OmegaConf

from chatmusician.data.columns import Columns, InstructionColumns, MessagesColumn, TextColumn, source_of
from chatmusician.errors import UserError


def trained(columns: Columns, row: dict[str, Any]) -> tuple[str, list[str]]:
    """The text of a row, and what of it is trained on."""
    text, spans = columns.read(row)
    return text, [text[start:end] for start, end in spans]


def test_a_text_is_trained_on_whole() -> None:
    assert trained(TextColumn(text="body"), {"body": " X:1\n", "id": 1}) == (" X:1\n", [" X:1\n"])


def test_a_conversation_in_a_text_is_trained_on_its_answers() -> None:
    text = "Human: Hello. </s> Assistant: Hi. </s> Human: Bye. </s> Assistant: Bye </s> "
    answers = ["Assistant: Hi. </s> ", "Assistant: Bye </s> "]
    assert trained(TextColumn(chat=True), {"text": text}) == (text, answers)


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"instruction": "Add chords. ", "input": "X:1", "output": "X:2"}, "Add chords. X:1", "X:2"),
        ({"instruction": "Human: Go. ", "input": "X:1 </s> ", "output": "Assistant: X:2 </s> "}, "Go. X:1", "X:2"),
        ({"instruction": "Go.", "input": "", "output": "X:2"}, "Go.", "X:2"),
        ({"instruction": "Go.", "input": None, "output": "X:2"}, "Go.", "X:2"),
        ({"instruction": None, "input": "Go.", "output": "X:2"}, "Go.", "X:2"),
    ],
)
def test_a_question_in_two_columns_and_its_answer(row: dict[str, Any], question: str, answer: str) -> None:
    text = f"Human: {question} </s> Assistant: {answer} </s> "
    assert trained(InstructionColumns(), row) == (text, [f"Assistant: {answer} </s> "])


def test_a_question_may_be_in_any_columns() -> None:
    row = {"a": "One, ", "b": "two, ", "c": "three?", "d": "Yes."}
    one, three = InstructionColumns(question=["c"], answer="d"), InstructionColumns(question="abc", answer="d")
    assert trained(one, row)[0] == "Human: three? </s> Assistant: Yes. </s> "
    assert trained(three, row)[0] == "Human: One, two, three? </s> Assistant: Yes. </s> "


def test_a_conversation_of_messages() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "human", "content": "One"},
        {"role": "user", "content": "more?"},
        {"role": "gpt", "content": "No."},
        {"role": "user", "content": "Why?"},  # nobody answers
    ]
    text = "Human: Be brief.\nHello. </s> Assistant: Hi. </s> Human: One\nmore? </s> Assistant: No. </s> "
    answers = ["Assistant: Hi. </s> ", "Assistant: No. </s> "]
    assert trained(MessagesColumn(), {"messages": messages}) == (text, answers)


def test_messages_under_other_names() -> None:
    columns = MessagesColumn(
        messages="conversations", role="from", content="value", human=["student"], assistant=["teacher"]
    )
    messages = [{"from": "system", "value": ""}, {"from": "student", "value": "A?"}, {"from": "teacher", "value": "B."}]
    text = "Human: A? </s> Assistant: B. </s> "
    assert trained(columns, {"conversations": messages}) == (text, ["Assistant: B. </s> "])


USER, ANSWER = {"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        (TextColumn(), {}, "no column 'text'; there are none"),
        (TextColumn(), {"txt": "a", "a\nb\ud83c": 1}, "no column 'text'; there are 'txt', 'a\\nb\\ud83c'"),
        (TextColumn(), {"text": None}, "column 'text' is null, not text"),
        (TextColumn(), {"text": 7}, "column 'text' is int, not text"),
        (TextColumn(), {"text": ["a"]}, "column 'text' is list, not text"),
        (TextColumn(), {"text": b"a"}, "column 'text' is bytes, not text"),
        (TextColumn(), {"text": ""}, "no text in column 'text'"),
        (TextColumn(), {"text": " \n\t"}, "no text in column 'text'"),
        (TextColumn(chat=True), {"text": "Human: Hello. </s> "}, "no answer in the chat template"),
        (InstructionColumns(), {"instruction": "a", "output": "b"}, "no column 'input'; there are 'instruction', 'out"),
        (InstructionColumns(), {"instruction": "a", "input": 1, "output": "b"}, "column 'input' is int, not text"),
        (InstructionColumns(), {"instruction": "a", "input": "", "output": None}, "no answer"),
        (InstructionColumns(), {"instruction": "a", "input": "", "output": " Assistant: </s> "}, "no answer"),
        (InstructionColumns(), {"instruction": "Human: ", "input": " </s> ", "output": "b"}, "no question"),
        (MessagesColumn(), {"messages": "Hello."}, "column 'messages' is str, not a list of messages"),
        (MessagesColumn(), {"messages": None}, "column 'messages' is null, not a list of messages"),
        (MessagesColumn(), {"messages": []}, "no answer"),
        (MessagesColumn(), {"messages": [USER]}, "no answer"),
        (MessagesColumn(), {"messages": [USER, "B."]}, "message 2: str, not an object"),
        (MessagesColumn(), {"messages": [ANSWER]}, "message 1: an answer without a question before it"),
        (MessagesColumn(), {"messages": [USER, ANSWER, ANSWER]}, "message 3: an answer without a question before it"),
        (MessagesColumn(), {"messages": [{"content": "A?"}]}, "message 1: no column 'role'; there are 'content'"),
        (
            MessagesColumn(),
            {"messages": [USER, {"role": "assistant", "content": None}]},
            "message 2: column 'content' is null, not text",
        ),
        (MessagesColumn(), {"messages": [USER, {"role": "gpt", "content": " "}]}, "message 2: no text of 'gpt'"),
        (
            MessagesColumn(),
            {"messages": [USER, {"role": "tool", "content": "7"}]},
            "message 2: of 'tool', who is neither human nor assistant",
        ),
    ],
)
def test_a_row_without_such_a_text_says_why(columns: Columns, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        columns.read(row)
    message = str(refused.value)
    assert message.startswith(reason)
    assert "\n" not in message
    message.encode()


def test_many_columns_are_not_all_told() -> None:
    with pytest.raises(ValueError, match="no column 'text'; there are 'column 0', 'column 1',") as refused:
        TextColumn().read({f"column {n}": n for n in range(10_000)})
    assert len(str(refused.value)) < 300


def test_the_source_is_text() -> None:
    assert source_of({"src": "irishman"}, "src") == "irishman"
    with pytest.raises(ValueError, match="column 'src' is null, not text"):
        source_of({"src": None}, "src")


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (TextColumn(text="body"), ("body",)),
        (InstructionColumns(), ("instruction", "input", "output")),
        (MessagesColumn(), ("messages",)),
    ],
)
def test_columns_name_what_they_read_and_can_be_sent_to_a_worker(columns: Columns, names: tuple[str, ...]) -> None:
    assert columns.names() == names
    assert pickle.loads(pickle.dumps(columns)) == columns


def test_lists_of_a_configuration_are_lists_like_others() -> None:
    question, human = OmegaConf.create(["instruction", "input"]), OmegaConf.create(["user", "human"])
    assert InstructionColumns(question=question) == InstructionColumns(question=("instruction", "input"))
    assert MessagesColumn(human=human) == MessagesColumn(human=("user", "human"))
    assert type(InstructionColumns(question=question).question) is tuple


def test_a_question_needs_a_column() -> None:
    with pytest.raises(UserError, match=r"corpus.columns.question=\[\]: name at least one column"):
        InstructionColumns(question=[])
