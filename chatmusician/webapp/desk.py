"""What the page's buttons do, without Gradio: questions in, views of the conversation and of tunes out.

Flow: an event of ``page`` -> `Desk` -> the model's `Service` (answers) and the `Shelf` (tunes) -> `View`s, one after
the other while an answer is written. What a visitor can mend is a view that says so, not an exception. Texts in a view
are plain but for ``status`` and ``card``, which are markup that `chatmusician.webapp.cards` has escaped.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from chatmusician.data.prompts import Turn
from chatmusician.errors import UserError
from chatmusician.generation.chat import Conversation, reserve_of
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.prompting import check_question
from chatmusician.generation.service import Request, Service
from chatmusician.generation.tune_output import tunes_in
from chatmusician.music.extraction import extract_tune
from chatmusician.webapp.answering import Answering
from chatmusician.webapp.cards import EMPTY, card, notice, notices
from chatmusician.webapp.guests import TURNS_MOST, Guest, Guests
from chatmusician.webapp.shelf import Shelf, title_of
from chatmusician.webapp.uploads import Material, read_upload

SEED_DIGITS = 18
TITLE_CHARACTERS = 40
"""Length of a title among the tunes to choose from."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an answer is to be made."""

    model: str
    """The name of a loaded model."""
    adapter: str
    """The name of one of its adapters, or `chatmusician.generation.backends.backend.BASE`."""
    decoding: Decoding


@dataclass(frozen=True, kw_only=True)
class View:
    """What the page shows from now on. None leaves a thing as it is."""

    turns: tuple[Turn, ...] | None = None
    """The conversation; the answer of the last turn may be unfinished, or None."""
    question: str | None = None
    """What stands in the field for questions."""
    status: str | None = None
    card: str | None = None
    abc: str | None = None
    """What stands in the editor."""
    tunes: tuple[str, ...] | None = None
    """Names of the tunes that can be chosen, the newest last; it is the one chosen."""


class Desk:
    """See the module's docstring.

    Args:
        services: the loaded models by their names.
        shelf: where tunes are drawn and played.
        guests: who is there.
        question_characters: length of a question.
    """

    def __init__(
        self, *, services: Mapping[str, Service], shelf: Shelf, guests: Guests, question_characters: int = 8000
    ) -> None:
        self.services, self.shelf, self.guests = dict(services), shelf, guests
        self.question_characters = question_characters

    async def ask(self, who: str, question: str, settings: Settings) -> AsyncIterator[View]:
        """Answer a question, then draw and play the newest tune of the answer."""
        try:
            guest = self.guests.admit(who)
            self._check(guest, question)
            service = self._service(settings)
        except UserError as error:
            yield View(status=notice(f"{error}.", fault=True))
            return
        conversation = guest.converse(service.generator, reserve=reserve_of(service.generator, settings.decoding))
        dropped = conversation.dropped
        answering = Answering(
            lambda: service.ask(
                Request(
                    prompt=conversation.prompt(question),
                    decoding=settings.decoding,
                    adapter=settings.adapter,
                    who=who,
                )
            ),
            withdraw=lambda: service.withdraw(who),
        )
        guest.answering, guest.unanswered = answering, question
        before = conversation.turns
        try:
            yield View(turns=(*before, Turn(question=question)), question="", status=notice(_waiting(service)))
            async for text in answering.texts():
                turn = Turn(question=question, answer=text)
                yield View(turns=(*before, turn), status=notice("Writing. Escape or Stop ends it."))
        except UserError as error:
            yield View(turns=before, question=question, status=notice(f"{error}.", fault=True))
            return
        finally:
            answering.stop_unless_ended()
            guest.answering = None
        if guest.conversation is conversation:
            async for view in self._conclude(guest, conversation, question, answering, dropped=dropped):
                yield view

    async def again(self, who: str, settings: Settings) -> AsyncIterator[View]:
        """Answer the last question anew."""
        guest = self.guests.meet(who)
        question = guest.unanswered
        if guest.answering is None and not question and guest.conversation is not None and guest.conversation.turns:
            question = guest.conversation.turns[-1].question
            guest.conversation.take_back()
        if not question:
            yield View(status=notice("There is no question yet to answer again."))
            return
        async for view in self.ask(who, question, settings):
            yield view

    def stop(self, who: str) -> None:
        """Stop the answer that is being written for a guest."""
        self.guests.meet(who).stop()

    def clear(self, who: str) -> View:
        """Begin a new conversation."""
        self.guests.meet(who).clear()
        return View(turns=(), question="", status="", card=EMPTY, abc="", tunes=())

    async def choose(self, who: str, name: str) -> View:
        """Show one of the conversation's tunes, by the name that a view gave it."""
        guest = self.guests.meet(who)
        names = _names(guest)
        if name not in names:
            return View(card=notice("This tune is no longer here.", fault=True))
        abc = guest.tunes[names.index(name)]
        return View(abc=abc, card=await self._card(abc))

    async def draw(self, who: str, abc: str) -> View:
        """Draw and play what stands in the editor."""
        try:
            self.guests.admit(who)
        except UserError as error:
            return View(card=notice(f"{error}.", fault=True))
        return View(card=await self._card(abc))

    async def take_up(self, who: str, name: str, content: bytes) -> Material:
        """Read a visitor's file.

        Raises:
            UserError: it cannot be read as a tune, or the guest asked too often.
        """
        self.guests.admit(who)
        return await asyncio.to_thread(read_upload, name, content)

    def load(self) -> tuple[int, int]:
        """How many answers are written, and how many questions wait."""
        services = self.services.values()
        return sum(service.live for service in services), sum(service.waiting for service in services)

    def close(self) -> None:
        """Stop everything."""
        self.guests.close()
        self.shelf.close()
        for service in self.services.values():
            service.close()

    async def _conclude(
        self, guest: Guest, conversation: Conversation, question: str, answering: Answering, *, dropped: int
    ) -> AsyncIterator[View]:
        """Let an answer join the history, and show what is in it."""
        text, answer = answering.text, answering.answer
        remarks = ["Stopped."] if answer is None else [f"{answer.tokens} tokens in {answer.seconds:.1f} s."]
        if answer is not None and answer.cut:
            remarks.append(f"The answer was {answer.cut}.")
        if text:
            conversation.add(question, text)
            guest.unanswered = ""
        if conversation.dropped > dropped:
            remarks.append(f"The model's window is full: it no longer sees the first {conversation.dropped} turns.")
        tunes = await asyncio.to_thread(tunes_in, text)
        if not tunes:
            if text and answer is not None:
                remarks.append(f"No tune: {extract_tune(text).reason}.")
            yield View(turns=conversation.turns, status=notices(tuple(remarks)))
            return
        guest.keep_tunes(tunes)
        yield View(
            turns=conversation.turns,
            status=notices(tuple(remarks)),
            tunes=_names(guest),
            abc=tunes[-1],
            card=notice("Drawing and playing the tune ..."),
        )
        yield View(card=await self._card(tunes[-1]))

    async def _card(self, abc: str) -> str:
        try:
            return card(await self.shelf.put(abc))
        except UserError as error:
            return notice(f"{error}.", fault=True)

    def _check(self, guest: Guest, question: str) -> None:
        check_question(question, source="the question")
        if len(question) > self.question_characters:
            raise UserError(f"the question has {len(question)} characters: the most is {self.question_characters}")
        if guest.answering is not None:
            raise UserError("an answer is being written: wait for its end, or stop it")
        if guest.conversation is not None and len(guest.conversation.turns) >= TURNS_MOST:
            raise UserError(f"this conversation has {TURNS_MOST} turns: begin a new one")

    def _service(self, settings: Settings) -> Service:
        service = self.services.get(settings.model)
        if service is None:
            raise UserError(f"there is no model {settings.model!r}: choose one of {', '.join(self.services)}")
        return service


def with_seed(decoding: Decoding, seed: str) -> Decoding:
    """The settings with a seed: the one given, or another one each time.

    Raises:
        UserError: it is no number, or out of range.
    """
    typed = seed.strip()
    if typed and not (typed.isascii() and typed.isdigit() and len(typed) <= SEED_DIGITS):
        raise UserError(f"the seed {typed[:40]!r} is no whole number of at most {SEED_DIGITS} digits: leave it empty")
    return replace(decoding, seed=int(typed) if typed else secrets.randbelow(2**31))


def _waiting(service: Service) -> str:
    return f"{service.waiting} questions wait, yours among them." if service.waiting else "Reading the question."


def _names(guest: Guest) -> tuple[str, ...]:
    """A name for each tune that can be chosen: its number in the conversation, and its title."""
    numbered = enumerate(guest.tunes, start=guest.tunes_before + 1)
    return tuple(f"{number}. {title_of(abc)[:TITLE_CHARACTERS] or 'Untitled'}" for number, abc in numbered)
