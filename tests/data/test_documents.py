import pytest

from chatmusician.data.documents import Document, chat_document, chat_text, conversation, plain_document, plain_text
from chatmusician.data.prompts import Turn


def test_a_plain_document_is_trained_on_whole() -> None:
    document = plain_document("X:1\nT:Fáinne\n", source="folk", origin="a.abc:1")
    assert document.trained == ((0, 13),)
    assert document.trained_bytes == 14  # á has two bytes
    assert (document.source, document.origin) == ("folk", "a.abc:1")


def test_a_chat_document_is_trained_on_its_answer() -> None:
    document = chat_document("Name the key.", "G", source="keys")
    assert document.text == "Human: Name the key. </s> Assistant: G </s> "
    assert document.trained == ((26, 44),)
    assert document.text[26:44] == "Assistant: G </s> "
    assert document.trained_bytes == 18


def test_bytes_of_several_ranges_add_up() -> None:
    document = Document(text="aébcd", trained=((0, 2), (3, 5)), source="")
    assert document.trained_bytes == 5  # a, two of é, c, d


def test_every_answer_of_a_conversation_is_trained_on() -> None:
    """Human: Hi. </s> is 16 characters with its space, and Assistant: A. </s> 19."""
    text, trained = conversation([Turn(question="Hi.", answer="A."), Turn(question="é?", answer="🎵")])
    assert text == "Human: Hi. </s> Assistant: A. </s> Human: é? </s> Assistant: 🎵 </s> "
    assert trained == ((16, 35), (50, 68))
    assert text[50:68] == "Assistant: 🎵 </s> "


def test_a_conversation_that_is_a_text_already_is_the_same() -> None:
    made = conversation([Turn(question="Hi.", answer="A."), Turn(question="é?", answer="🎵")])
    assert chat_text(made.text) == made
    assert plain_text(made.text).trained == ((0, 68),)


def test_a_text_without_an_answer_is_no_conversation() -> None:
    with pytest.raises(ValueError, match="no answer in the chat template"):
        chat_text("Human: Hi. </s> ")
