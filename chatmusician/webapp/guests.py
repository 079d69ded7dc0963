"""Who is at the page: each session's conversation, its tunes, and how often it has asked.

A guest is known by the session of the page: reloading the page begins a new conversation. History is kept here, exactly
as it was said, and not read back from the page, which shows text escaped. All of it is bounded: guests (those who were
idle longest are forgotten), turns, tunes, and requests a minute.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from chatmusician.errors import UserError
from chatmusician.generation.chat import Conversation
from chatmusician.generation.generator import Generator
from chatmusician.webapp.answering import Answering

TURNS_MOST = 100
TUNES_MOST = 30
"""Newest tunes of a conversation that can be chosen again."""
MINUTE_S = 60.0


@dataclass(kw_only=True)
class Guest:
    """One session."""

    name: str
    conversation: Conversation | None = None
    tunes: list[str] = field(default_factory=list)
    """ABC of the tunes in the answers, newest last."""
    tunes_before: int = 0
    """How many older tunes are no longer kept."""
    unanswered: str = ""
    """A question whose answer was stopped before its first word, or refused; it can be asked again."""
    answering: Answering | None = None
    """The answer that is being written."""
    requests: deque[float] = field(default_factory=deque)
    """When the requests of the last minute came, on the monotonic clock."""

    def converse(self, generator: Generator, *, reserve: int) -> Conversation:
        """The conversation, with this model from now on."""
        old = self.conversation
        if old is None or old.generator is not generator:
            self.conversation = Conversation(generator=generator, reserve=reserve, turns=old.turns if old else ())
        assert self.conversation is not None
        self.conversation.reserve = reserve
        return self.conversation

    def keep_tunes(self, tunes: Sequence[str]) -> None:
        """Let tunes join those that can be chosen."""
        self.tunes += tunes
        surplus = max(0, len(self.tunes) - TUNES_MOST)
        self.tunes_before += surplus
        del self.tunes[:surplus]

    def stop(self) -> None:
        """Stop the answer that is being written, if one is."""
        if self.answering is not None:
            self.answering.stop()

    def clear(self) -> None:
        """Forget what was said."""
        self.stop()
        self.conversation, self.tunes, self.tunes_before, self.unanswered = None, [], 0, ""


class Guests:
    """The sessions that are known.

    Args:
        most: how many are kept.
        requests_per_minute: questions, drawings and uploads of one session, together.
    """

    def __init__(self, *, most: int = 500, requests_per_minute: int = 60) -> None:
        self.most, self.requests_per_minute = most, requests_per_minute
        self._guests: OrderedDict[str, Guest] = OrderedDict()  # those idle longest first

    def __len__(self) -> int:
        return len(self._guests)

    def meet(self, name: str) -> Guest:
        """The guest of this name, a new one if there is none."""
        guest = self._guests.setdefault(name, Guest(name=name))
        self._guests.move_to_end(name)
        while len(self._guests) > self.most:
            self.leave(next(iter(self._guests)))
        return guest

    def admit(self, name: str) -> Guest:
        """`meet` for a request that costs something.

        Raises:
            UserError: the guest asked too often within a minute.
        """
        guest = self.meet(name)
        now = time.monotonic()
        while guest.requests and now - guest.requests[0] > MINUTE_S:
            guest.requests.popleft()
        if len(guest.requests) >= self.requests_per_minute:
            wait = MINUTE_S - (now - guest.requests[0])
            raise UserError(f"that were {self.requests_per_minute} requests in a minute: wait {wait:.0f} s")
        guest.requests.append(now)
        return guest

    def leave(self, name: str) -> None:
        """Forget a guest and stop what is being written for them."""
        guest = self._guests.pop(name, None)
        if guest is not None:
            guest.stop()

    def close(self) -> None:
        """Forget all."""
        for name in list(self._guests):
            self.leave(name)
