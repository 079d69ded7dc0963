from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.tokenizers import (
    PretrainedTokenizer,
    TrainedTokenizer,
    describe,
    save_tokenizer,
    train_bpe,
    vocabulary_dtype,
)
from chatmusician.errors import UserError

TUNE = "X:1\nL:1/8\nM:4/4\nK:G\n|: G2BG dGBd | gfdc A2GF :|\n"
QUESTION = "Write a tune in ABC notation."


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe([TUNE, f"Human: {QUESTION} </s> Assistant: {TUNE}"], vocab_size=320)


@pytest.mark.parametrize("text", [TUNE, "é € 🎵\t\n\n  \\", "Human: a </s> b", ""])
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_training_is_deterministic(tokenizer: PreTrainedTokenizerBase) -> None:
    again = train_bpe([TUNE, f"Human: {QUESTION} </s> Assistant: {TUNE}"], vocab_size=320)
    assert describe(again) == describe(tokenizer)
    assert describe(again)["vocabulary"] == len(again) == 320
    assert describe(train_bpe([TUNE], vocab_size=300))["fingerprint"] != describe(again)["fingerprint"]


def test_no_token_reaches_over_a_bar_line_or_a_line_end() -> None:
    tokenizer = train_bpe([TUNE] * 20, vocab_size=400)
    for piece in tokenizer.get_vocab():
        text = tokenizer.convert_tokens_to_string([piece])
        assert not ("|" in text and any(letter in "ABCDEFGabcdefg" for letter in text)), text
        assert "\n" not in text.strip("\n") or text in ("<s>", "</s>", "<pad>"), text


def test_a_vocabulary_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(UserError, match="vocab_size=258 is too small"):
        train_bpe([TUNE], vocab_size=258)


@pytest.mark.parametrize(("pieces", "dtype"), [(320, "uint16"), (1 << 16, "uint16"), ((1 << 16) + 1, "uint32")])
def test_ids_take_two_bytes_where_they_can(pieces: int, dtype: str) -> None:
    assert vocabulary_dtype(range(pieces)) == np.dtype(dtype)


def test_a_pretrained_tokenizer_is_known_by_what_it_does(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tokenizer(tokenizer, tmp_path / name)
    a, b = (PretrainedTokenizer(path=str(tmp_path / name)) for name in ("a", "b"))
    assert a.describe() == b.describe() == describe(tokenizer)
    assert describe(a.load((), tmp_path)) == describe(tokenizer)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_folder_without_tokenizer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer in .*give a model folder or a Hub id"):
        PretrainedTokenizer(path=str(tmp_path)).load((), tmp_path)


def test_a_trained_tokenizer_is_trained_once_on_the_first_documents(tmp_path: Path) -> None:
    read: list[str] = []

    def documents() -> Iterator[Document]:
        for text in ("aa aa aa", "bb bb bb", "cc cc cc"):
            read.append(text)
            yield plain_document(text, source="t")

    source = TrainedTokenizer(vocab_size=261, documents=2)
    first = source.load(documents(), tmp_path)
    assert read == ["aa aa aa", "bb bb bb"]
    assert describe(source.load(documents(), tmp_path)) == describe(first)
    assert len(read) == 2
