"""Tunes on the shelf: drawn once, found by those who know the key, gone in time."""

import asyncio
from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.webapp.cards import card
from chatmusician.webapp.shelf import Shelf

TUNE = "X:1\nT:{}\nM:4/4\nL:1/4\nK:C\nCDEF |]"


def test_a_tune_is_drawn_once_however_many_ask(tmp_path: Path) -> None:
    async def ask() -> None:
        shelf = Shelf(tmp_path)
        first, second = await asyncio.gather(shelf.put(TUNE.format("One")), shelf.put(TUNE.format("One")))
        assert first is second
        assert await shelf.put(TUNE.format("One")) is first
        assert [folder.name for folder in tmp_path.iterdir()] == [first.key]
        assert first.files == ("tune.abc", "tune.png", "tune.mid", "tune.wav", "tune.musicxml", "tune.pdf")
        for name in first.files:
            assert shelf.path(first.key, name) == tmp_path / first.key / name
        assert shelf.path(first.key, "../tune.abc") is None
        assert shelf.path("", first.key) is None
        shelf.close()

    asyncio.run(ask())


@pytest.mark.parametrize(("minutes", "mebibytes"), [(0.0, 1024.0), (60.0, 0.001)])
def test_files_go_when_they_are_old_or_too_many(tmp_path: Path, minutes: float, mebibytes: float) -> None:
    async def ask() -> None:
        shelf = Shelf(tmp_path, minutes=minutes, mebibytes=mebibytes)
        first = await shelf.put(TUNE.format("One"))
        second = await shelf.put(TUNE.format("Two"))
        assert shelf.path(first.key, "tune.abc") is None
        assert not (tmp_path / first.key).exists()
        assert (shelf.path(second.key, "tune.abc") is None) == (minutes == 0)
        shelf.close()

    asyncio.run(ask())


def test_those_who_would_wait_too_long_are_told(tmp_path: Path) -> None:
    async def ask() -> None:
        shelf = Shelf(tmp_path, at_once=1, waiting=1)
        tunes = [shelf.put(TUNE.format(number)) for number in range(3)]
        ends = await asyncio.gather(*tunes, return_exceptions=True)
        assert [isinstance(end, UserError) for end in ends] == [False, False, True]
        assert str(ends[2]) == "1 tunes wait to be drawn: try again in a minute"
        shelf.close()

    asyncio.run(ask())


def test_a_card_escapes_all_that_a_tune_says(tmp_path: Path) -> None:
    async def ask() -> None:
        shelf = Shelf(tmp_path)
        shelved = await shelf.put(TUNE.format("'><script>alert(1)</script>") + "<")
        markup = card(shelved)
        assert "<script" not in markup
        assert "&#x27;&gt;&lt;script&gt;" in markup
        shelf.close()

    asyncio.run(ask())
