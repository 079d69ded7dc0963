from chatmusician.data.documents import Document, chat_document, plain_document


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
