"""Multiple-choice questions about music theory, in any number, whose answers are known because they are computed.

Flow: a maker of ``topics`` draws a `Draft` -> `generate` gives it its side of the split, its id and its letters ->
`Question`. Three levels: 1 is what a beginner learns (common keys, natural notes, plain note values), 2 the usual
curriculum, 3 what takes several steps (double accidentals, rarer scales, compound intervals, tuplets).

The split is by content: a hash of what is asked, wording aside, puts eight tenths of it in ``train`` and a tenth each
in ``validation`` and ``test``. No seed, level or wording moves it, so a training run never meets a question of the test
split in other words.

A run asks nothing twice as long as that can be. In training a topic and level that has nothing new to ask repeats what
it asked in other words, or with other wrong options; in validation and test it does not, so that every question counts
once. One that is exhausted is left out and the others go on; `generate` ends early only if all are, and so gives fewer
questions than asked for.

100,000 training questions take 46 s in one process (130,000 a minute, on one of two busy cores).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from chatmusician.errors import UserError
from chatmusician.music.theory.draft import Draft, Maker
from chatmusician.music.theory.topics import (
    abc_keys,
    abc_pitch,
    abc_rhythm,
    chords,
    intervals,
    key_signatures,
    meters,
    note_values,
    roman_numerals,
    scales,
    transposition,
)

TOPICS: dict[str, dict[int, tuple[Maker, ...]]] = {
    "intervals": intervals.MAKERS,
    "scales": scales.MAKERS,
    "key_signatures": key_signatures.MAKERS,
    "chords": chords.MAKERS,
    "roman_numerals": roman_numerals.MAKERS,
    "transposition": transposition.MAKERS,
    "note_values": note_values.MAKERS,
    "meters": meters.MAKERS,
    "abc_pitch": abc_pitch.MAKERS,
    "abc_keys": abc_keys.MAKERS,
    "abc_rhythm": abc_rhythm.MAKERS,
}
"""The makers of each topic by level."""
ALL = tuple(TOPICS)
LEVELS = (1, 2, 3)
LETTERS = "ABCD"
"""The letters of the four options."""

_SHARES = {"validation": (0.0, 0.1), "test": (0.1, 0.2), "train": (0.2, 1.0)}
_PATIENCE = 100
"""Known questions in a row after which a topic and level counts as exhausted."""
_DRAWS = 2000
"""Draws in a row, those of the other splits among them, after which it does so too."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with four options, one of which is right."""

    id: str
    """A hash of the stem, the music and the options, whatever their order."""
    topic: str
    level: int
    """1 to 3."""
    stem: str
    abc: str | None
    """The tune that the stem asks about."""
    options: tuple[str, str, str, str]
    answer: int
    """Index of the right option, 0 to 3."""
    explanation: str
    """One or two sentences that lead to the answer."""
    facts: str
    """What is asked, without its wording; decides the side of the split."""

    @property
    def text(self) -> str:
        """The question as it is put: stem, tune if there is one, options with their letters."""
        options = [f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=True)]
        return "\n".join([self.stem, *([self.abc] if self.abc else []), *options])

    @property
    def answer_text(self) -> str:
        """The right option with its letter: ``B. minor third``."""
        return f"{LETTERS[self.answer]}. {self.options[self.answer]}"


@dataclass
class _Cell:
    """A topic at a level, with what it has asked."""

    topic: str
    level: int
    makers: tuple[Maker, ...]
    rewording: bool = False
    """True once nothing new is left to ask, only other words."""


def side_of(facts: str) -> str:
    """The split that questions with these facts are in."""
    share = int.from_bytes(hashlib.sha256(facts.encode()).digest()[:8]) / 2**64
    return next(split for split, (low, high) in _SHARES.items() if low <= share < high)


def generate(
    *, seed: int, count: int, topics: Sequence[str] = ALL, levels: Sequence[int] = LEVELS, split: str = "train"
) -> Iterator[Question]:
    """At most ``count`` different questions, topic by topic and level by level in turn.

    A pure function of its arguments: ``count`` only says where to stop, so the first questions of a longer run are
    those of a shorter one.

    Raises:
        UserError: a topic, a level or the split is unknown, or none is asked for, or ``count`` is negative.
    """
    check_choice(topics=topics, levels=levels)
    if split not in _SHARES:
        raise UserError(f"unknown split {split!r}; use one of {', '.join(_SHARES)}")
    if count < 0:
        raise UserError(f"count={count}: use 0 or more questions")
    return _generate(seed, count, tuple(topics), tuple(levels), split)


def check_choice(*, topics: Sequence[str], levels: Sequence[int]) -> None:
    """Refuse topics and levels that are not there.

    Raises:
        UserError: one is unknown or there is none.
    """
    if unknown := [topic for topic in topics if topic not in TOPICS]:
        raise UserError(f"unknown topic {unknown[0]!r}; use some of {', '.join(TOPICS)}")
    if unknown_levels := [level for level in levels if level not in LEVELS]:
        raise UserError(f"unknown level {unknown_levels[0]!r}; use some of 1, 2 and 3")
    if not topics or not levels:
        raise UserError("a quiz needs at least one topic and one level")


def _generate(
    seed: int, count: int, topics: tuple[str, ...], levels: tuple[int, ...], split: str
) -> Iterator[Question]:
    rng = Random(f"{seed} {split}")
    cells = [
        _Cell(topic=topic, level=level, makers=TOPICS[topic][level])
        for level in dict.fromkeys(levels)
        for topic in dict.fromkeys(topics)
    ]
    asked: set[str] = set()
    ids: set[str] = set()
    made = turn = 0
    while cells and made < count:
        cell = cells[turn % len(cells)]
        question = _next(rng, cell, split, asked, ids)
        if question is None:
            cells.remove(cell)
            continue
        turn += 1
        made += 1
        yield question


def _next(rng: Random, cell: _Cell, split: str, asked: set[str], ids: set[str]) -> Question | None:
    """The next question of a cell, None if it is exhausted."""
    while True:
        known = 0
        for _ in range(_DRAWS):
            draft = rng.choice(cell.makers)(rng)
            if draft is None or side_of(draft.facts) != split:
                continue
            question = _question(rng, cell, draft)
            if question.id not in ids and (cell.rewording or draft.facts not in asked):
                asked.add(draft.facts)
                ids.add(question.id)
                return question
            known += 1
            if known == _PATIENCE:
                break
        if cell.rewording or split != "train":
            return None
        cell.rewording = True


def _question(rng: Random, cell: _Cell, draft: Draft) -> Question:
    answer = rng.randrange(4)
    options = list(draft.wrong)
    options.insert(answer, draft.answer)
    content = "\n".join([draft.stem, draft.abc or "", *sorted(options)])
    first, second, third, fourth = options
    return Question(
        id=hashlib.sha256(content.encode()).hexdigest()[:16],
        topic=cell.topic,
        level=cell.level,
        stem=draft.stem,
        abc=draft.abc,
        options=(first, second, third, fourth),
        answer=answer,
        explanation=draft.explanation,
        facts=draft.facts,
    )
