"""Questions with four options, by likelihood, as the paper asks them.

A question is written out four times, each time with another letter after ``Answer: ``, and the string with the lowest
mean cross-entropy, over the whole of it, is the model's choice. The four strings are the same but for their last token
or tokens, and the strings of a five-shot run begin with the same examples. Each stretch that is common is computed once
and its keys and values are kept:

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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from chatmusician.errors import UserError
from chatmusician.evaluation.choice_questions import LETTERS, ChoiceOutcome, ChoiceQuestion, option_strings
from chatmusician.generation.backends.transformers_backend import evaluating
from chatmusician.generation.llama_step import STATIC_ROPE

LOGITS_AT_ONCE = 2**26
"""Logits held in memory at a time (256 MiB in float32): 2,097 tokens of a vocabulary of 32,000."""

Ids = tuple[int, ...]


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
    with torch.inference_mode(), evaluating(model):
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
