"""Mixtures: how many rows of which sources are trained on.

Flow: every unit is read once for its `Census` (the source of each row, no tokenising) -> `Mixture.plan` draws rows ->
the units that hold drawn rows are read again, now as documents. What is drawn is a function of the seed and of the
corpus's rows, and of nothing else.

A mixture is parts with shares. Each part is a pool of rows, named by its categories and sources with ``+`` between::

    rows: 78000
    shares: {verbal+math: 2, score: 1}      52,000 rows of the first pool, 26,000 of the second
    repeats: {bach: 10}                     each row of bach is in its pools ten times

A pool smaller than its share gives what it has; the manifest says what is missing.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from chatmusician.data.units import Rejection
from chatmusician.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Census:
    """The rows of a unit: which source each is of (a place in ``names``, -1 where there is no document), [rows].

    ``trains`` [rows] is False for rows that are held out. ``passed`` counts rows of sources that are not to be kept.
    """

    names: tuple[str, ...]
    sources: npt.NDArray[np.int32]
    trains: npt.NDArray[np.bool_]
    passed: dict[str, int]
    rejections: tuple[Rejection, ...]
    files: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a mixture takes.

    ``copies`` says for each unit how often each of its rows is trained on, [rows]; ``held_out`` which are kept for
    validation and test, [rows]. ``rows`` and ``files`` count what was looked at. ``report`` is for the manifest:
    ``pools`` (of each what was asked, taken and missing, and of which sources) and ``left_out``, the rows by source
    that no pool asks for.
    """

    copies: list[npt.NDArray[np.uint16]]
    held_out: list[npt.NDArray[np.bool_]]
    rejections: tuple[Rejection, ...]
    rows: int
    files: int
    report: dict[str, Any]


class Mixture:
    """A choice of rows by their source.

    Args:
        name: of the mixture, in folders and manifests.
        categories: name of a category -> the sources in it. A row is of a source if its own source's name contains the
            source's, without regard to case, and with ``-``, ``_`` and spaces the same.
        shares: pool -> share; see the module. Empty: all rows of all categories.
        rows: how many rows are drawn for training; None takes all of each pool, whatever the shares.
        repeats: source or category -> how often its rows are in their pools.
        seed: of the draw.

    Raises:
        UserError: a name is in no category, or a number is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        categories: Mapping[str, Sequence[str]],
        shares: Mapping[str, float] | None = None,
        rows: int | None = None,
        repeats: Mapping[str, int] | None = None,
        seed: int = 1234,
    ) -> None:
        self.name = name
        self._categories = {name: tuple(sources) for name, sources in categories.items()}
        self._known = tuple(dict.fromkeys(source for sources in self._categories.values() for source in sources))
        self._shares = dict(shares or {"+".join(self._categories): 1.0})
        self._rows = rows
        self._repeats = dict(repeats or {})
        self._seed = seed
        for name in (*(part for pool in self._shares for part in pool.split("+")), *self._repeats):
            if not self._sources_of(name):
                known = ", ".join(dict.fromkeys((*self._categories, *self._known)))
                raise UserError(f"corpus.mixture: {name!r} is no category or source; use some of {known}")
        if rows is not None and rows < 1:
            raise UserError(f"corpus.mixture.rows={rows}: use at least 1 row, or null for all")
        for key, numbers in (("shares", self._shares), ("repeats", self._repeats)):
            for name, number in numbers.items():
                if number <= 0:
                    raise UserError(f"corpus.mixture.{key}.{name}={number}: use a number above 0")
                if key == "repeats" and number != int(number):
                    raise UserError(f"corpus.mixture.repeats.{name}={number}: use a whole number")

    def describe(self) -> dict[str, Any]:
        """What decides the draw: JSON values."""
        return {
            "name": self.name,
            "categories": {name: list(sources) for name, sources in self._categories.items()},
            "shares": self._shares,
            "rows": self._rows,
            "repeats": self._repeats,
            "seed": self._seed,
        }

    def knows(self, source: str) -> bool:
        """Whether a row's source is in some category."""
        return is_of(source, self._known)

    def _sources_of(self, name: str) -> tuple[str, ...]:
        return self._categories.get(name) or ((name,) if name in self._known else ())

    def plan(self, censuses: Sequence[Census]) -> Plan:
        """Draw rows from those of all units."""
        names = tuple(dict.fromkeys(name for census in censuses for name in census.names))
        sources, trains, ends = _joined(censuses, names)
        copies = np.zeros(len(sources), np.uint16)
        pooled = np.zeros(len(names), np.bool_)
        pools = {}
        for pool, share in zip(self._shares, self._rows_asked(), strict=True):
            of_pool = np.array([is_of(name, self._in_pool(pool)) for name in names], np.bool_)
            pooled |= of_pool
            rows = np.flatnonzero(trains & np.append(of_pool, False)[sources])
            there = np.repeat(rows, np.append(self._repeats_of(names), 0)[sources[rows]])
            asked = len(there) if share is None else share
            drawn = self._draw(pool, there, asked)
            np.add.at(copies, drawn, 1)
            pools[pool] = {
                "asked": asked,
                "taken": len(drawn),
                "missing": asked - len(drawn),
                "sources": {
                    name: {"rows": int((sources[rows] == code).sum()), "taken": int((sources[drawn] == code).sum())}
                    for code, name in enumerate(names)
                    if of_pool[code]
                },
            }
        held_out = (sources >= 0) & ~trains & np.append(pooled, False)[sources]
        left_out = Counter({name: int((sources == code).sum()) for code, name in enumerate(names) if not pooled[code]})
        for census in censuses:
            left_out.update(census.passed)
        rejections = tuple(rejection for census in censuses for rejection in census.rejections)
        return Plan(
            copies=np.split(copies, ends)[:-1],
            held_out=np.split(held_out, ends)[:-1],
            rejections=rejections,
            rows=len(sources) - sum(rejection.lost_file for rejection in rejections),
            files=sum(census.files for census in censuses),
            report={"pools": pools, "left_out": dict(sorted(left_out.items()))},
        )

    def _in_pool(self, pool: str) -> tuple[str, ...]:
        return tuple(source for name in pool.split("+") for source in self._sources_of(name))

    def _repeats_of(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        times = np.ones(len(names), np.int64)
        for repeated, count in self._repeats.items():
            times[[is_of(name, self._sources_of(repeated)) for name in names]] = count
        return times

    def _rows_asked(self) -> list[int] | list[None]:
        """The rows of each pool, which add up to those of the mixture; None for all that there are."""
        if self._rows is None:
            return [None] * len(self._shares)
        whole = sum(self._shares.values())
        ends = [round(self._rows * end / whole) for end in accumulate(self._shares.values(), initial=0.0)]
        return [end - start for start, end in pairwise(ends)]

    def _draw(self, pool: str, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        if count >= len(rows):
            return rows
        key = int.from_bytes(hashlib.sha256(pool.encode()).digest()[:8])
        return np.random.default_rng([self._seed, key]).choice(rows, count, replace=False)


def _joined(
    censuses: Sequence[Census], names: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """The sources of all rows as places in one list of names, whether they are for training, and where units end."""
    place = {name: code for code, name in enumerate(names)}
    sources = [
        np.append(np.array([place[name] for name in census.names], np.int64), -1)[census.sources] for census in censuses
    ]
    return (
        np.concatenate([np.zeros(0, np.int64), *sources]),
        np.concatenate([np.zeros(0, np.bool_), *(census.trains for census in censuses)]),
        np.cumsum([len(part) for part in sources], dtype=np.int64),
    )


@lru_cache(maxsize=1 << 14)
def is_of(source: str, names: tuple[str, ...]) -> bool:
    """Whether the name of a row's source contains one of some names; see `Mixture`. Asked of every row."""
    return any(_plain(name) in _plain(source) for name in names)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.lower())
