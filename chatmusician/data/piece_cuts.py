"""Where text can be cut without a change of its token ids, read from the definition of its tokenizer.

A BPE merges neighbours into tokens of its vocabulary and nothing else. Where no token has the two bytes at a place next
to each other, no merge crosses that place, and the ids of the text are the ids of its two sides, one behind the other.
No token of LLaMA's has a space behind another character, a newline, or two digits::

    text      X:1\nK:G\n|: G2BG  dGBd
    pieces    X: | 1 | \n | K: | G | \n | |: | ␠G | 2 | BG | ␠␠dG | Bd
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from chatmusician.data.tokenizers import PIECES

WORD_MARK = "▁"
"""What sentencepiece writes for a space."""

Pairs = npt.NDArray[np.bool_]
"""[256, 256]: whether two bytes, the first of them one before the second, may belong to one token."""


def joined_bytes(tokenizer: Any) -> Pairs | None:
    """The pairs of bytes that text must not be cut between; None where a cut cannot be shown to be safe at all.

    It can for a BPE in the manner of sentencepiece (LLaMA), from its vocabulary, and for the pre-tokenizer of
    `chatmusician.data.tokenizers.train_bpe`, from its expression. Added tokens must be plain: matched as they are,
    wherever they stand, with no newline in them.
    """
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    model = definition["model"]
    unusual = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    if model["type"] != "BPE" or any(model.get(option) for option in unusual):
        return None
    if definition["truncation"] or definition["padding"] or not all(map(_is_plain, definition["added_tokens"])):
        return None
    if _is_our_own(definition):
        return _joined_but_before_spaces()
    return _joined_in(model) if _is_sentencepiece(definition) else None


def _is_plain(added: dict[str, Any]) -> bool:
    flags = ("lstrip", "rstrip", "single_word", "normalized")
    return not any(added[flag] for flag in flags) and "\n" not in added["content"] and bool(added["content"])


def _is_our_own(definition: dict[str, Any]) -> bool:
    """Our pre-tokenizer cuts at every newline, and no alternative of its expression has a space behind a non-space."""
    steps = (definition["pre_tokenizer"] or {}).get("pretokenizers", [])
    if definition["normalizer"] is not None or [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, byte_level = steps
    return (
        split["pattern"] == {"Regex": PIECES}
        and (split["behavior"], split["invert"]) == ("Isolated", False)
        and (byte_level["add_prefix_space"], byte_level["use_regex"]) == (False, False)
    )


def _joined_but_before_spaces() -> Pairs:
    joined = np.ones((256, 256), np.bool_)
    joined[:, ord(" ")] = False
    joined[ord(" "), ord(" ")] = True
    joined[:, ord("\n")] = joined[ord("\n")] = False
    return joined


def _is_sentencepiece(definition: dict[str, Any]) -> bool:
    """Spaces become word marks, by a normalizer or a pre-tokenizer; unknown characters become bytes, newlines alone."""
    model, before = definition["model"], definition["pre_tokenizer"]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": WORD_MARK}
    prepend = {"type": "Prepend", "prepend": WORD_MARK}
    normalizers = (definition["normalizer"] or {}).get("normalizers", [definition["normalizer"]])
    by_normalizer = before is None and normalizers in ([prepend, replace], [replace])
    by_metaspace = (
        definition["normalizer"] is None
        and before is not None
        and (before["type"], before.get("replacement")) == ("Metaspace", WORD_MARK)
    )
    bytes_ = {f"<0x{byte:02X}>" for byte in range(256)}
    all_bytes = model["byte_fallback"] and bytes_ <= model["vocab"].keys() and not bytes_ & _merged(model)
    return (by_normalizer or by_metaspace) and all_bytes and not any("\n" in token for token in model["vocab"])


def _merged(model: dict[str, Any]) -> set[str]:
    """The tokens that merging can make; what else is in the vocabulary are single characters, bytes, added tokens."""
    return {"".join(merge) for merge in model["merges"]}


def _joined_in(model: dict[str, Any]) -> Pairs:
    """The pairs inside a token, and those that are no place to cut: inside a character, at a word mark."""
    joined = np.zeros((256, 256), np.bool_)
    for token in _merged(model):
        octets = np.frombuffer(token.replace(WORD_MARK, " ").encode(), np.uint8)
        joined[octets[:-1], octets[1:]] = True
    joined[:, 0x80:0xC0] = True  # before a byte that continues a character
    mark = WORD_MARK.encode()  # a word mark in the text itself is a space to the model
    joined[:, mark[0]] = joined[mark[-1]] = True
    joined[:, ord("\n")] = joined[ord("\n")] = False  # no token has one: it is a byte of its own
    return joined
