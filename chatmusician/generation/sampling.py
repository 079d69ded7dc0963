"""From logits to the next token of every row of a batch.

Letters: B rows, V vocabulary entries, C candidates that survive top-k. All arithmetic is float32 whatever the model's
dtype, so the same logits give the same token on every device. The order is that of transformers' logits processors
(repetition penalty, temperature, top-k, top-p) and the result is theirs; the cost is not: after top-k only C columns
are left, so softmax, cumulative sum and draw work on 40 numbers a row rather than on the vocabulary.

A draw inverts the cumulative distribution at a number from the row's own stream of uniforms. Six candidates after the
softmax, top_p = 0.9, u = 0.62::

    probability        .40  .25  .20  .10  .04  .01
    sum of those before  0  .40  .65  .85  .95  .99
    kept (before < .9)   y    y    y    y    n    n      total kept .95
    cumulative         .40  .65  .85  .95
    u x total = .589         ^ first cumulative above it: candidate 1
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from chatmusician.generation.decoding import Decoding


def row_uniforms(seed: int, row: int, count: int) -> Tensor:
    """The first ``count`` numbers in [0, 1) of row ``row``'s own stream, float32 ``[count]``, on the CPU.

    Always drawn on the CPU, so that one seed means one answer on every device.
    """
    digest = hashlib.blake2b(f"{seed}:{row}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return torch.rand(count, generator=generator)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Push down the logits ``[B, V]`` of tokens marked in ``seen [B, V]`` (Keskar et al. 2019, section 4.1)."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def candidates(logits: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """What may be drawn: probabilities ``[B, C]``, largest first and 0 where top-p excludes, and token ids ``[B, C]``.

    The probabilities that are kept do not sum to 1; `draw` allows for that.
    """
    vocabulary = logits.shape[-1]
    count = min(decoding.top_k, vocabulary) if decoding.top_k else vocabulary
    values, ids = torch.topk(logits, count, dim=-1)
    probabilities = torch.softmax(values / decoding.temperature, dim=-1)
    if decoding.top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= decoding.top_p, 0.0)
    return probabilities, ids


def draw(probabilities: Tensor, ids: Tensor, uniforms: Tensor) -> Tensor:
    """One token id a row ``[B]``, by inverting the cumulative distribution at ``uniforms [B]``."""
    cumulative = probabilities.cumsum(-1)
    target = uniforms[:, None] * cumulative[:, -1:]
    chosen = (cumulative <= target).sum(-1, keepdim=True)
    places = torch.arange(probabilities.shape[-1], device=probabilities.device)
    last_kept = torch.where(probabilities > 0, places, 0).amax(-1, keepdim=True)
    return ids.gather(-1, torch.minimum(chosen, last_kept))[:, 0]


@dataclass(frozen=True)
class Allowed:
    """What a constraint leaves to each row, as bool ``[B, V]``."""

    tokens: Tensor
    """Tokens that may be drawn."""
    plain: Tensor
    """Those of them that are left to a row whose model would draw none of them."""


def hold(
    probabilities: Tensor, ids: Tensor, logits: Tensor, allowed: Allowed, decoding: Decoding
) -> tuple[Tensor, Tensor]:
    """The candidates ``[B, C]`` that a constraint allows: what is drawn is what the model would have drawn, given that.

    A row that has none is overruled. Of what it never meant to draw it gets the plain tokens, by their likelihood.
    """
    probabilities = probabilities.masked_fill(~allowed.tokens.gather(-1, ids), 0.0)
    overruled = (probabilities == 0).all(-1)  # [B]
    if bool(overruled.any()):
        held = logits[overruled].masked_fill(~allowed.plain[overruled], float("-inf"))
        probabilities[overruled], ids[overruled] = candidates(held, decoding)
    return probabilities, ids


def next_tokens(
    logits: Tensor,
    *,
    seen: Tensor,
    may_end: Tensor | None,
    eos_ids: Tensor,
    uniforms: Tensor,
    decoding: Decoding,
    allowed: Allowed | None = None,
) -> Tensor:
    """The next token of every row, ``[B]``.

    Args:
        logits: ``[B, V]``, any floating dtype.
        seen: bool ``[B, V]``, the tokens of the prompt and of the answer so far.
        may_end: bool ``[B]``, rows that have their ``min_new_tokens``; None where all have.
        eos_ids: ``[E]``, the ids that end an answer.
        uniforms: ``[B]``, this step's number of each row's stream.
        decoding: the settings.
        allowed: what may be drawn; None for anything.
    """
    logits = logits.float()
    if decoding.repetition_penalty != 1:
        logits = penalise_repetition(logits, seen, decoding.repetition_penalty)
    if may_end is not None:
        ends = logits.index_select(-1, eos_ids)
        logits = logits.index_copy(-1, eos_ids, ends.masked_fill(~may_end[:, None], float("-inf")))
    if decoding.greedy:
        chosen = logits.argmax(-1)
        if allowed is None:
            return chosen
        held = logits.masked_fill(~allowed.plain, float("-inf")).argmax(-1)
        return torch.where(allowed.tokens.gather(-1, chosen[:, None])[:, 0], chosen, held)
    probabilities, ids = candidates(logits, decoding)
    if allowed is not None:
        probabilities, ids = hold(probabilities, ids, logits, allowed, decoding)
    return draw(probabilities, ids, uniforms)
