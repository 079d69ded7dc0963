"""The chat template of ChatMusician, in one place.

A conversation of n turns is, to the character::

    Human: {question 1} </s> Assistant: {answer 1} </s> Human: {question 2} </s> Assistant: {answer 2} </s>␠

(␠ marks the final space). No BOS is added. The loss is on what follows ``</s> `` of the human turn, that is on
``Assistant: {answer} </s> ``. Rows of MusicPile-sft may carry fragments of this template inside their fields; they are
removed before the template is applied, so that a row ends in the same text whether or not it carries them.

Everything that reads or writes prompts (training data, generation, the exported chat template) takes them from here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

HUMAN = "Human: "
ASSISTANT = "Assistant: "
END_OF_TURN = " </s> "

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + ' </s> ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + ' </s> ' }}"
    "{% else %}{{ raise_exception('Only user and assistant messages are supported, not ' + message['role']) }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
"""The template as Jinja, for ``tokenizer.apply_chat_template``; messages have roles ``user`` and ``assistant``."""


# An answer ends with its mark, or with the text where the mark was left out.
_ANSWER = re.compile(rf"(?<={END_OF_TURN})({ASSISTANT}.*?(?:{END_OF_TURN}|\Z))", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One exchange. ``answer`` is None while the model has yet to speak."""

    question: str
    answer: str | None = None


def format_question(question: str) -> str:
    """The human part of a turn, ``Human: {question} </s> ``: what the model is not trained on."""
    return f"{HUMAN}{question}{END_OF_TURN}"


def format_answer(answer: str) -> str:
    """The model's part of a turn, ``Assistant: {answer} </s> ``: what the loss is on."""
    return f"{ASSISTANT}{answer}{END_OF_TURN}"


def format_prompt(question: str, history: Sequence[Turn] = ()) -> str:
    """The text that a model continues with its answer: earlier turns, the question, then ``Assistant: ``."""
    past = "".join(format_question(turn.question) + format_answer(turn.answer or "") for turn in history)
    return f"{past}{format_question(question)}{ASSISTANT}"


def answer_spans(text: str) -> tuple[tuple[int, int], ...]:
    """The character ranges of the answers in a text that is in the template, ``Assistant: {answer} </s> `` each.

    >>> answer_spans("Human: Hello. </s> Assistant: Hi. </s> ")
    ((19, 39),)
    """
    return tuple(match.span(1) for match in _ANSWER.finditer(text))


def clean_fields(instruction: str, input: str, output: str) -> tuple[str, str]:
    """Question and answer of a MusicPile-sft row, freed of the fragments of the template it may carry.

    >>> clean_fields("Human: Add chords. ", "X:1 </s> ", "Assistant: X:1")
    ('Add chords. X:1', 'X:1')
    """
    instruction = re.sub(r"^\s*Human:\s?", "", instruction)
    question = re.sub(r"\s*</s>\s*$", "", instruction + input)
    answer = re.sub(r"^\s*Assistant:\s?", "", output)
    answer = re.sub(r"\s*</s>\s*$", "", answer)
    return question, answer
