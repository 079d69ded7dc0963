"""The sampling loop: prompts as token ids in, new token ids out, one step at a time.

At most ``batch_size`` rows are live. A row whose answer ends leaves at once and the next waiting one takes its place,
so no forward pass is spent on a finished row. Prompts are computed one by one, without padding; only the one-token
steps are batched. What a row draws depends on its own logits and its own stream of random numbers, so the answers do
not depend on the batch size, up to the last bits of the matrix products (a kernel may sum 1 row and 16 rows in
another order).

Everything that generates goes through `decode_rows`: whole answers, streams of text and files of prompts are three ways
to read the same steps.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from chatmusician.errors import UserError
from chatmusician.generation.cache import AlignedCache
from chatmusician.generation.constraint.followers import Follower, Masks
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.llama_step import LlamaStep
from chatmusician.generation.sampling import next_tokens, row_uniforms


@dataclass(frozen=True, kw_only=True)
class Row:
    """One answer to generate."""

    number: int
    """Names the row in the steps, and picks its stream of random numbers."""
    prompt_ids: tuple[int, ...]
    limit: int
    """Most new tokens, the end of the answer included."""
    follower: Follower | None = None
    """Holds the answer to the rules of ABC; None where it is not constrained."""


@dataclass(frozen=True)
class Drawn:
    """One new token of one row."""

    row: Row
    token: int
    ended: bool
    """The token is the end of the answer."""
    last: bool
    """The row has left the batch: it ended, or this was token number ``row.limit``."""


@dataclass
class _Live:
    """A row in the batch: its newest token, and how many it has drawn."""

    row: Row
    token: int
    count: int

    @property
    def position(self) -> int:
        """Of the newest token, in prompt and answer."""
        return len(self.row.prompt_ids) + self.count - 1


class _Batch:
    """The live rows with their tensors; slot s of every tensor belongs to ``live[s]``.

    Letters: S slots, B live rows, V vocabulary entries, N the longest answer in tokens.
    """

    def __init__(self, model: Any, decoding: Decoding, eos_ids: Sequence[int], slots: int, masks: Masks | None) -> None:
        self.model, self.decoding, self.eos, self.masks = model, decoding, frozenset(eos_ids), masks
        self.device = model.device
        self.small = LlamaStep(model) if LlamaStep.suits(model) else None
        self.eos_ids = torch.tensor(sorted(eos_ids), device=self.device)
        self.cache = AlignedCache(rows=slots)
        self.live: list[_Live] = []
        self.uniforms = torch.zeros(decoding.max_new_tokens, slots, device=self.device)  # [N, S]
        self.seen = torch.zeros(slots, 0, dtype=torch.bool, device=self.device)  # [S, V] once V is known

    def join(self, row: Row) -> Drawn:
        """Compute a prompt, draw the first token, and keep the row unless that was its last."""
        prefill = DynamicCache()
        ids = torch.tensor([row.prompt_ids], device=self.device)  # [1, L]
        logits = self.model(input_ids=ids, past_key_values=prefill, use_cache=True, logits_to_keep=1).logits[:, -1]
        slot = len(self.live)
        if self.seen.shape[1] == 0:
            self.seen = self.seen.new_zeros(self.seen.shape[0], logits.shape[-1])
        self.seen[slot] = False
        self.seen[slot, ids[0]] = True
        self.uniforms[: row.limit, slot] = row_uniforms(self.decoding.seed, row.number, row.limit).to(self.device)
        self.live.append(_Live(row, -1, 0))
        drawn = self._draw(logits, slice(slot, slot + 1))[0]
        if drawn.last:
            self.live.pop()
        else:
            self.cache.join(prefill)
        return drawn

    def step(self) -> list[Drawn]:
        """One token for every live row; rows that are done leave."""
        self.cache.prepare()
        tokens = torch.tensor([live.token for live in self.live], device=self.device)  # [B]
        positions = torch.tensor([live.position for live in self.live], device=self.device)  # [B]
        if self.small is not None:
            logits = self.small(tokens, positions, self.cache)  # [B, V]
        else:
            logits = self.model(
                input_ids=tokens[:, None],
                position_ids=positions[:, None],
                attention_mask=self.cache.mask(),
                past_key_values=self.cache,
                use_cache=True,
            ).logits[:, -1]
        self.cache.advance()
        drawn = self._draw(logits, slice(0, len(self.live)))
        for slot in reversed(range(len(drawn))):
            if drawn[slot].last:
                self._leave(slot)
        return drawn

    def _draw(self, logits: Tensor, slots: slice) -> list[Drawn]:
        """Draw for the live rows in ``slots`` from their logits ``[B, V]``."""
        live = self.live[slots]
        if not bool(torch.isfinite(logits).all()):
            raise UserError(
                "the model's logits are not finite: its weights hold NaN, or its dtype overflows; try dtype=float32"
            )
        early = [one.count < self.decoding.min_new_tokens for one in live]
        allowed = None
        if self.masks is not None:
            followers, left = [one.row.follower for one in live], [one.row.limit - one.count for one in live]
            allowed = self.masks.allowed(followers, like=logits, left=left, early=early)
        chosen = next_tokens(
            logits,
            seen=self.seen[slots],
            may_end=~torch.tensor(early, device=self.device) if any(early) else None,
            eos_ids=self.eos_ids,
            uniforms=self._uniforms_of(live, slots),
            decoding=self.decoding,
            allowed=allowed,
        )
        self.seen[slots].scatter_(1, chosen[:, None], True)
        drawn = []
        for one, token in zip(live, chosen.tolist(), strict=True):
            one.token, one.count = token, one.count + 1
            ended = token in self.eos
            if one.row.follower is not None and not ended:
                one.row.follower.advance(token)
            drawn.append(Drawn(one.row, token, ended, ended or one.count == one.row.limit))
        return drawn

    def _uniforms_of(self, live: list[_Live], slots: slice) -> Tensor:
        """This step's random number of each row, ``[B]``."""
        if len(live) == 1:
            return self.uniforms[live[0].count, slots]
        steps = torch.tensor([one.count for one in live], device=self.device)
        return self.uniforms[:, slots].gather(0, steps[None])[0]

    def _leave(self, slot: int) -> None:
        last = len(self.live) - 1
        self.live[slot] = self.live[last]
        self.live.pop()
        self.seen[slot] = self.seen[last]
        self.uniforms[:, slot] = self.uniforms[:, last]
        self.cache.leave(slot)


@torch.inference_mode()
def decode_rows(
    model: Any,
    rows: Sequence[Row],
    decoding: Decoding,
    *,
    eos_ids: Sequence[int],
    batch_size: int,
    masks: Masks | None = None,
) -> Iterator[list[Drawn]]:
    """Generate the answers of ``rows``; each step yields the tokens drawn in it.

    Args:
        model: a causal language model of transformers in eval mode, with full (not sliding-window) attention.
        rows: what to generate; they start in this order.
        decoding: how tokens are chosen.
        eos_ids: the token ids that end an answer.
        batch_size: most rows that are live at once.
        masks: what rows with a follower may draw; None if no row has one.

    Raises:
        UserError: the logits are not finite.
    """
    waiting = deque(rows)
    batch = _Batch(model, decoding, eos_ids, min(batch_size, len(rows)), masks)
    while waiting or batch.live:
        while waiting and len(batch.live) < batch_size:
            yield [batch.join(waiting.popleft())]
        if batch.live:
            yield batch.step()
