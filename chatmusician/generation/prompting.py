"""From what a user typed to the token ids that a model continues.

Two things are decided here.

*What a user types is data.* The template's own ``</s>`` becomes the end-of-turn token, as in training; a ``</s>``
inside a question stays the characters it is, so a question can neither end its turn nor forge an answer.

*The prompt stops before the space of* ``Assistant: ``. Training tokenises the whole turn, where that space is part of
the answer's first token (``:`` ``▁X``, not ``:`` ``▁`` ``X``). Ending the prompt in a lone space would ask the model
to continue a context it has never seen; so the space is left for the model to draw, and removed from the answer's
text.
"""

from dataclasses import dataclass
from typing import Any

from chatmusician.data.prompts import END_OF_TURN, Turn, format_prompt
from chatmusician.errors import UserError

EOS = END_OF_TURN.strip()


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the model is to answer."""

    text: str
    """The question; without the template, the very text to continue."""
    history: tuple[Turn, ...] = ()
    """Earlier turns, oldest first."""
    template: bool = True
    """Whether ``text`` is wrapped in the chat template. If not, it is tokenised exactly as the model's tokenizer does,
    special tokens that are spelled out in it included: whoever writes the whole prompt also writes its marks."""


def check_question(text: str, *, source: str = "prompt") -> None:
    """Refuse a question without a single letter, in any script. ``source`` says where it came from.

    Raises:
        UserError: there is no letter in ``text``.
    """
    if not any(character.isalpha() for character in text):
        raise UserError(f"{source} {text!r} has no letters in it: say in words what to compose or explain")


def encode_prompt(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """The token ids of ``prompt``, without BOS (the original adds none).

    A question that spells out one of the tokenizer's special tokens is tokenised segment by segment, special tokens
    off; all others as one text, which gives exactly the ids of training.
    """
    if not prompt.template:
        return tuple(tokenizer(prompt.text, add_special_tokens=False).input_ids)
    text = format_prompt(prompt.text, prompt.history).removesuffix(" ")
    typed = [prompt.text, *(part for turn in prompt.history for part in (turn.question, turn.answer or ""))]
    if not any(special in part for special in _special_tokens(tokenizer) for part in typed):
        return tuple(tokenizer(text, add_special_tokens=False).input_ids)
    eos = tokenizer.convert_tokens_to_ids(EOS)
    ids: list[int] = []
    for segment in _segments(prompt):
        if ids:
            ids.append(eos)
        ids += tokenizer(segment, add_special_tokens=False, split_special_tokens=True).input_ids
    return tuple(ids)


def _special_tokens(tokenizer: Any) -> set[str]:
    """The strings that the tokenizer would turn into a special token wherever they stand."""
    return {added.content for added in tokenizer.added_tokens_decoder.values() if added.special}


def _segments(prompt: Prompt) -> list[str]:
    """The text between the template's own end-of-turn tokens.

    The template is applied to numbered place-holders and then split, so that nothing typed is ever searched for.
    """
    typed = [part for turn in prompt.history for part in (turn.question, turn.answer or "")] + [prompt.text]
    history = tuple(Turn(question=f"\0{2 * i}\0", answer=f"\0{2 * i + 1}\0") for i in range(len(prompt.history)))
    skeleton = format_prompt(f"\0{len(typed) - 1}\0", history).removesuffix(" ")
    segments = []
    for segment in skeleton.split(EOS):
        before, *rest = segment.split("\0")
        segments.append(before + typed[int(rest[0])] + rest[1] if rest else before)
    return segments
