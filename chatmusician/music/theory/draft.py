"""What a topic makes: a question with its right answer and wrong ones, before it has letters, an id and a side.

Conventions that the topics keep:

- ``facts`` is what is asked, without its wording: the kind of question, then what it is about. Questions with equal
  facts have equal answers, and are on the same side of the split.
- Wrong options that sound like the right one are used only where the stem has the word "spelled"; it then asks for
  the one spelling that the letters call for.
- Where several options may be wrong by degrees, the near ones are drawn by lot, so that the right one is not always in
  the middle.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

from chatmusician.music.theory.spelling import Pitch


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A question without letters. ``wrong`` has three options, all different from ``answer`` and each other."""

    facts: str
    stem: str
    answer: str
    wrong: tuple[str, str, str]
    explanation: str
    abc: str | None = None


Maker = Callable[[Random], Draft | None]
"""Draws a question of one kind and level; None where the lot fell on something that cannot be asked."""


def draft(
    rng: Random,
    facts: Sequence[object],
    wordings: Sequence[str],
    *,
    answer: object,
    wrong: Iterable[object],
    because: str,
    abc: str | None = None,
    **values: Any,
) -> Draft | None:
    """Word a question, and draw three of the wrong options.

    ``values`` fill the wordings and ``because``, where ``answer`` is known too. None if fewer than three wrong options
    are left once the right one and repetitions are taken out.
    """
    right = str(answer)
    pool = [option for option in dict.fromkeys(map(str, wrong)) if option != right]
    if len(pool) < 3:
        return None
    first, second, third = rng.sample(pool, 3)
    return Draft(
        facts=" ".join(map(str, facts)),
        stem=rng.choice(wordings).format(**values),
        answer=right,
        wrong=(first, second, third),
        explanation=because.format(**values, answer=right),
        abc=abc,
    )


def numbers_near(rng: Random, right: int, *, low: int = 0, step: int = 1) -> list[int]:
    """Three wrong numbers, the right one being by lot the smallest, the largest or between them."""
    rank = rng.randint(0, min(3, (right - low) // step))
    return [right + step * (place - rank) for place in range(4) if place != rank]


def a(text: str) -> str:
    """The text with its indefinite article, by its sound: a C major triad, an F major triad, an eighth note."""
    return f"{'an' if text[0] in 'aeioAEF8' else 'a'} {text}"


def names(pitches: Iterable[Pitch]) -> str:
    """Names of pitches in a row: ``C E G``."""
    return " ".join(pitch.name for pitch in pitches)


def pick_unlike(pitches: Iterable[Pitch], right: Iterable[Pitch]) -> list[Pitch]:
    """One pitch of each sound, without those that sound like one of ``right``."""
    taken = {pitch.sound for pitch in right}
    kept = []
    for pitch in pitches:
        if pitch.sound not in taken:
            taken.add(pitch.sound)
            kept.append(pitch)
    return kept


def rows_unlike(rows: Iterable[tuple[Pitch, ...]], right: tuple[Pitch, ...]) -> list[tuple[Pitch, ...]]:
    """One row of each sound, without those that sound like ``right``."""
    kept = {tuple(note.sound for note in right): right}
    for row in rows:
        kept.setdefault(tuple(note.sound for note in row), row)
    return list(kept.values())[1:]


def count_of(number: int | Fraction, thing: str) -> str:
    """A number with its noun: ``1 sharp``, ``2 sharps``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
