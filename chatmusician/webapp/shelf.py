"""Tunes drawn and played for the page: their files, each tune in a folder of its own, for a limited time.

Flow: ABC of an answer or of the editor -> `Shelf.put` -> files in the folder of this run -> ``cards`` shows them,
``server`` serves them. A folder's name cannot be guessed, so a tune is seen by those who were given its card. The shelf
is bounded four ways: how many tunes are drawn at once (each is half a dozen child processes), how many wait, how long
a folder stays, and how many bytes all folders have; what goes first is what was asked for least recently. The same
text is drawn once.
"""

import asyncio
import hashlib
import re
import secrets
import shutil
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.generation.tune_output import faults
from chatmusician.music.rendering import Rendering, render
from chatmusician.music.sanitising import TEXT_CHARACTERS

FORMATS = ("png", "mid", "wav", "musicxml", "pdf")
STEM = "tune"

_TITLE = re.compile(r"^T:[ \t]*(\S[^\n]*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Shelved:
    """A tune on the shelf."""

    key: str
    """The name of its folder."""
    abc: str
    files: tuple[str, ...]
    """Names of its files, the ABC first, then those of `FORMATS` that could be made."""
    problems: tuple[str, ...]
    """What is wrong with the notation, what was taken out of it, and what could not be made: one line each."""

    @property
    def title(self) -> str:
        """The first ``T:`` field; empty where the tune has none."""
        return title_of(self.abc)


@dataclass(frozen=True, kw_only=True)
class _Place:
    shelved: Shelved
    size: int
    since: float
    """On the monotonic clock, in seconds."""


class Shelf:
    """See the module's docstring.

    Args:
        folder: where the tunes' folders are; it exists, and nothing else is in it.
        at_once: most tunes that are drawn at the same time.
        waiting: most tunes that wait to be.
        minutes: how long a tune's files stay.
        mebibytes: size of all files together. The newest tune stays whatever its size (one of ten minutes has 110).
    """

    def __init__(
        self, folder: Path, *, at_once: int = 2, waiting: int = 32, minutes: float = 60, mebibytes: float = 1024
    ) -> None:
        self.folder, self.waiting = folder, waiting
        self._seconds, self._bytes = 60 * minutes, mebibytes * 2**20
        self._places: OrderedDict[str, _Place] = OrderedDict()  # by the hash of the text, least recently asked first
        self._drawing: dict[str, asyncio.Task[Shelved]] = {}
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="shelf")
        self._most_drawing = at_once + waiting

    async def put(self, abc: str) -> Shelved:
        """Draw and play a tune, or find it again.

        Raises:
            UserError: the text is empty or too long, or too many tunes wait to be drawn.
        """
        if not abc.strip():
            raise UserError("there is no tune: write one in ABC notation, from X:1 and K: on")
        if len(abc) > TEXT_CHARACTERS:
            raise UserError(f"the tune has {len(abc)} characters: the most is {TEXT_CHARACTERS}; split it")
        self.tidy()
        name = hashlib.sha256(abc.encode("utf-8", "surrogatepass")).hexdigest()
        if name in self._places:
            self._places.move_to_end(name)
            return self._places[name].shelved
        if name not in self._drawing:
            if len(self._drawing) >= self._most_drawing:
                raise UserError(f"{self.waiting} tunes wait to be drawn: try again in a minute")
            task = asyncio.create_task(self._draw(name, abc))
            self._drawing[name] = task
            task.add_done_callback(lambda _: self._drawing.pop(name))
        # Whoever leaves meanwhile does not take the drawing from others who asked for the same tune.
        return await asyncio.shield(self._drawing[name])

    def path(self, key: str, name: str) -> Path | None:
        """A file of a tune on the shelf; None if there is no such tune or file (any more)."""
        self.tidy()
        for text, place in self._places.items():
            if place.shelved.key == key and name in place.shelved.files:
                self._places.move_to_end(text)
                return self.folder / key / name
        return None

    def tidy(self) -> None:
        """Remove what has stood too long, and what is too much."""
        now = time.monotonic()
        old = [name for name, place in self._places.items() if now - place.since > self._seconds]
        for name in old:
            self._remove(name)
        while len(self._places) > 1 and sum(place.size for place in self._places.values()) > self._bytes:
            self._remove(next(iter(self._places)))

    def close(self) -> None:
        """Draw nothing more; the folder is the caller's to remove."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _draw(self, name: str, abc: str) -> Shelved:
        key = secrets.token_urlsafe(16)
        loop = asyncio.get_running_loop()
        rendering, wrong = await loop.run_in_executor(self._pool, _make, abc, self.folder / key)
        files = tuple(path.name for path in rendering.paths.values())
        shelved = Shelved(key=key, abc=abc, files=files, problems=(*wrong, *rendering.problems))
        size = sum(path.stat().st_size for path in rendering.paths.values())
        self._places[name] = _Place(shelved=shelved, size=size, since=time.monotonic())
        self.tidy()
        return shelved

    def _remove(self, name: str) -> None:
        place = self._places.pop(name)
        shutil.rmtree(self.folder / place.shelved.key, ignore_errors=True)


def title_of(abc: str) -> str:
    """The first ``T:`` field of a tune; empty where it has none."""
    found = _TITLE.search(abc)
    return found[1].strip() if found else ""


def _make(abc: str, folder: Path) -> tuple[Rendering, tuple[str, ...]]:
    return render(abc, folder, stem=STEM, formats=FORMATS), faults(abc)
