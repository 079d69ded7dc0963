"""Questions with four options, and the two ways of finding out which one a model takes.

*By likelihood*, as the paper does: the question is written out four times, each time with another letter after
``Answer: ``, and the string with the lowest mean cross-entropy, over the whole of it, is the model's choice
(`score_questions`, `score_options`). *By what it writes*, as people would use it: the question is put, the model
answers greedily, and the letter is read off by a fixed rule (`answer_questions`, `answer_letters`, `read_letter`).

The four strings of a question are the same but for their last token or tokens, and the strings of a five-shot run
begin with the same examples. Each stretch that is common is computed once and its keys and values are kept:

    hint, examples                                  once for a batch of questions
        question 1, its options, "Answer:"          once for a question
             A | B | C | D                          once for an option; one token needs no pass of its own
        question 2, its options, "Answer:"
             A | B | C | D

Stretches are compared by tokens, never by characters, so it is exact whatever the tokenizer does at a border. Models
whose rotary embedding changes with the length of the text (dynamic, longrope) have no common stretches: their strings
are computed one by one.

In float32 a score does not depend on the batch size to 1e-5 nats, and not at all on the order of the questions: they
are sorted, by length and then by their tokens, before they are put into batches.

Letters: Q questions, N rows that are read together, T tokens, P tokens read before, D width, V vocabulary entries, M
tokens that are predicted at a time.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from chatmusician.errors import UserError
from chatmusician.evaluation.intervals import Interval, bootstrap_mean
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator
from chatmusician.generation.llama_step import STATIC_ROPE
from chatmusician.generation.prompting import Prompt

LETTERS = "ABCD"

HINT = (
    "Read the following questions from the four options (A, B, C and D) given in each question. Choose the best option."
)
"""The first line of every prompt; examples come after it and do not repeat it."""

ANSWER_TOKENS = 64
"""How long a written answer may be, in tokens: room for a sentence around the letter."""

LOGITS_AT_ONCE = 2**26
"""Logits held in memory at a time (256 MiB in float32): 2,097 tokens of a vocabulary of 32,000."""

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ChoiceQuestion:
    """A question with four options.

    Raises:
        ValueError: there are not four options, or the answer is not the position of one.
    """

    question_id: str
    """Distinct among the questions that are asked together."""
    group: str
    """What results are reported by, such as a subject."""
    stem: str
    abc: str | None
    """A score in ABC that the stem speaks of."""
    options: tuple[str, str, str, str]
    answer: int
    """Position of the right option, 0 to 3."""

    def __post_init__(self) -> None:
        """Refuse what is no question."""
        if len(self.options) != len(LETTERS) or not 0 <= self.answer < len(LETTERS):
            raise ValueError(f"question {self.question_id!r} needs four options and an answer from 0 to 3")


@dataclass(frozen=True, kw_only=True)
class ChoiceOutcome:
    """What became of a question that was asked once."""

    question_id: str
    group: str
    answer: int
    """Position of the right option."""
    answered: bool
    """Whether the question fitted the model's window. One that did not is neither right nor wrong."""
    chosen: int | None
    """Position of the option taken; None where it is not answered, or where no letter can be read."""
    scores: tuple[float, float, float, float] | None = None
    """Mean cross-entropy of each option's string in nats per token, in the order shown; None for a written answer."""
    text: str | None = None
    """The written answer; None where options were scored."""
    examples: int = 0
    """Worked examples that the prompt held."""

    @property
    def right(self) -> bool:
        """Whether the right option was taken."""
        return self.chosen == self.answer

    @property
    def unreadable(self) -> bool:
        """Whether the model wrote something that names no letter: wrong, and counted."""
        return self.answered and self.chosen is None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, with letters for positions."""
        return asdict(self) | {
            "answer": LETTERS[self.answer],
            "chosen": None if self.chosen is None else LETTERS[self.chosen],
            "right": self.right,
        }


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """How many questions of a group were answered right. A question may have been asked several times."""

    group: str
    questions: int
    asked: int
    """Questions times how often each was asked."""
    not_answered: int
    """Times that a question did not fit the window, even without examples; not part of the accuracy."""
    unreadable: int
    """Times that the answer named no letter; part of the accuracy, as wrong."""
    accuracy: Interval | None
    """Mean over the questions that were answered of the share of times that they were answered right, with the
    bootstrap interval over questions. None where none was answered."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def question_text(question: ChoiceQuestion) -> str:
    """Stem, score and options, a line each; what comes before ``Answer:``."""
    score = [question.abc.strip("\n")] if question.abc else []
    options = [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=True)]
    return "\n".join([question.stem, *score, *options])


def option_strings(question: ChoiceQuestion, examples: Sequence[ChoiceQuestion] = ()) -> list[str]:
    """The four strings whose likelihood is compared: hint, worked examples, question, and ``Answer: A`` to ``D``."""
    worked = [f"{question_text(example)}\nAnswer: {LETTERS[example.answer]}" for example in examples]
    text = "\n".join([HINT, *worked, question_text(question), "Answer:"])
    return [f"{text} {letter}" for letter in LETTERS]


def written_prompt(question: ChoiceQuestion) -> str:
    """The question as it is put to a model that is to write its answer: hint, stem, score and options."""
    return f"{HINT}\n{question_text(question)}"


def shuffled(question: ChoiceQuestion, *, seed: int, number: int) -> tuple[ChoiceQuestion, tuple[int, ...]]:
    """Shuffle ``number`` of a question's options, and the old position of the option at each new one.

    It is a function of seed, number and question id alone: not of the other questions, nor of their order.
    """
    order = list(range(len(LETTERS)))
    random.Random(f"{seed}/{number}/{question.question_id}").shuffle(order)
    first, second, third, fourth = (question.options[old] for old in order)
    changed = ChoiceQuestion(
        question_id=question.question_id,
        group=question.group,
        stem=question.stem,
        abc=question.abc,
        options=(first, second, third, fourth),
        answer=order.index(question.answer),
    )
    return changed, tuple(order)


def group_results(outcomes: Iterable[ChoiceOutcome]) -> tuple[GroupResult, ...]:
    """Results by group, in the order in which the groups first appear."""
    groups: dict[str, list[ChoiceOutcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.group, []).append(outcome)
    return tuple(group_result(group, members) for group, members in groups.items())


def group_result(group: str, outcomes: Sequence[ChoiceOutcome]) -> GroupResult:
    """The result of these outcomes as one group."""
    answered: dict[str, list[bool]] = {}
    for outcome in outcomes:
        if outcome.answered:
            answered.setdefault(outcome.question_id, []).append(outcome.right)
    shares = [sum(times) / len(times) for times in answered.values()]
    return GroupResult(
        group=group,
        questions=len({outcome.question_id for outcome in outcomes}),
        asked=len(outcomes),
        not_answered=sum(not outcome.answered for outcome in outcomes),
        unreadable=sum(outcome.unreadable for outcome in outcomes),
        accuracy=bootstrap_mean(shares) if shares else None,
    )


# -- by what the model writes


_LETTER = r"[\s\"'`*_(\[]*([ABCD])"
_OPENING = re.compile(rf"{_LETTER}[\"'`*_]*(?:[.:)\]](?![A-Z]\b)|[ \t]*(?:\n|$))")
_LISTED = re.compile(r"^[\s(*]*([ABCD])[.:)]", re.MULTILINE)
_STATEMENT = re.compile(
    r"\b(?i:answer|(?:correct|best) (?:option|choice))(?:(?i: is):?|:)(?i: option| choice)?"
    rf"{_LETTER}(?![\w'#♯♭])(?![\s-]+(?i:major|minor|flat|sharp|natural)\b)"
)


def read_letter(text: str) -> int | None:
    """The option that a written answer names: 0 to 3, or None.

    In this order, and with capital letters only:

    1. The answer opens with a letter that a full stop, colon or bracket follows, or that stands alone on its line:
       ``B``, ``B. The fifth``, ``(B)``, ``**B**``. An answer that lists several options so is not read by this rule.
    2. The last statement of the form "answer is B", "Answer: B", "correct (or best) option (or choice) is B".

    Nothing else counts. In music a capital letter is mostly a note, a key or a chord ("The answer is C major", "A minor
    third", "D.C. al fine").

    >>> [read_letter(text) for text in ("B. Dominant", "I think the answer is (C).", "A minor third", "It is D major")]
    [1, 2, None, None]
    """
    opening = _OPENING.match(text)
    if opening and len(set(_LISTED.findall(text))) <= 1:
        return LETTERS.index(opening[1])
    statements = _STATEMENT.findall(text)
    return LETTERS.index(statements[-1]) if statements else None


@dataclass(frozen=True, kw_only=True)
class LetterAnswer:
    """A written answer and the letter in it."""

    text: str | None
    """None where the prompt leaves no room in the model's window: it was not answered."""
    letter: int | None
    """Position of the option named; None where there is no answer, or no letter in it (see `read_letter`)."""


def answer_letters(
    generator: Generator, prompts: Sequence[str | Prompt], *, max_new_tokens: int = ANSWER_TOKENS
) -> list[LetterAnswer]:
    """Greedy answers to ``prompts``, in their order, with the letters read from them.

    Args:
        generator: the model.
        prompts: questions, which are put into the chat template, or `Prompt`s.
        max_new_tokens: where an answer is cut.
    """
    decoding = Decoding(temperature=0.0, repetition_penalty=1.0, min_new_tokens=0, max_new_tokens=max_new_tokens)
    fitting = [i for i, prompt in enumerate(prompts) if len(generator.prompt_ids(prompt)) < generator.window]
    texts: dict[int, str] = {}
    for position, answer in generator.answers([prompts[i] for i in fitting], decoding):
        texts[fitting[position]] = answer.text
    return [
        LetterAnswer(text=texts[i], letter=read_letter(texts[i]))
        if i in texts
        else LetterAnswer(text=None, letter=None)
        for i in range(len(prompts))
    ]


def answer_questions(
    generator: Generator, questions: Sequence[ChoiceQuestion], *, max_new_tokens: int = ANSWER_TOKENS
) -> list[ChoiceOutcome]:
    """Put ``questions`` to a model that writes its answers; see `answer_letters`."""
    answers = answer_letters(
        generator, [written_prompt(question) for question in questions], max_new_tokens=max_new_tokens
    )
    return [
        ChoiceOutcome(
            question_id=question.question_id,
            group=question.group,
            answer=question.answer,
            answered=answer.text is not None,
            chosen=answer.letter,
            text=answer.text,
        )
        for question, answer in zip(questions, answers, strict=True)
    ]


# -- by likelihood


def encode_strings(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Token ids of strings, with a beginning-of-text token where the tokenizer adds one and no end-of-text token."""
    start = (tokenizer.bos_token_id,) if adds_beginning(tokenizer) else ()
    return [(*start, *ids) for ids in tokenizer(list(texts), add_special_tokens=False).input_ids]


def adds_beginning(tokenizer: Any) -> bool:
    """Whether the tokenizer, left to itself, begins a text with its beginning-of-text token (LLaMA's does)."""
    alone = tokenizer("").input_ids
    return bool(alone) and alone[0] == tokenizer.bos_token_id


@dataclass(frozen=True, kw_only=True)
class FittedStrings:
    """A question's four strings, with as many of the examples as the window holds."""

    strings: tuple[str, ...]
    ids: tuple[Ids, ...]
    """Token ids of each string."""
    examples: int
    """How many examples are left; those that are dropped are the last."""


def fit_strings(
    tokenizer: Any, question: ChoiceQuestion, examples: Sequence[ChoiceQuestion], *, window: int
) -> FittedStrings | None:
    """The strings of ``question`` in at most ``window`` tokens each; None if it is too long without any example.

    Examples are dropped from the last on, so that what is left begins as all other prompts do. The question itself is
    never cut.
    """
    for count in range(len(examples), -1, -1):
        strings = option_strings(question, examples[:count])
        ids = encode_strings(tokenizer, strings)
        if max(map(len, ids)) <= window:
            return FittedStrings(strings=tuple(strings), ids=tuple(ids), examples=count)
    return None


def score_questions(
    model: Any,
    tokenizer: Any,
    questions: Sequence[ChoiceQuestion],
    *,
    examples: Sequence[ChoiceQuestion] = (),
    batch_size: int = 16,
) -> list[ChoiceOutcome]:
    """Ask ``questions`` by likelihood, each after the worked ``examples``; outcomes in their order.

    Of two options with the same score the first is taken. See `fit_strings` for what is too long, and `score_options`
    for the other arguments.
    """
    window = model.config.max_position_embeddings
    fitted = [fit_strings(tokenizer, question, examples, window=window) for question in questions]
    asked = [one.ids for one in fitted if one is not None]
    scores = iter(_score(model, asked, batch_size=batch_size))
    return [
        scored_outcome(question, next(scores) if one is not None else None, examples=one.examples if one else 0)
        for question, one in zip(questions, fitted, strict=True)
    ]


def scored_outcome(question: ChoiceQuestion, scores: Sequence[float] | None, *, examples: int) -> ChoiceOutcome:
    """The outcome of a question whose options have these scores; None where it did not fit."""
    if scores is None:
        chosen, kept = None, None
    else:
        first, second, third, fourth = (float(score) for score in scores)
        kept = (first, second, third, fourth)
        chosen = int(np.argmin(kept))
    return ChoiceOutcome(
        question_id=question.question_id,
        group=question.group,
        answer=question.answer,
        answered=kept is not None,
        chosen=chosen,
        scores=kept,
        examples=examples,
    )


def score_options(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[str]], *, batch_size: int = 16
) -> npt.NDArray[np.float64]:
    """Mean cross-entropy of whole strings, in nats per token.

    The mean is over the tokens that have one before them: all but the first, which is the beginning-of-text token
    where the tokenizer adds one.

    Args:
        model: a causal model of transformers with full attention, or a PEFT model around one.
        tokenizer: its tokenizer.
        prompts: the four strings of each question, [Q, 4].
        batch_size: questions computed together. Memory grows with it.

    Returns:
        The scores, [Q, 4]; the lowest of a row is the model's choice. A question with a string longer than the model's
        window has NaN in its row.

    Raises:
        UserError: ``batch_size`` is below 1, or the scores are not finite.
        ValueError: a question has not four strings, or a string has fewer than two tokens.
    """
    if any(len(strings) != len(LETTERS) for strings in prompts):
        raise ValueError("each question needs four strings")
    ids = encode_strings(tokenizer, [string for strings in prompts for string in strings]) if prompts else []
    questions = [tuple(ids[i : i + len(LETTERS)]) for i in range(0, len(ids), len(LETTERS))]
    scores = np.full((len(questions), len(LETTERS)), np.nan)
    fitting = [
        i for i, strings in enumerate(questions) if max(map(len, strings)) <= model.config.max_position_embeddings
    ]
    scores[fitting] = _score(model, [questions[i] for i in fitting], batch_size=batch_size)
    return scores


@dataclass(frozen=True)
class _Job:
    """Strings that begin alike: ``head`` and then one of ``endings``. Neither head nor an ending is empty."""

    head: Ids
    endings: tuple[Ids, ...]
    places: tuple[tuple[int, int], ...]
    """Question and option of each ending."""


def _score(model: Any, questions: Sequence[Sequence[Ids]], *, batch_size: int) -> npt.NDArray[np.float64]:
    """Mean cross-entropies [Q, 4] of tokenised strings that fit the window."""
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} is out of range: it must be 1 or more")
    if any(len(ids) < 2 for strings in questions for ids in strings):
        raise ValueError("a string of fewer than two tokens predicts nothing")
    sharing = (getattr(model.config, "rope_parameters", None) or {}).get("rope_type", "default") in STATIC_ROPE
    jobs = [job for i, strings in enumerate(questions) for job in _jobs(i, strings, sharing=sharing)]
    jobs.sort(key=lambda job: (len(job.head), job.head, job.endings))
    scores = np.full((len(questions), len(LETTERS)), np.nan)
    size = batch_size if sharing else 1
    with torch.inference_mode(), _evaluating(model):
        for start in range(0, len(jobs), size):
            batch = jobs[start : start + size]
            places = [place for job in batch for place in job.places]
            predicted = [len(job.head) + len(ending) - 1 for job in batch for ending in job.endings]
            scores[tuple(zip(*places, strict=True))] = _batch_nats(model, batch) / np.asarray(predicted)
    if not np.isfinite(scores).all():
        raise UserError(
            "the model's scores are not finite: its weights hold NaN, or its dtype overflows; try dtype=float32"
        )
    return scores


def _jobs(question: int, strings: Sequence[Ids], *, sharing: bool) -> list[_Job]:
    """A question as one job, or as one job a string where they have nothing in common."""
    common = _common(strings) if sharing else 0
    if common:
        endings = tuple(ids[common:] for ids in strings)
        places = tuple((question, option) for option in range(len(strings)))
        return [_Job(head=strings[0][:common], endings=endings, places=places)]
    return [
        _Job(head=ids[:-1], endings=(ids[-1:],), places=((question, option),)) for option, ids in enumerate(strings)
    ]


def _common(strings: Sequence[Ids]) -> int:
    """Length of the common beginning of ``strings``, less than that of the shortest."""
    first, last = min(strings), max(strings)  # what these two share in the order of tuples, all share
    most = min(map(len, strings)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _batch_nats(model: Any, batch: Sequence[_Job]) -> npt.NDArray[np.float64]:
    """Negative log likelihoods in nats of every ending with its head, summed over their tokens."""
    heads = [job.head for job in batch]
    shared = _common(heads) if len(heads) > 1 else 0
    text = _Text.nothing(model)
    if shared:
        text = _read_on(model, text, [heads[0][:shared]], after=[0])
    text = _read_on(model, text, [head[shared:] for head in heads], after=[0] * len(heads))
    after = [row for row, job in enumerate(batch) for _ in job.endings]
    endings = [ending for job in batch for ending in job.endings]
    return _read_on(model, text, endings, after=after, last=True).nats.numpy()


@dataclass
class _Text:
    """What has been read of each of N rows.

    Rows of unequal length are padded on the right; later tokens go behind the padding, with the positions that they
    would have without it::

        columns     0 1 2 3 4 | 5 6
        row 0       a b c d e | f g        positions of f, g: 5, 6
        row 1       a b c . . | f g        positions of f, g: 3, 4
    """

    cache: Any
    """Keys and values [N, heads, P, head width] of each layer."""
    mask: Tensor
    """Which columns hold a token, [N, P]."""
    hidden: Tensor | None
    """The model's output at the last token of each row, [N, D]; None where nothing has been read."""
    nats: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    """Cross-entropy so far, summed over the tokens, [N], on the CPU in float64."""

    @classmethod
    def nothing(cls, model: Any) -> "_Text":
        """One row of no tokens."""
        return cls(cache=DynamicCache(), mask=torch.ones(1, 0, dtype=torch.long, device=model.device), hidden=None)


def _read_on(model: Any, before: _Text, rows: Sequence[Ids], *, after: Sequence[int], last: bool = False) -> _Text:
    """Read on: each of ``rows`` follows the row of ``before`` at its place in ``after``.

    With ``last`` nothing is read afterwards: the last token of a row, which predicts none, is not computed, and cache
    and output are not to be used.
    """
    device = before.mask.device
    parents = torch.tensor(after, device=device)  # [N]
    lengths = torch.tensor([len(row) for row in rows], device=device)  # [N]
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)  # [N, T]
    inside = torch.arange(longest, device=device) < lengths[:, None]  # [N, T]
    mask = before.mask[parents]  # [N, P]
    positions = mask.sum(1, keepdim=True) + torch.arange(longest, device=device)  # [N, T]
    steps = longest - 1 if last else longest
    outputs = [] if before.hidden is None else [before.hidden[parents][:, None]]
    cache = before.cache
    if steps:
        if len(cache.layers):
            cache.batch_select_indices(parents)
        mask = torch.cat([mask, inside[:, :steps].long()], dim=1)  # [N, P + T]
        outputs.append(_outputs(model, ids[:, :steps], positions[:, :steps], mask, cache))
    hidden = torch.cat(outputs, dim=1)  # [N, T or T + 1, D]: the one before, and of each that was read
    first = 1 if before.hidden is None else 0  # the very first token of a string has none before it
    nats = _summed_nats(model, hidden[:, : longest - first], ids[:, first:], inside[:, first:])
    final = hidden[torch.arange(len(rows), device=device), lengths - 1 + (1 - first)] if not last else None
    return _Text(cache=cache, mask=mask, hidden=final, nats=before.nats[parents.cpu()] + nats)


def _outputs(model: Any, ids: Tensor, positions: Tensor, mask: Tensor, cache: Any) -> Tensor:
    """The last hidden states [N, T, D] of ``ids`` [N, T], which follow what is in the cache."""
    backbone = model.get_base_model() if hasattr(model, "get_base_model") else model
    return backbone.model(
        input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
    ).last_hidden_state


def _summed_nats(model: Any, hidden: Tensor, ids: Tensor, inside: Tensor) -> Tensor:
    """Cross-entropy [N] of ``ids`` [N, T] given ``hidden`` [N, T, D], summed over the tokens that are ``inside``."""
    head = model.get_output_embeddings()
    outputs, wanted = hidden[inside], ids[inside]  # [N T, D], [N T] without the padding
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    pieces = [
        F.cross_entropy(head(some).float(), tokens, reduction="none").cpu().double()  # [M]
        for some, tokens in zip(outputs.split(at_once), wanted.split(at_once), strict=True)
    ]
    rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)[inside].cpu()
    return torch.zeros(len(ids), dtype=torch.float64).index_add(0, rows, torch.cat(pieces))


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Eval mode, and back to the mode that each module was in: a model in training can be asked too."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
