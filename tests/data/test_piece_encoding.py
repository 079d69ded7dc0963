import json
import random
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chatmusician.data.folk import FolkTunes
from chatmusician.data.piece_cuts import joined_bytes
from chatmusician.data.piece_encoding import PieceEncoder, exact_encoder
from chatmusician.data.text_encoding import Encoding, PlainEncoder
from chatmusician.data.tokenizers import train_bpe

ODD = [
    "",
    " ",
    "\n",
    "\n\n  \n",
    "a",
    " a",
    "  a  b   c ",
    "a\tb\r\nc\x0bd\x00e",
    "</s>",
    "</s></s> </s>\n</s>a </s> b<s>c",
    "<s> <unk> </s",
    "s> </",
    "Human: Add chords. X:1 </s> Assistant: X:1\nK:G\n </s> ",
    "a▁b ▁ c▁▁d\n▁e▁ f",
    "naïve café — “quoted” … 中文字符\uff0c音乐。 日本語 кириллица",
    "🎵🎶 e\u0301 \u200d👩\u200d🚀 \ufeff\u00a0\u3000x",
    "<0x0A> <0x41> literal",
    "1234567890 3/4 x1y22z333",
    "|: G2BG dGBd | gfdc A2GF :|]",
    "def f(x):\n    return {'a': [1, 2], \"b\": x**2}  # comment\n\n\n",
]


def changed(tokenizer: PreTrainedTokenizerBase, **parts: Any) -> PreTrainedTokenizerBase:
    """The tokenizer with parts of its definition replaced; ``model`` is updated."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    definition["model"].update(parts.pop("model", {}))
    definition.update(parts)
    backend = Tokenizer.from_str(json.dumps(definition))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


PREPEND = {"type": "Prepend", "prepend": "▁"}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def metaspace(scheme: str, *, split: bool = False) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


KINDS: dict[str, dict[str, Any]] = {
    "as transformers loads it": {},
    "as the Hub has LLaMA2's": {
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]},
        "pre_tokenizer": None,
    },
    "nothing in front": {"normalizer": REPLACE, "pre_tokenizer": None},
    "always in front": {"pre_tokenizer": metaspace("always")},
    "never in front": {"pre_tokenizer": metaspace("never")},
    "words apart": {"pre_tokenizer": metaspace("first", split=True)},
}


@pytest.fixture(scope="module", params=[*KINDS, "nano"])
def tokenizer(request: pytest.FixtureRequest, llama_tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    if request.param == "nano":
        tunes = [document.text for document in FolkTunes(collections=["airdsAirs"], keys=1).documents("train")]
        return train_bpe([*tunes, *ODD], vocab_size=900)
    return changed(llama_tokenizer, **KINDS[request.param])


def assert_same(pieces: Encoding, plain: Encoding, texts: list[str], draw: random.Random) -> None:
    assert pieces.ids.tolist() == plain.ids.tolist()
    assert pieces.ends.tolist() == plain.ends.tolist()
    assert pieces.byte_lengths.tolist() == plain.byte_lengths.tolist()
    for number, text in enumerate(texts):
        places = [len(text[:place].encode()) for place in draw.sample(range(len(text) + 1), k=min(len(text), 12))]
        for start, end in zip(sorted(places), sorted(places)[1:], strict=False):
            assert pieces.tokens_over(number, start, end) == plain.tokens_over(number, start, end), (text, start, end)
        tokens = int(plain.ends[number] - (plain.ends[number - 1] if number else 0))
        for token in draw.sample(range(tokens + 1), k=min(tokens, 12)):
            assert pieces.byte_start(number, token) == plain.byte_start(number, token), (text, token)


def encoders(tokenizer: PreTrainedTokenizerBase) -> tuple[PieceEncoder, PlainEncoder]:
    fast = exact_encoder(tokenizer)
    assert isinstance(fast, PieceEncoder)
    return fast, PlainEncoder(tokenizer)


def test_the_plain_way_is_the_tokenizer_itself(tokenizer: PreTrainedTokenizerBase) -> None:
    plain = PlainEncoder(tokenizer)(ODD)
    expected = [tokenizer(text, add_special_tokens=False).input_ids for text in ODD]
    assert [part.tolist() for part in np.split(plain.ids, plain.ends[:-1])] == expected


def test_odd_texts_get_the_ids_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    fast, plain = encoders(tokenizer)
    assert_same(fast(ODD), plain(ODD), ODD, random.Random(0))
    for text in ODD:  # alone, and a second time, when every piece is known
        assert_same(fast([text]), plain([text]), [text], random.Random(1))


def test_no_text_has_no_token(tokenizer: PreTrainedTokenizerBase) -> None:
    for encoding in (encode([]) for encode in encoders(tokenizer)):
        assert (len(encoding.ids), len(encoding.ends), len(encoding.byte_lengths)) == (0, 0, 0)


def made_texts(draw: random.Random, count: int) -> Iterator[str]:
    """Texts of what is odd in tokenizers: spaces, newlines, marks, added tokens, other scripts, any character."""
    parts = [
        "</s>",
        "<s>",
        "<unk>",
        "▁",
        " ",
        "  ",
        "\n",
        "\t",
        "a",
        "The",
        "ing",
        "é",
        "音",
        "🎵",
        "1",
        "23",
        "|",
        ":|",
        "^c",
    ]
    for _ in range(count):
        chosen = [
            draw.choice(parts)
            if draw.random() < 0.9
            else chr(draw.choice([*range(1, 0xD800), *range(0xE000, 0x11000)]))
            for _ in range(draw.randrange(40))
        ]
        yield "".join(chosen)


def test_made_texts_get_the_ids_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    draw = random.Random(2)
    fast, plain = encoders(tokenizer)
    texts = list(made_texts(draw, 600))
    assert_same(fast(texts), plain(texts), texts, draw)


def real_texts() -> list[str]:
    """Tunes, questions, code and English, of what is installed with the tests."""
    tunes = list(islice(FolkTunes(collections=["airdsAirs"], keys=1).documents("train"), 300))
    spec = find_spec("datasets")
    assert spec is not None and spec.origin is not None
    code = [path.read_text()[:20_000] for path in sorted(Path(spec.origin).parent.glob("*.py"))]
    english = [path.read_text() for path in sorted(Path(spec.origin).parent.parent.glob("[a-f]*.dist-info/METADATA"))]
    chats = [f"Human: Compose. {tune.text} </s> Assistant: {tune.text} </s> " for tune in tunes[:100]]
    return [*(tune.text for tune in tunes), *code, *english, *chats]


def test_real_texts_get_the_ids_of_the_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = real_texts()
    assert sum(map(len, texts)) > 300_000
    fast, plain = encoders(tokenizer)
    assert_same(fast(texts), plain(texts), texts, random.Random(3))


def test_pieces_are_forgotten_and_learned_again(
    llama_tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatmusician.data.piece_ids._MOST_PIECES", 100)
    fast, plain = encoders(llama_tokenizer)
    texts = list(made_texts(random.Random(4), 200))
    for first in range(0, len(texts), 20):
        part = texts[first : first + 20]
        assert_same(fast(part), plain(part), part, random.Random(5))


def test_llama_never_joins_spaces_newlines_and_digits_to_what_is_before(
    llama_tokenizer: PreTrainedTokenizerBase,
) -> None:
    joined = joined_bytes(llama_tokenizer)
    assert joined is not None
    a, space, newline, one, bar = (ord(character) for character in "a \n1|")
    assert not joined[a, space] and not joined[bar, space] and not joined[one, one]
    assert not joined[newline].any() and not joined[:, newline].any()
    assert joined[space, a] and joined[space, space] and joined[ord("t"), ord("h")]
    assert joined[0xC3, 0xA9] and joined[0x20, 0xE2] and joined[0x81, 0x20]  # inside é; what may be a word mark


UNSAFE: dict[str, dict[str, Any]] = {
    "dropout": {"model": {"dropout": 0.1}},
    "whole words first": {"model": {"ignore_merges": True}},
    "no bytes": {"model": {"byte_fallback": False}},
    "lower case": {"normalizer": {"type": "Lowercase"}, "pre_tokenizer": metaspace("first")},
    "lower case too": {"normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE, {"type": "Lowercase"}]}},
    "cut elsewhere": {"pre_tokenizer": {"type": "Whitespace"}},
    "cut by nothing": {"pre_tokenizer": None},
    "cut off": {"truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}},
}


@pytest.mark.parametrize("parts", UNSAFE.values(), ids=UNSAFE)
def test_what_cannot_be_shown_to_be_safe_takes_the_plain_way(
    llama_tokenizer: PreTrainedTokenizerBase, parts: dict[str, Any]
) -> None:
    tokenizer = changed(llama_tokenizer, **parts)
    assert joined_bytes(tokenizer) is None
    assert isinstance(exact_encoder(tokenizer), PlainEncoder)


@pytest.mark.parametrize(
    "added",
    [
        AddedToken("<bar>", lstrip=True),
        AddedToken("<bar>", rstrip=True),
        AddedToken("<bar>", single_word=True),
        AddedToken("<bar>", normalized=True),
        AddedToken("<bar\n>", normalized=False),
    ],
)
def test_added_tokens_with_habits_of_their_own_take_the_plain_way(
    llama_tokenizer: PreTrainedTokenizerBase, added: AddedToken
) -> None:
    tokenizer = changed(llama_tokenizer)
    tokenizer.add_tokens([added])
    assert joined_bytes(tokenizer) is None


def test_plain_added_tokens_are_found(llama_tokenizer: PreTrainedTokenizerBase) -> None:
    """One has spaces in it, one begins like another."""
    tokenizer = changed(llama_tokenizer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("<a bar>", "<a b", "音楽")])
    texts = ["x <a bar> y", "<a b<a bar>音楽音", "<a ba r> 音 楽", "<a bar>"]
    fast, plain = encoders(tokenizer)
    assert_same(fast(texts), plain(texts), texts, random.Random(6))
    assert len(tokenizer) - 3 in fast(texts).ids


def test_our_own_kind_with_another_expression_takes_the_plain_way() -> None:
    tokenizer = train_bpe(["a b"], vocab_size=260)
    assert joined_bytes(tokenizer) is not None
    before = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"]
    before["pretokenizers"][0]["pattern"] = {"Regex": r"\s+\S+"}
    assert joined_bytes(changed(tokenizer, pre_tokenizer=before)) is None
