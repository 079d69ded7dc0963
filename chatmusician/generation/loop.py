"""The sampling loop: prompts as token ids in, new token ids out, one step at a time.

A row whose answer ends leaves its batch at once and a waiting one takes its place, so no forward pass is spent on a
finished row. Prompts are computed without padding. What a row draws depends on its own logits, its own settings and its
own stream of random numbers, so the answers do not depend on the batch, up to the last bits of the matrix products (a
kernel may sum 1 row and 16 rows in another order).

Whole answers, streams of text, files of prompts and many users at once are ways to read the same steps. Rows of other
settings are drawn for group by group: 0.1 ms for each group beyond the first.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import Drawn, Row
from chatmusician.generation.constraint.followers import Constraints, Follower
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.sampling import next_tokens, row_uniforms


class Steps(Protocol):
    """A model's forward passes over rows in slots, of which 0 to B - 1 are live. V: vocabulary entries."""

    device: torch.device

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Compute prompts, token ids, into the next slots; the logits ``[len(prompts), V]`` after their last tokens."""

    def step(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """The logits ``[B, V]`` after one token more in each live slot, at its position in prompt and answer."""

    def leave(self, slot: int) -> None:
        """Free a slot; the last live row takes it."""


@dataclass
class _Live:
    """A row in the batch: its newest token, how many it has drawn, and its random numbers."""

    row: Row
    since: float
    uniforms: list[float]
    alike: Decoding
    """How it chooses a token: all of its settings but the seed and the lengths."""
    follower: Follower | None
    """Holds it to its constraint."""
    token: int = -1
    count: int = 0

    @property
    def position(self) -> int:
        """Of the newest token, in prompt and answer."""
        return len(self.row.prompt_ids) + self.count - 1


class SampledBatch:
    """A `chatmusician.generation.backends.backend.Batch` over forward passes; slot s belongs to ``live[s]``.

    Letters: S slots, B live rows, V vocabulary entries.

    Args:
        steps: the model's forward passes.
        eos_ids: the tokens that end an answer.
        constraints: what rows may be held to.
        slots: most rows that are live at once.
    """

    def __init__(self, steps: Steps, *, eos_ids: Sequence[int], constraints: Constraints, slots: int) -> None:
        self.steps, self.constraints, self.slots = steps, constraints, slots
        self.eos = frozenset(eos_ids)
        self.eos_ids = torch.tensor(sorted(eos_ids), device=steps.device)
        self.live: list[_Live] = []
        self.groups: list[tuple[Decoding, list[int]]] = []
        self.seen = torch.zeros(slots, 0, dtype=torch.bool, device=steps.device)  # [S, V] once V is known

    def __len__(self) -> int:
        """How many rows are live."""
        return len(self.live)

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> list[Drawn]:
        """Compute prompts, draw the first tokens, and keep the rows of which that was not the last."""
        since, first = time.perf_counter(), len(self.live)
        logits = self.steps.join([row.prompt_ids for row in rows])
        if self.seen.shape[1] == 0:
            self.seen = self.seen.new_zeros(self.slots, logits.shape[-1])
        for slot, row in enumerate(rows, start=first):
            self.seen[slot] = False
            self.seen[slot, torch.tensor(row.prompt_ids, device=self.steps.device)] = True
            uniforms = row_uniforms(row.decoding.seed, row.number, row.limit).tolist()
            alike = replace(row.decoding, seed=0, min_new_tokens=0, max_new_tokens=1)
            follower = self.constraints.follower(alike.constraint, row.prompt_ids, template=row.template)
            self.live.append(_Live(row, since, uniforms, alike, follower))
        drawn = self._draw(logits, slice(first, first + len(rows)), _groups(self.live[first:]))
        self._leave_if_last(drawn, first=first)
        self.groups = _groups(self.live)
        return drawn

    @torch.inference_mode()
    def step(self) -> list[Drawn]:
        """One token for every live row; rows that are done leave."""
        logits = self.steps.step([live.token for live in self.live], [live.position for live in self.live])
        drawn = self._draw(logits, slice(0, len(self.live)), self.groups)
        if self._leave_if_last(drawn):
            self.groups = _groups(self.live)
        return drawn

    @torch.inference_mode()
    def drop(self, row: Row) -> None:
        """Take a live row out that nobody waits for any more."""
        self._leave(next(slot for slot, live in enumerate(self.live) if live.row is row))
        self.groups = _groups(self.live)

    def _draw(self, logits: Tensor, slots: slice, groups: Sequence[tuple[Decoding, list[int]]]) -> list[Drawn]:
        """Draw for the live rows in ``slots`` from their logits ``[B, V]``; ``groups`` count from its first slot."""
        if not bool(torch.isfinite(logits).all()):
            raise UserError(
                "the model's logits are not finite: its weights hold NaN, or its dtype overflows; try dtype=float32"
            )
        live, seen = self.live[slots], self.seen[slots]
        if len(groups) == 1:
            chosen = self._choose(logits, seen, live, groups[0][0])
        else:
            chosen = self.eos_ids.new_empty(len(live))
            for decoding, members in groups:
                index = torch.tensor(members, device=self.steps.device)
                chosen[index] = self._choose(logits[index], seen[index], [live[i] for i in members], decoding)
        seen.scatter_(1, chosen[:, None], True)
        drawn = []
        now = time.perf_counter()
        for one, token in zip(live, chosen.tolist(), strict=True):
            one.token, one.count = token, one.count + 1
            ended = token in self.eos
            if one.follower is not None and not ended:
                one.follower.advance(token)
            gave_way = one.follower.gave_way if one.follower is not None else 0
            drawn.append(Drawn(one.row, token, ended, ended or one.count == one.row.limit, now - one.since, gave_way))
        return drawn

    def _choose(self, logits: Tensor, seen: Tensor, live: Sequence[_Live], decoding: Decoding) -> Tensor:
        """Tokens ``[B]`` of rows that choose alike."""
        early = [one.count < one.row.decoding.min_new_tokens for one in live]
        allowed = None
        if followers := [one.follower for one in live if one.follower is not None]:  # all or none: they choose alike
            left = [one.row.limit - one.count for one in live]
            allowed = followers[0].masks.allowed(followers, like=logits, left=left, early=early)
        return next_tokens(
            logits,
            seen=seen,
            may_end=~torch.tensor(early, device=self.steps.device) if any(early) else None,
            eos_ids=self.eos_ids,
            uniforms=torch.tensor([one.uniforms[one.count] for one in live], device=self.steps.device),
            decoding=decoding,
            allowed=allowed,
        )

    def _leave_if_last(self, drawn: Sequence[Drawn], *, first: int = 0) -> bool:
        """Free the slots, from ``first`` on, of rows that are done; whether there were any."""
        leaving = [slot for slot, one in enumerate(drawn, start=first) if one.last]
        for slot in reversed(leaving):  # the last live row takes a slot: it is none of those that are left to free
            self._leave(slot)
        return bool(leaving)

    def _leave(self, slot: int) -> None:
        last = len(self.live) - 1
        self.live[slot] = self.live[last]
        self.live.pop()
        self.seen[slot] = self.seen[last]
        self.steps.leave(slot)


def _groups(live: Sequence[_Live]) -> list[tuple[Decoding, list[int]]]:
    """The live rows by how they choose a token."""
    groups: dict[Decoding, list[int]] = {}
    for slot, one in enumerate(live):
        groups.setdefault(one.alike, []).append(slot)
    return list(groups.items())
