"""Text in llama.cpp gets the ids that it gets in transformers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_models import (
    CHAT,
    CHATS,
    GPT2,
    LLAMA3,
    PLAIN,
    TUNE,
    byte_level,
    fields_of,
    ids_in_llama_cpp,
    make_llama,
    messages_of,
    render,
    run_llama_cpp,
)
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chatmusician.data.tokenizers import train_bpe
from chatmusician.export.gguf_files import write_gguf
from chatmusician.export.gguf_vocabulary import LLAMA_CPP_TEMPLATE
from chatmusician.export.saving import save_model_folder
from chatmusician.generation.prompting import encode_prompt

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")


def save_official(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The same vocabulary with a normalizer that puts a space before every piece of text, as LLaMA2's own file has."""
    tokenizer.save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"] = None
    steps = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend = Tokenizer.from_str(json.dumps(content))
    backend.normalizer = steps
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_sentencepiece_text_gets_the_ids_of_transformers(
    make_folder: Callable[..., Path], llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = make_folder(llama_tokenizer, hidden_size=32)
    report = write_gguf(folder, tmp_path / "out.gguf", kind="q8_0")
    assert (report.vocabulary, report.tokens, report.padding) == ("llama", 32_000, 0)
    (warning,) = report.warnings
    assert "the chat template begins with one, and so should a text of your own" in warning
    fields = fields_of(report.path)
    assert fields["tokenizer.ggml.tokens"][:5] == [b"<unk>", b"<s>", b"</s>", b"<0x00>", b"<0x01>"]
    pieces = llama_tokenizer.convert_ids_to_tokens(range(32_000))
    assert fields["tokenizer.ggml.tokens"] == [piece.encode() for piece in pieces]
    # unknown, control, control, 256 bytes, and all others normal
    assert fields["tokenizer.ggml.token_type"] == [2, 3, 3] + [6] * 256 + [1] * 31_741
    assert fields["tokenizer.ggml.unknown_token_id"] == 0
    assert not fields["tokenizer.ggml.add_space_prefix"]
    with_marks = ["</s> Assistant: a </s>  b </s>\n</s>c<s>", " a leading space", "", TUNE + " </s> " + TUNE]
    texts = [*PLAIN, TUNE, CHAT, CHAT * 2, *with_marks]
    spaced = [text if text in ("", with_marks[0], with_marks[1]) else f" {text}" for text in texts]
    found = ids_in_llama_cpp(report.path, spaced)
    assert found == [llama_tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    rendered = [
        render(fields["tokenizer.chat_template"], messages_of(chat), add_generation_prompt=True) for chat in CHATS[:3]
    ]
    assert ids_in_llama_cpp(report.path, rendered) == [list(encode_prompt(llama_tokenizer, chat)) for chat in CHATS[:3]]


def test_a_tokenizer_that_prepends_everywhere_needs_no_leading_space(
    make_folder: Callable[..., Path], llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    official = save_official(llama_tokenizer, tmp_path / "saved")
    report = write_gguf(make_folder(official, hidden_size=32), tmp_path / "out.gguf", kind="q8_0")
    fields = fields_of(report.path)
    assert report.warnings == ()
    assert fields["tokenizer.ggml.add_space_prefix"]
    assert fields["tokenizer.chat_template"] == LLAMA_CPP_TEMPLATE
    texts = [*PLAIN, TUNE, CHAT, "</s> Assistant: a </s>  b </s>\n</s>c<s>", " a leading space", ""]
    assert ids_in_llama_cpp(report.path, texts) == [official(t, add_special_tokens=False).input_ids for t in texts]


def test_a_folder_with_tokenizer_model_alone_is_the_same(
    make_folder: Callable[..., Path], sentencepiece: Path, llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = make_folder(llama_tokenizer, hidden_size=32)
    before = fields_of(write_gguf(folder, tmp_path / "json.gguf", kind="q8_0").path)
    (folder / "tokenizer.json").unlink()
    shutil.copyfile(sentencepiece / "tokenizer.model", folder / "tokenizer.model")
    after = fields_of(write_gguf(folder, tmp_path / "model.gguf", kind="q8_0").path)
    assert {**after, "general.name": "json"} == before


def test_text_of_a_tokenizer_of_our_own_is_cut_nearly_always_as_in_training(
    make_folder: Callable[..., Path], nano: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    report = write_gguf(make_folder(), tmp_path / "out.gguf", kind="f16")
    (warning,) = report.warnings
    assert "458 of 465 tunes" in warning
    assert "give it ids, not text" in warning
    texts = [TUNE, CHAT, f"{CHAT}{CHAT}", "Human: Compose a jig. </s> Assistant:", "A  b\n\nc", ""]
    assert ids_in_llama_cpp(report.path, texts) == [nano(text, add_special_tokens=False).input_ids for text in texts]


def test_a_token_may_reach_over_a_cut_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    """A triplet is a piece of its own in training; with one merge, d c -> dc, llama.cpp merges over its end."""
    tokenizer = train_bpe(["dc dc"], vocab_size=260)
    folder = save_model_folder(model=make_llama(260), tokenizer=tokenizer, output=tmp_path / "model")
    path = write_gguf(folder, tmp_path / "out.gguf", kind="f16").path
    assert tokenizer.tokenize("(3dddc") == ["(", "3", "d", "d", "d", "c"]
    (found,) = ids_in_llama_cpp(path, ["(3dddc"])
    assert tokenizer.convert_ids_to_tokens(found) == ["(", "3", "d", "d", "dc"]


def test_every_token_of_a_byte_level_vocabulary_gives_its_bytes_back(tmp_path: Path) -> None:
    """Tokens that are parts of characters too: with so many of one alphabet, their common first bytes are merged."""
    letters = "".join(map(chr, range(0x4E00, 0x4F00)))
    tokenizer = train_bpe([letters, "a b  c " * 9, TUNE], vocab_size=420)
    parts = [
        piece
        for piece in tokenizer.get_vocab()
        if len(piece) > 1 and "\ufffd" in tokenizer.decode(tokenizer.convert_tokens_to_ids([piece]))
    ]
    assert len(parts) > 3
    folder = save_model_folder(model=make_llama(len(tokenizer)), tokenizer=tokenizer, output=tmp_path / "model")
    llama = run_llama_cpp(write_gguf(folder, tmp_path / "out.gguf", kind="f16").path, vocab_only=True)
    for text in (letters, TUNE, "\x00\x7f\x80\xff", "a b  c \u2581 d"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert llama.detokenize(ids) == text.encode()
        spelled = llama.detokenize(llama.tokenize(text.encode(), add_bos=True, special=True))
        assert spelled == text.replace("\u2581", " ").encode()  # a lower block is what llama.cpp writes a space as


DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2])


@pytest.mark.parametrize(
    ("cut", "ignore_merges", "pre"),
    [(GPT2, False, "gpt-2"), (LLAMA3, False, "smaug-bpe"), (LLAMA3, True, "llama-bpe"), (DIGITS, False, "smollm")],
    ids=["gpt-2", "smaug-bpe", "llama-bpe", "smollm"],
)
def test_cuts_that_llama_cpp_knows_are_named(
    make_folder: Callable[..., Path], tmp_path: Path, cut: Any, ignore_merges: bool, pre: str
) -> None:
    tokenizer = byte_level(cut, ignore_merges=ignore_merges)
    report = write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16")
    fields = fields_of(report.path)
    assert (report.vocabulary, report.warnings) == (f"gpt2 ({pre})", ())
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", pre)
    assert "tokenizer.ggml.scores" not in fields
    assert len(fields["tokenizer.ggml.merges"]) == len(tokenizer) - 256 - 3
    texts = [*PLAIN, TUNE, CHAT, "DON'T I'LL we're 1234567"]
    assert ids_in_llama_cpp(report.path, texts) == [tokenizer(t, add_special_tokens=False).input_ids for t in texts]


def test_added_tokens_and_padding_come_after_the_vocabulary(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = train_bpe([CHAT], vocab_size=300)
    tokenizer.add_tokens(["K:Edor"])
    tokenizer.add_tokens(["<motif>"], special_tokens=True)
    report = write_gguf(make_folder(tokenizer, vocabulary=304), tmp_path / "out.gguf", kind="f16")
    assert (report.tokens, report.padding) == (304, 2)
    fields = fields_of(report.path)
    assert fields["tokenizer.ggml.tokens"][300:] == [b"K:Edor", b"<motif>", b"[PAD302]", b"[PAD303]"]
    assert fields["tokenizer.ggml.token_type"][300:] == [4, 3, 5, 5]  # user-defined, control, unused, unused
    assert fields["tokenizer.ggml.token_type"][:3] == [3, 3, 3]
    texts = ["X:1\nK:Edor\n<motif> A2", TUNE]
    assert ids_in_llama_cpp(report.path, texts) == [tokenizer(t, add_special_tokens=False).input_ids for t in texts]


def test_a_special_token_may_have_letters_that_are_no_bytes(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), special="<音>")
    path = write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16").path
    assert fields_of(path)["tokenizer.ggml.tokens"][:3] == [b"<s>", b"</s>", "<音>".encode()]
    assert ids_in_llama_cpp(path, ["A<音>B"]) == [tokenizer("A<音>B", add_special_tokens=False).input_ids]


def test_what_llama_cpp_leaves_undone_is_said(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = byte_level(GPT2)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<beat>", rstrip=True)])
    assert write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16").warnings == (
        "the tokenizer normalizes text (NFC), which llama.cpp does not",
        "<beat> take the spaces beside them in the tokenizer, but not in llama.cpp",
    )
