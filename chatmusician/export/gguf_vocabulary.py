"""A tokenizer as llama.cpp takes it: a list of tokens, their types, and what decides how text is merged.

llama.cpp has two algorithms that fit a BPE, and what it runs on text must give the ids that the model was trained on,
those of the tokenizer as transformers loads it:

*llama* merges over the whole text, the adjacent pair whose union has the highest score first. That is a sentencepiece
BPE (LLaMA2). The score of a token is taken from the rank of the first merge that makes it. sentencepiece's own scores
are not used: transformers, where it reads ``tokenizer.model`` alone, ranks the tokens of several spaces first and
sentencepiece ranks them last, and it is transformers' ids that were trained on.

*gpt2* first cuts the text by a regular expression that must be one of those compiled into llama.cpp, then merges
within the pieces. That is right for a byte-level BPE cut as GPT-2's, Llama 3's or SmolLM's.

A byte-level BPE with an expression of its own, such as `chatmusician.data.tokenizers.train_bpe` makes, is written as
*llama* too, its tokens as the bytes they stand for: no token reaches over a cut that training made, so merging without
cuts goes wrong only where two pieces happen to spell a token together. `CUT_AGREEMENT` says how often.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.data.prompts import CHAT_TEMPLATE
from chatmusician.data.tokenizers import load_tokenizer
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from gguf import GGUFWriter

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What a space is written as inside a token of a *llama* vocabulary."""

CUT_AGREEMENT = "2762 of 2784 prompts and 458 of 465 tunes, 99.9% of their tokens, were measured to get the same"
"""How often a *llama* vocabulary gave the ids of a tokenizer that cuts by an expression of its own.

Measured with the tokenizer of the recipe nano_pretrain on the held-out tunes of `chatmusician.data.folk` and on all
questions about them. With *gpt2* and the best of llama.cpp's expressions (bloom's) it was 55 of the tunes.
"""

LLAMA_CPP_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + ' </s> ' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ 'Assistant:' + ('' if message['content'][:1] == ' ' else ' ') + message['content'] + ' </s> ' }}"
    "{% else %}{{ raise_exception('Only user and assistant messages are supported, not ' + message['role']) }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""`chatmusician.data.prompts.CHAT_TEMPLATE` for programs that tokenise the rendered text as it is.

It ends before the space of ``Assistant: ``, which the answer's first token brings (see
`chatmusician.generation.prompting`); so an answer that is sent back as it came begins with that space.
"""

_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_CUTS = [
    {"type": "Split", "pattern": {"Regex": _LLAMA3}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
]
_KNOWN_CUTS: Sequence[tuple[list[dict[str, Any]], bool, str]] = (
    ([_GPT2], False, "gpt-2"),
    (_LLAMA3_CUTS, True, "llama-bpe"),
    (_LLAMA3_CUTS, False, "smaug-bpe"),
    ([{"type": "Digits", "individual_digits": True}, _GPT2], False, "smollm"),
)
"""Hugging Face's pre-tokenizers, whether a piece that is a token is taken unmerged, and llama.cpp's name of both."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer in llama.cpp's terms."""

    model: str
    """The algorithm: "llama" or "gpt2"."""
    pre: str
    """Which of its regular expressions llama.cpp cuts text by; "default" where it cuts by none."""
    tokens: tuple[bytes, ...]
    """By id; parts of characters that a byte-level BPE merged are not UTF-8."""
    types: tuple[int, ...]
    """By id, as `gguf.TokenType`."""
    scores: tuple[float, ...]
    """By id, for "llama"; empty for "gpt2"."""
    merges: tuple[str, ...]
    """Pairs, the first to be merged first, for "gpt2"; empty for "llama"."""
    special: Mapping[str, int]
    """Ids by ``bos``, ``eos``, ``pad`` and ``unk``, those that there are."""
    space_prefix: bool
    """Whether a space is put before the text, and before the text after every special token."""
    chat_template: str | None
    padding: int
    """Tokens at the end of the list that are in the model's embedding but not in the tokenizer."""
    warnings: tuple[str, ...]
    """What llama.cpp does otherwise than the tokenizer."""


def read_vocabulary(model: Path, *, size: int) -> Vocabulary:
    """The vocabulary of a model folder, padded to the ``size`` of its embedding.

    Raises:
        UserError: the tokenizer is not a BPE over bytes, it has more tokens than the model, two tokens would have one
            spelling, or it names no end-of-sequence token.
    """
    from gguf import TokenType

    tokenizer = load_tokenizer(model)
    layout = json.loads(tokenizer.backend_tokenizer.to_str())
    bpe, byte_level = layout["model"], _is_byte_level(layout)
    affixes = bpe.get("continuing_subword_prefix") or bpe.get("end_of_word_suffix")
    if bpe["type"] != "BPE" or affixes or not (byte_level or bpe["byte_fallback"]):
        raise UserError(
            f"model={model}: llama.cpp has no algorithm for this tokenizer ({bpe['type']}); only BPE over bytes, or "
            "with byte fallback, can be carried over"
        )
    if len(tokenizer) > size:
        raise UserError(
            f"model={model}: the tokenizer has {len(tokenizer)} tokens but the model embeds {size}: they do not belong "
            "together"
        )
    pre = _known_cut(layout) if byte_level else None
    spelling = _spell if pre else _spell_bytes if byte_level else _spell_pieces
    tokens = [b"[PAD%d]" % i for i in range(size)]
    types = [int(TokenType.UNUSED)] * size
    literal = {added["id"] for added in layout["added_tokens"]}  # some of which may be in the BPE's list too
    for piece, i in bpe["vocab"].items():
        if i not in literal:
            tokens[i], is_byte = spelling(piece)
            types[i] = int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for added in layout["added_tokens"]:
        tokens[added["id"]] = added["content"].encode()
        types[added["id"]] = int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    special = _special_ids(tokenizer)
    if "eos" not in special:
        raise UserError(f"model={model}: the tokenizer names no end-of-sequence token: set eos_token in its config")
    if "unk" in special and pre is None:
        types[special["unk"]] = int(TokenType.UNKNOWN)
    token, count = Counter(tokens).most_common(1)[0]
    if count > 1:  # llama.cpp would end the program
        raise UserError(
            f"model={model}: {count} tokens would be spelled {token.decode(errors='replace')!r} in llama.cpp, which "
            "must tell them apart: rename them in the tokenizer"
        )
    start = prompt_start(tokenizer)
    return Vocabulary(
        model="gpt2" if pre else "llama",
        pre=pre or "default",
        tokens=tuple(tokens),
        types=tuple(types),
        scores=() if pre else _scores(bpe, size),
        merges=tuple(" ".join(pair) for pair in bpe["merges"]) if pre else (),
        special=special,
        space_prefix=_adds_space(tokenizer) and not start,
        chat_template=_chat_template(tokenizer, start),
        padding=size - len(tokenizer),
        warnings=tuple(_warnings(layout, byte_level=byte_level, pre=pre, start=start)),
    )


def add_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary) -> None:
    """Add a vocabulary's keys to a GGUF file. No BOS or EOS is added to text: the original adds none."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_scores(vocabulary.scores)  # the writer leaves out what is empty
    writer.add_token_merges(vocabulary.merges)
    for name, add in {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "pad": writer.add_pad_token_id,
        "unk": writer.add_unk_token_id,
    }.items():
        if name in vocabulary.special:
            add(vocabulary.special[name])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(vocabulary.space_prefix)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)


def prompt_start(tokenizer: Any) -> str:
    """What a prompt for llama.cpp must begin with: a space, or nothing.

    A LLaMA tokenizer puts a space before the text. llama.cpp can do so too, but then it also puts one before the text
    after every special token, which transformers does not where that text begins with a space, as all of the chat
    template's does::

                                Human: hi </s> Assistant:
        transformers            ▁Human : ▁hi ▁ </s> ▁Assistant :
        llama.cpp, adding       ▁Human : ▁hi ▁ </s> ▁▁ Ass istant :
        llama.cpp, not adding    Human : ▁hi ▁ </s> ▁Assistant :

    So it is told not to, and the template begins with the space. A tokenizer that adds the space everywhere (a
    normalizer that prepends it) needs no such thing.
    """
    if not _adds_space(tokenizer):
        return ""
    after = tokenizer(f"{tokenizer.eos_token} a", add_special_tokens=False).input_ids[1:]
    return "" if _spaces(tokenizer, after) == 2 else " "


def _adds_space(tokenizer: Any) -> bool:
    """Whether a space is put before a text that begins with none."""
    return _spaces(tokenizer, tokenizer("a", add_special_tokens=False).input_ids) == 1


def _spaces(tokenizer: Any, ids: Sequence[int]) -> int:
    """Spaces that some tokens begin with, in the spelling of either kind of tokenizer."""
    text = "".join(tokenizer.convert_ids_to_tokens(ids))
    return len(text) - len(text.lstrip(SPACE + "\u0120"))


def _is_byte_level(layout: Mapping[str, Any]) -> bool:
    return any(step["type"] == "ByteLevel" for step in _steps(layout["pre_tokenizer"], "pretokenizers"))


def _steps(component: Mapping[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """A pre-tokenizer or normalizer as the list of what it does."""
    if component is None:
        return []
    return list(component[name]) if component["type"] == "Sequence" else [dict(component)]


def _known_cut(layout: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the way in which a byte-level tokenizer cuts text; None if it has none."""
    steps = [
        {key: value for key, value in step.items() if key != "trim_offsets"}  # which leaves ids as they are
        for step in _steps(layout["pre_tokenizer"], "pretokenizers")
    ]
    ignores = layout["model"]["ignore_merges"]
    return next((name for cuts, ignored, name in _KNOWN_CUTS if cuts == steps and ignored == ignores), None)


def _spell(piece: str) -> tuple[bytes, bool]:
    return piece.encode(), False


def _spell_pieces(piece: str) -> tuple[bytes, bool]:
    """A sentencepiece token, and whether it is one for a byte: ``<0x0A>``."""
    return piece.encode(), len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _spell_bytes(piece: str) -> tuple[bytes, bool]:
    """A byte-level token by its bytes, and whether it is one that llama.cpp falls back to.

    Single bytes that are no character of their own are spelled ``<0xC3>``, and so is the zero that ends a C string.
    """
    raw = bytes(_BYTES[character] for character in piece)
    if len(raw) == 1 and (raw[0] == 0 or raw[0] > 0x7F):
        return b"<0x%02X>" % raw[0], True
    return raw.replace(b" ", SPACE.encode()), False


def _byte_characters() -> dict[str, int]:
    """The byte that each character of a byte-level BPE stands for.

    Printable Latin-1 stands for itself, the 68 other bytes are the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)).difference(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_characters()


def _scores(bpe: Mapping[str, Any], size: int) -> tuple[float, ...]:
    """A score for each token: the earlier the first merge that makes it, the higher.

    What no merge makes (single characters, special tokens) has the lowest.
    """
    scores = [-float(len(bpe["merges"]))] * size
    for rank, (left, right) in reversed(list(enumerate(bpe["merges"]))):
        scores[bpe["vocab"][left + right]] = -float(rank)
    return tuple(scores)


def _special_ids(tokenizer: Any) -> dict[str, int]:
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad", "unk")}
    return {name: i for name, i in ids.items() if i is not None}


def _chat_template(tokenizer: Any, start: str) -> str | None:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template is None:
        return None
    if template == CHAT_TEMPLATE:
        template = LLAMA_CPP_TEMPLATE
    return "{{ ' ' }}" + template if start else template


def _warnings(layout: Mapping[str, Any], *, byte_level: bool, pre: str | None, start: str) -> list[str]:
    found = []
    cuts = _steps(layout["pre_tokenizer"], "pretokenizers")
    if not pre and (byte_level or any(step["type"] != "Metaspace" or step["split"] for step in cuts)):
        found.append(
            "llama.cpp does not know how this tokenizer cuts text, so it merges without cuts and some text gets other "
            f"ids ({CUT_AGREEMENT}, with the recipe nano_pretrain): where they must be the same, give it ids, not text"
        )
    if start:
        found.append(
            "llama.cpp would put a space after every special token, which this tokenizer does not, so it puts none: "
            "the chat template begins with one, and so should a text of your own"
        )
    others = [step["type"] for step in _steps(layout["normalizer"], "normalizers")]
    if unknown := [name for name in others if byte_level or name not in ("Prepend", "Replace")]:
        found.append(f"the tokenizer normalizes text ({', '.join(unknown)}), which llama.cpp does not")
    stripping = [token["content"] for token in layout["added_tokens"] if token["lstrip"] or token["rstrip"]]
    if stripping:
        found.append(f"{', '.join(stripping)} take the spaces beside them in the tokenizer, but not in llama.cpp")
    return found
