"""Conversations at the desk: history exactly as it was said, limits, stops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from taught_model import ANSWERS, ENDLESS, MARKUP

from chatmusician.data.prompts import Turn
from chatmusician.generation.backends.backend import BASE
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loading import load_generator
from chatmusician.generation.service import Service
from chatmusician.webapp.desk import Desk, Settings, View
from chatmusician.webapp.guests import Guests
from chatmusician.webapp.shelf import Shelf

GREEDY = Decoding(temperature=0, repetition_penalty=1, min_new_tokens=1, max_new_tokens=400)
SETTINGS = Settings(model="taught", adapter=BASE, decoding=GREEDY)


@pytest.fixture
def desk(taught: Path, tmp_path: Path) -> Iterator[Desk]:
    service = Service(load_generator(model=str(taught), device="cpu"))
    guests = Guests(most=2, requests_per_minute=4)
    desk = Desk(services={"taught": service}, shelf=Shelf(tmp_path), guests=guests, question_characters=100)
    yield desk
    desk.close()


async def last(views: AsyncIterator[View]) -> View:
    seen = [view async for view in views]
    return seen[-1]


def test_history_is_what_was_said_and_not_what_was_shown(desk: Desk) -> None:
    async def talk() -> None:
        await last(desk.ask("me", "Show me markup.", SETTINGS))
        conversation = desk.guests.meet("me").conversation
        assert conversation is not None
        assert conversation.turns == (Turn(question="Show me markup.", answer=MARKUP),)
        assert conversation.prompt("More?").history == conversation.turns

    asyncio.run(talk())


def test_a_stopped_answer_is_kept_as_far_as_it_came_and_asked_again(desk: Desk) -> None:
    async def talk() -> None:
        views = desk.ask("me", ENDLESS, SETTINGS)
        async for view in views:
            if view.turns and view.turns[-1].answer:
                desk.stop("me")
        turns = desk.guests.meet("me").conversation.turns
        assert len(turns) == 1
        assert ("la " * 400).startswith(turns[0].answer)
        again = await last(desk.again("me", SETTINGS))
        assert len(again.turns) == 1
        assert "Stopped" not in again.status
        assert desk.load() == (0, 0)

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("???", "has no letters in it"),
        ("a" * 101, "the question has 101 characters: the most is 100"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(desk: Desk, question: str, reason: str) -> None:
    view = asyncio.run(last(desk.ask("me", question, SETTINGS)))
    assert "role='alert'" in view.status
    assert reason in view.status


def test_too_many_requests_and_two_at_once_are_refused(desk: Desk) -> None:
    async def talk() -> None:
        views = desk.ask("me", ENDLESS, SETTINGS)
        await anext(views)
        assert "an answer is being written" in (await last(desk.ask("me", "And?", SETTINGS))).status
        desk.stop("me")
        await last(views)
        for _ in range(2):
            await desk.draw("me", "")
        assert "that were 4 requests in a minute: wait" in (await desk.draw("me", "")).card
        assert "there is no tune" in (await desk.draw("another", "")).card

    asyncio.run(talk())


def test_of_many_guests_those_idle_longest_are_forgotten(desk: Desk) -> None:
    for name in ("one", "two", "one", "three"):
        desk.guests.meet(name)
    assert len(desk.guests) == 2
    assert "There is no question yet" in asyncio.run(last(desk.again("two", SETTINGS))).status


def test_tunes_of_an_answer_can_be_chosen(desk: Desk) -> None:
    async def talk() -> None:
        views = [view async for view in desk.ask("me", "Write two tunes.", SETTINGS)]
        assert views[-2].turns[-1].answer == ANSWERS["Write two tunes."]
        assert views[-2].tunes == ("1. The Test Scale", "2. The Test Waltz")
        assert "The Test Waltz" in views[-1].card
        chosen = await desk.choose("me", "1. The Test Scale")
        assert chosen.abc.startswith("X:1\nT:The Test Scale")
        assert "no longer here" in (await desk.choose("me", "9. Another")).card

    asyncio.run(talk())
