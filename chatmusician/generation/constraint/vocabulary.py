"""The tokens of a tokenizer by the text they stand for, in a tree that is walked together with the machine.

A token's text is its bytes, so any tokenizer over bytes or with byte tokens will do: LLaMA's pieces with ``▁`` for a
space and ``<0x0A>`` for a newline, a byte-level BPE with characters for bytes. Bytes are written as the characters
U+0000 to U+00FF. Tokens are sorted, so that those with a common start are a range; sets of tokens are integers, a bit a
token, which are united in a step: 0.1 microseconds for 1,024 tokens, 1 for 32,000.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_WORD_MARK = "\N{LOWER ONE EIGHTH BLOCK}"


def token_texts(tokenizer: Any) -> list[str | None]:
    """The text of each token, a character a byte; None for special tokens, which stand for none."""
    layout = json.loads(tokenizer.backend_tokenizer.to_str())
    alphabet = _byte_characters() if _has_step(layout, "ByteLevel") else None
    special = {added["id"] for added in layout["added_tokens"] if added["special"]}
    literal = {added["id"]: added["content"] for added in layout["added_tokens"]}
    texts: list[str | None] = []
    for token, piece in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
        if token in special or piece is None:
            texts.append(None)
        elif token in literal:
            texts.append(_as_bytes(literal[token]))
        elif alphabet is not None:
            texts.append("".join(chr(alphabet[character]) for character in piece))
        elif match := _BYTE.fullmatch(piece):
            texts.append(chr(int(match[1], 16)))
        else:
            texts.append(_as_bytes(piece.replace(_WORD_MARK, " ")))
    return texts


def _as_bytes(text: str) -> str:
    return text.encode().decode("latin-1")


def _has_step(layout: dict[str, Any], name: str) -> bool:
    """Whether the decoder is, or contains, a step of that name."""
    decoder = layout["decoder"] or {"type": ""}
    return any(step["type"] == name for step in decoder.get("decoders", [decoder]))


def _byte_characters() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {character: byte for byte, character in bytes_to_unicode().items()}


@dataclass(slots=True, eq=False)
class Branch:
    """The tokens that begin with a certain text. Characters on the way to it are a `label`, since few ways fork."""

    label: str
    """What it adds to the text of the branch before."""
    here: int
    """The tokens of exactly this text, as bits."""
    below: int
    """Those and all longer ones."""
    characters: frozenset[str]
    """The characters that occur in the label or below."""
    branches: list["Branch"] = field(default_factory=list)
    size: int = 1
    """Forks in it, itself included."""


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Tokens that go straight on, by what they are, as bits."""

    notes: int
    """Notes and rests, also in triplets, or a number that lengthens the note before."""
    halves: int
    """The same with lengths that are parts of the unit note length."""
    bar_lines: int
    new_lines: int


_NOTES = re.compile(r" ?[2-9]?(?:(?:\(3)?[_^=]?[A-Ga-gz][,']*\d*)*")
_HALVES = re.compile(r" ?/?(?:[_^=]?[A-Ga-gz][,']*(?:\d|/)*)*")
_BAR_LINE = re.compile(r" ?[|:\[\]]+")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a tokenizer."""

    texts: Sequence[str | None]
    """By token id."""
    order: tuple[int, ...]
    """The token of each bit: ids of tokens that have a text, sorted by it."""
    root: Branch
    notation: Branch
    """The same for music, where all letters of notes are one (`_fold`): 380 branches instead of 1,030 for 1,024 tokens.
    Tokens with control characters or text outside ASCII are not in it."""
    kinds: Kinds
    writes_borders: bool
    """There are tokens for whole double bars, so that a single ``|`` need not be taken for the start of one."""


def make_vocabulary(texts: Sequence[str | None]) -> Vocabulary:
    """The trees of some tokens; those without text are left out. 32,000 of LLaMA's kind take 1 s."""
    order = sorted((token for token, text in enumerate(texts) if text), key=lambda token: texts[token] or "")
    sorted_texts = [texts[token] or "" for token in order]
    stripped = {text.strip(" ") for text in sorted_texts}
    exact: dict[str, int] = {}
    notation: dict[str, int] = {}
    for place, text in enumerate(sorted_texts):
        exact[text] = exact.get(text, 0) | 1 << place
        if not _NO_NOTATION.search(text):
            folded = _fold(text)
            notation[folded] = notation.get(folded, 0) | 1 << place
    return Vocabulary(
        texts=texts,
        order=tuple(order),
        root=_tree(exact),
        notation=_tree(notation),
        kinds=Kinds(
            notes=_bits_of(bool(_NOTES.fullmatch(text)) for text in sorted_texts),
            halves=_bits_of(bool(_HALVES.fullmatch(text)) for text in sorted_texts),
            bar_lines=_bits_of(bool(_BAR_LINE.fullmatch(text)) for text in sorted_texts),
            new_lines=_bits_of(text == "\n" for text in sorted_texts),
        ),
        writes_borders={"||", "|]"} <= stripped,
    )


_NO_NOTATION = re.compile(r"[^\t\n -~]")
_LETTERS = str.maketrans(dict.fromkeys("ABDEFGabcdefg", "C"))


def _fold(text: str) -> str:
    """The text with one letter for all notes, as far as letters can only be notes."""
    head = re.split("[:\n]", text, maxsplit=1)[0]
    return head.translate(_LETTERS) + text[len(head) :]


def _tree(tokens: dict[str, int]) -> Branch:
    """The tree of texts, each with its tokens as bits."""
    texts = sorted(tokens)
    return _grow(texts, [tokens[text] for text in texts], 0, len(texts), 0, 0)


def _grow(texts: Sequence[str], bits: Sequence[int], start: int, end: int, parent_depth: int, depth: int) -> Branch:
    """The branch of ``texts[start:end]``, which are alike up to ``depth``."""
    first, last = texts[start], texts[end - 1]
    while depth < len(first) and depth < len(last) and first[depth] == last[depth]:
        depth += 1
    label = first[parent_depth:depth]
    split = start + (len(first) == depth)
    here = bits[start] if split > start else 0
    branches = []
    while split < end:
        begin, character = split, texts[split][depth]
        while split < end and texts[split][depth] == character:
            split += 1
        branches.append(_grow(texts, bits, begin, split, depth, depth + 1))
    below = here
    for branch in branches:
        below |= branch.below
    characters = frozenset(label).union(*(branch.characters for branch in branches))
    return Branch(label, here, below, characters, branches, 1 + sum(branch.size for branch in branches))


def _bits_of(chosen: Iterable[bool]) -> int:
    return sum(1 << place for place, is_chosen in enumerate(chosen) if is_chosen)
