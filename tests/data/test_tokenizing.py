import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from chatmusician.data.documents import Document, chat_document, plain_document
from chatmusician.data.packing import TokenDocument
from chatmusician.data.tokenizers import train_bpe
from chatmusician.data.tokenizing import DocumentTokenizer
from chatmusician.errors import UserError

TUNE = "X:1\nL:1/8\nM:4/4\nK:G\n|: G2BG dGBd | gfdc A2GF :|\n"
QUESTION = "Write a tune in ABC notation."


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe([TUNE, f"Human: {QUESTION} </s> Assistant: {TUNE}"], vocab_size=320)


@pytest.fixture(scope="module")
def byte_tokenizer() -> PreTrainedTokenizerBase:
    """One token a byte, so that pieces can be counted by hand."""
    return train_bpe([""], vocab_size=259)


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    document: Document,
    *,
    seq_len: int = 512,
    overlong: str = "split",
    bos: bool = False,
    eos: bool = False,
) -> tuple[list[TokenDocument], dict[str, int]]:
    make = DocumentTokenizer(tokenizer=tokenizer, seq_len=seq_len, overlong=overlong, bos=bos, eos=eos)
    pieces, fates = make([document])
    return list(pieces), fates


def test_loss_is_on_the_answer(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    (piece,), fates = tokenize(byte_tokenizer, chat_document(QUESTION, TUNE, source="t"))
    assert byte_tokenizer.decode(piece.ids[piece.loss_mask]) == f"Assistant: {TUNE} </s> "
    assert byte_tokenizer.decode(piece.ids[~piece.loss_mask]) == f"Human: {QUESTION} </s> "
    assert piece.trained_bytes == len(f"Assistant: {TUNE} </s> ")
    assert fates == {}


def test_a_token_that_reaches_into_the_answer_bears_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    (piece,), _ = tokenize(tokenizer, chat_document(QUESTION, TUNE, source="t"))
    assert tokenizer.decode(piece.ids[piece.loss_mask]) == f" Assistant: {TUNE} </s> "
    assert tokenizer.decode(piece.ids[~piece.loss_mask]) == f"Human: {QUESTION} </s>"
    assert piece.trained_bytes == len(f"Assistant: {TUNE} </s> ")


def test_the_ids_are_those_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    (piece,), _ = tokenize(tokenizer, plain_document(TUNE, source="t"))
    assert piece.ids.tolist() == tokenizer(TUNE, add_special_tokens=False).input_ids


def test_bos_bears_no_loss_and_eos_bears_that_of_the_end(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    bos, eos = byte_tokenizer.bos_token_id, byte_tokenizer.eos_token_id
    a, b = byte_tokenizer("ab", add_special_tokens=False).input_ids
    (piece,), _ = tokenize(byte_tokenizer, plain_document("ab", source="t"), bos=True, eos=True)
    assert piece.ids.tolist() == [bos, a, b, eos]
    assert piece.loss_mask.tolist() == [False, True, True, True]
    assert piece.trained_tokens == 3
    open_ended = Document(text="ab", trained=((0, 1),), source="t")
    (piece,), _ = tokenize(byte_tokenizer, open_ended, bos=True, eos=True)
    assert piece.loss_mask.tolist() == [False, True, False, False]


def test_an_empty_document_is_counted(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenize(byte_tokenizer, plain_document("", source="t")) == ([], {"empty": 1})


def test_split_by_hand(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    """Ten bytes in rows of four: pieces share a token, which is predicted in the first of the two."""
    pieces, fates = tokenize(byte_tokenizer, plain_document("abcdefghij", source="t"), seq_len=4)
    assert [byte_tokenizer.decode(piece.ids) for piece in pieces] == ["abcd", "defg", "ghij"]
    assert [piece.trained_tokens for piece in pieces] == [3, 3, 3]
    assert [piece.trained_bytes for piece in pieces] == [4, 3, 3]
    assert fates == {"split": 1}


@pytest.mark.parametrize("seq_len", [2, 3, 7, 16, 33])
@pytest.mark.parametrize("eos", [False, True])
def test_split_predicts_every_token_once(tokenizer: PreTrainedTokenizerBase, seq_len: int, eos: bool) -> None:
    document = chat_document("Écris 🎵 un air.", TUNE, source="t")
    (whole,), _ = tokenize(tokenizer, document, eos=eos)
    pieces, _ = tokenize(tokenizer, document, seq_len=seq_len, eos=eos)
    predicted = [piece.ids[1:] for piece in pieces]
    assert np.concatenate(predicted).tolist() == whole.ids[1:].tolist()
    assert np.concatenate([piece.loss_mask[1:] for piece in pieces]).tolist() == whole.loss_mask[1:].tolist()
    assert sum(piece.trained_tokens for piece in pieces) == whole.trained_tokens
    assert sum(piece.trained_bytes for piece in pieces) == document.trained_bytes
    assert max(len(piece.ids) for piece in pieces) <= seq_len


def test_bytes_of_a_character_that_a_cut_divides_count_once(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    document = plain_document("a🎵b🎵", source="t")  # 1 + 4 + 1 + 4 bytes
    for seq_len in range(2, 10):
        pieces, _ = tokenize(byte_tokenizer, document, seq_len=seq_len)
        assert sum(piece.trained_bytes for piece in pieces) == 10


def test_truncate_keeps_the_beginning(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    (piece,), fates = tokenize(byte_tokenizer, plain_document("abcdefghij", source="t"), seq_len=4, overlong="truncate")
    assert byte_tokenizer.decode(piece.ids) == "abcd"
    assert (piece.trained_tokens, piece.trained_bytes) == (3, 4)
    assert fates == {"truncate": 1}


def test_drop_keeps_nothing_and_says_so(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    document = plain_document("abcdefghij", source="t")
    assert tokenize(byte_tokenizer, document, seq_len=4, overlong="drop") == ([], {"drop": 1})


def test_error_names_the_document(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    document = plain_document("abcdefghij", source="t", origin="tunes.abc:12")
    with pytest.raises(UserError, match=r"tunes.abc:12: 10 tokens do not fit seq_len=4; set data.overlong"):
        tokenize(byte_tokenizer, document, seq_len=4, overlong="error")


def test_a_document_as_long_as_a_row_is_not_overlong(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    (piece,), fates = tokenize(byte_tokenizer, plain_document("abcd", source="t"), seq_len=4, overlong="error")
    assert len(piece.ids) == 4
    assert fates == {}
