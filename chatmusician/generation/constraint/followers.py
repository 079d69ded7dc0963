"""The constraint on a batch of answers: each has its `Follower`, and all share the masks of what may come next.

A mask is made when its situation is first met, and kept on the model's device beside the others, so that a step of the
loop takes one look-up for each row and one selection for the batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chatmusician.generation.constraint.choices import Choices, Situation
from chatmusician.generation.constraint.vocabulary import make_vocabulary, token_texts
from chatmusician.generation.sampling import Allowed

BARS_IN_RESERVE = 2
"""An answer that has tokens left for this many bars, the longest so far, is ended at the next bar line that allows."""

_FREE, _END = 0, 1
"""The places of the masks that allow everything, and nothing but the end."""
_FIRST_ROWS = 256
_MOST_BYTES = 2**28
"""Memory of the masks; beyond it they are made anew as they are needed."""


class Constraints:
    """The constraints on what a model says, by the names of `chatmusician.generation.decoding.CONSTRAINTS`.

    What was found out about a vocabulary is kept from answer to answer.

    Args:
        tokenizer: a tokenizer of transformers.
        eos_ids: the tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, *, eos_ids: Sequence[int]) -> None:
        self.tokenizer, self.eos_ids = tokenizer, eos_ids
        self._masks: dict[str, Masks] = {}

    def follower(self, constraint: str, prompt_ids: Sequence[int], *, template: bool) -> "Follower | None":
        """The follower of a new answer; None without a constraint. ``template``: see `Masks.follower`."""
        if constraint == "none":
            return None
        if constraint not in self._masks:
            vocabulary = make_vocabulary(token_texts(self.tokenizer))
            self._masks[constraint] = Masks(Choices(vocabulary, counted=constraint == "bars"), eos_ids=self.eos_ids)
        return self._masks[constraint].follower(prompt_ids, template=template)


class Follower:
    """Follows one answer.

    Args:
        masks: which tokens may come next.
        situation: where the answer begins.
    """

    def __init__(self, masks: "Masks", situation: Situation) -> None:
        self.masks, self.choices, self.situation = masks, masks.choices, situation
        self.gave_way = 0
        """How many times no token was left, so that any was allowed."""
        self._in_bar, self._longest = 0, 0

    def advance(self, token: int) -> None:
        """Take in the token that was drawn."""
        before, self.situation = self.situation, self.choices.follow(self.situation, token)
        self._in_bar += 1
        if before.in_bar and not self.situation.in_bar:
            self._longest, self._in_bar = max(self._longest, self._in_bar), 0

    def must_end(self, left: int) -> bool:
        """Whether the answer is to end now, with ``left`` tokens to its limit."""
        situation = self.situation
        return situation.in_tune and situation.may_end and left <= BARS_IN_RESERVE * self._longest


class Masks:
    """Which tokens may come next, for the answers of a batch.

    Letters: B rows, V vocabulary entries of the model, M masks.

    Args:
        choices: what may come next.
        eos_ids: the tokens that end an answer.
    """

    def __init__(self, choices: Choices, *, eos_ids: Sequence[int]) -> None:
        self.choices, self.eos_ids = choices, list(eos_ids)
        self._order = np.array(choices.vocabulary.order)
        self._bank = torch.zeros(0, 0, dtype=torch.bool)  # [M, V]
        self._plain = self._bank  # [M, V], without all but plain tokens
        self._places: dict[Situation, int] = {}
        self._used = 0

    def follower(self, prompt_ids: Sequence[int], *, template: bool) -> Follower:
        """The follower of a new answer: with the template it begins a text, without it goes on with the prompt's.

        Of such a prompt what comes after its last special token is read.
        """
        texts = self.choices.vocabulary.texts
        read = "" if template else "".join("\0" if texts[token] is None else texts[token] or "" for token in prompt_ids)
        return Follower(self, self.choices.read(read.rpartition("\0")[2]))

    def allowed(
        self, followers: Sequence[Follower], *, like: Tensor, left: Sequence[int], early: Sequence[bool]
    ) -> Allowed | None:
        """What each row may draw; None if all may draw anything.

        Args:
            followers: of the rows.
            like: the logits ``[B, V]`` of the next token.
            left: tokens to each row's limit.
            early: rows that may not end yet, for they lack ``min_new_tokens``.
        """
        if self.choices.is_full:
            self.choices.clear()
            self._used = 0
        fits = self._bank.shape[1] == like.shape[-1] and self._bank.device == like.device
        if not fits or not self._used or 2 * (self._used + len(followers)) * like.shape[-1] > _MOST_BYTES:
            self._start(like)
        places = [
            _FREE if follower.situation.is_free else self._place(follower, to_limit, is_early)
            for follower, to_limit, is_early in zip(followers, left, early, strict=True)
        ]
        if not any(places):
            return None
        rows = torch.tensor(places, device=like.device)  # [B]
        return Allowed(self._bank[rows], self._plain[rows])

    def _place(self, follower: Follower, left: int, early: bool) -> int:
        situation = follower.situation
        if not early and follower.must_end(left):
            return _END
        place = self._places.get(situation)
        if place is None:
            place = self._places[situation] = self._add(situation)
        if place == _FREE or (early and not situation.tokens):
            follower.gave_way += 1
            return _FREE
        return place

    def _start(self, like: Tensor) -> None:
        """Keep masks for a model with these logits; those of before are forgotten."""
        self._places.clear()
        self._bank = torch.zeros(_FIRST_ROWS, like.shape[-1], dtype=torch.bool, device=like.device)
        self._bank[_FREE] = True
        self._bank[_END, self.eos_ids] = True
        self._plain = self._bank.clone()
        self._used = 2

    def _add(self, situation: Situation) -> int:
        """Make the mask of a situation; its place is that of what allows everything if nothing may come."""
        bits = self.choices.tokens(situation)
        if not bits and not situation.may_end:
            return _FREE
        if self._used == len(self._bank):
            self._bank, self._plain = (torch.cat([bank, torch.zeros_like(bank)]) for bank in (self._bank, self._plain))
        self._bank[self._used] = self._mask(bits, may_end=situation.may_end)
        self._plain[self._used] = self._mask(self.choices.plain_tokens(situation), may_end=situation.may_end)
        self._used += 1
        return self._used - 1

    def _mask(self, bits: int, *, may_end: bool) -> Tensor:
        """Tokens given as bits, and the end if it may come, as a mask ``[V]``."""
        packed = np.frombuffer(bits.to_bytes(len(self._order) // 8 + 1, "little"), np.uint8)
        chosen = self._order[np.unpackbits(packed, count=len(self._order), bitorder="little").astype(bool)]
        mask = torch.zeros(self._bank.shape[1], dtype=torch.bool)
        mask[torch.from_numpy(chosen)] = True
        if may_end:
            mask[self.eos_ids] = True
        return mask.to(self._bank.device)
