"""Questions about meters: their kinds and beats, what fills and completes a bar."""

from fractions import Fraction
from random import Random

from chatmusician.music.theory.draft import Draft, Maker, a, count_of, draft, numbers_near
from chatmusician.music.theory.scales import ORDINALS
from chatmusician.music.theory.values import (
    COUNTS,
    DOTTED,
    METERS,
    PLAIN,
    VALUES,
    beat_of,
    beats_of,
    compound,
    kind_of,
    length_of,
    listed,
    written,
)

_USUAL = ((2, 4), (3, 4), (4, 4), (6, 8), (2, 2), (9, 8), (12, 8))
_METERS = {1: _USUAL[:4], 2: (*_USUAL, (4, 8), (3, 2), (6, 4)), 3: METERS}
_POOLS = {1: PLAIN, 2: PLAIN | DOTTED, 3: VALUES}


def fill(rng: Random, length: Fraction, level: int) -> tuple[Fraction, ...] | None:
    """Notes drawn by lot that fill a length; None if a remainder is left that no note has."""
    pool = [value for value in _POOLS[level] if Fraction(1, 32) < value <= Fraction(1, 2)]
    notes: list[Fraction] = []
    left = length
    while left and len(notes) < 8:
        fitting = [value for value in pool if value <= left]
        if not fitting:
            return None
        notes.append(rng.choice(fitting))
        left -= notes[-1]
    return None if left else tuple(notes)


def _kind(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        return draft(
            rng,
            ("meters.kind", written(meter)),
            (
                "What kind of meter is {meter}?",
                "How is {meter} classified, counting dotted beats where its upper number is 6, 9 or 12?",
                "{meter} is an example of which kind of meter?",
            ),
            answer=kind_of(meter),
            wrong=[f"{kind} {count}" for kind in ("simple", "compound") for count in COUNTS],
            because="{meter} has {beats} beats a bar, each {beat}: {answer}.",
            meter=written(meter),
            beats=beats_of(meter),
            beat=a(VALUES[beat_of(meter)]),
        )

    return make


def _beat(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        if rng.random() < 0.5:
            return draft(
                rng,
                ("meters.beat", written(meter)),
                (
                    "Which note value is one beat in {meter}?",
                    "In {meter}, how long is a beat, taking compound meters in dotted beats?",
                ),
                answer=VALUES[beat_of(meter)],
                wrong=[
                    VALUES[length]
                    for length in (*PLAIN, *DOTTED)
                    if length != beat_of(meter) and beat_of(meter) / 4 <= length <= beat_of(meter) * 4
                ],
                because="{meter} has {beats} beats in a bar of {length} of a whole note: {answer}.",
                meter=written(meter),
                beats=beats_of(meter),
                length=length_of(meter),
            )
        return draft(
            rng,
            ("meters.beats", written(meter)),
            (
                "How many beats are there in a bar of {meter}, taking compound meters in dotted beats?",
                "A conductor beats compound meters in dotted beats. How many beats does a bar of {meter} have?",
            ),
            answer=beats_of(meter),
            wrong=[number for number in (1, 2, 3, 4, meter[0]) if number != beats_of(meter)],
            because="{meter} is {kind}, so it has {answer} beats.",
            meter=written(meter),
            kind=kind_of(meter),
        )

    return make


def _capacity(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        unit, name = rng.choice(list(_POOLS[min(level, 2)].items()))
        bars = rng.randint(1, {1: 1, 2: 2, 3: 4}[level])
        count = bars * length_of(meter) / unit
        if count.denominator != 1 or not 1 < count <= 48:
            return None
        return draft(
            rng,
            ("meters.capacity", written(meter), unit, bars),
            (
                "How many {name}s fill {bars} of {meter}?",
                "{bars_} in {meter} {has} room for how many {name}s?",
            ),
            answer=count.numerator,
            wrong={*numbers_near(rng, count.numerator, low=1), count.numerator * 2},
            because="{bars_} of {meter} {last} {total} of a whole note, and {name_} is {unit}: {answer}.",
            meter=written(meter),
            name=name,
            name_=a(name),
            bars="a bar" if bars == 1 else f"{bars} bars",
            bars_="A bar" if bars == 1 else f"{bars} bars",
            has="has" if bars == 1 else "have",
            last="lasts" if bars == 1 else "last",
            total=bars * length_of(meter),
            unit=unit,
        )

    return make


def _completes(level: int) -> Maker:
    """A bar that lacks one note."""

    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        notes = fill(rng, length_of(meter), level)
        if notes is None or len(notes) < 2:
            return None
        *present, missing = rng.sample(notes, len(notes))
        rest = level > 1 and rng.random() < 0.3
        thing = "rest" if rest else "note"

        def called(length: Fraction) -> str:
            return VALUES[length].replace("note", thing)

        return draft(
            rng,
            ("meters.completes", written(meter), *present, *[thing for _ in range(1) if rest]),
            (
                "A bar of {meter} has {present} so far (all notes). Which single {thing} fills it?",
                "In {meter}, these notes are written: {present}. What {thing} is missing to complete the bar?",
                "Which {thing} completes a bar of {meter} that begins with these notes: {present}?",
            ),
            answer=called(missing),
            wrong=[called(length) for length in VALUES if length != missing and missing / 3 <= length <= missing * 3],
            because="A bar lasts {total} of a whole note and the notes take up {sum}; {left} is left: {answer_}.",
            meter=written(meter),
            present=listed(present),
            thing=thing,
            total=length_of(meter),
            sum=sum(present, Fraction(0)),
            left=missing,
            answer_=a(called(missing)),
        )

    return make


def _fills(level: int) -> Maker:
    """Which of four rows fills a bar."""

    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        length = length_of(meter)
        right = fill(rng, length, level)
        if right is None or len(right) < 2:
            return None
        steps = (Fraction(1, 8), Fraction(-1, 8), Fraction(1, 4), Fraction(-1, 4), Fraction(1, 16), Fraction(-1, 16))
        wrong = [
            fill(rng, length + step, level) for step in steps if length + step > 0 and (level > 1 or abs(step) > 1 / 16)
        ]
        return draft(
            rng,
            ("meters.fills", written(meter), *sorted(right)),
            (
                "Which row of notes fills a bar of {meter}?",
                "Only one of these makes a complete bar of {meter}. Which?",
                "Choose the notes that add up to one bar of {meter}.",
            ),
            answer=listed(right),
            wrong=[listed(row) for row in wrong if row],
            because="A bar of {meter} lasts {length} of a whole note, and {sum} is just that.",
            meter=written(meter),
            length=length,
            sum=" + ".join(map(str, right)),
        )

    return make


def _which_meter(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        row = fill(rng, length_of(meter), level)
        if row is None:
            return None
        others = [other for other in METERS if length_of(other) != length_of(meter)]
        others = [other for other in others if abs(length_of(other) - length_of(meter)) <= Fraction(1, 2)]
        unlike = {length_of(other): written(other) for other in rng.sample(others, len(others))}
        return draft(
            rng,
            ("meters.which", written(meter), *sorted(row)),
            (
                "A bar holds these notes: {row}. Which meter can it be in?",
                "Which meter does a bar of {row} fill?",
                "The notes {row} make one full bar. In which of these meters?",
            ),
            answer=written(meter),
            wrong=unlike.values(),
            because="In whole notes the row adds up to {length}, a bar of {answer}.",
            row=listed(row),
            length=length_of(meter),
        )

    return make


def _position(level: int) -> Maker:
    """On which beat a note starts."""

    def make(rng: Random) -> Draft | None:
        meter = rng.choice(_METERS[level])
        row = fill(rng, length_of(meter), min(level, 2))
        if row is None or not 3 <= len(row) <= 8:
            return None
        index = rng.randrange(1, len(row))
        start = sum(row[:index], Fraction(0)) / beat_of(meter)
        if start.denominator != 1:
            return None
        beat = start.numerator + 1
        return draft(
            rng,
            ("meters.position", written(meter), *row, index),
            (
                "A bar of {meter} goes {row}. On which beat{dotted} does the {ordinal} note start?",
                "In {meter}{dotted}, with the notes {row}, the {ordinal} note falls on which beat?",
            ),
            answer=f"beat {beat}",
            wrong=[f"beat {number}" for number in range(1, max(5, beats_of(meter) + 2))],
            because="Before it are {before} of a whole note, {count} of {length}: {answer}.",
            meter=written(meter),
            row=listed(row),
            dotted=" (counted in dotted beats)" if compound(meter[0]) else "",
            ordinal=ORDINALS[index],
            before=sum(row[:index], Fraction(0)),
            count=count_of(start.numerator, "beat"),
            length=beat_of(meter),
        )

    return make


def _pickup(rng: Random) -> Draft | None:
    meter = rng.choice(_METERS[2])
    notes = tuple(rng.choice((Fraction(1, 4), Fraction(1, 8), Fraction(1, 16))) for _ in range(rng.randint(1, 2)))
    left = length_of(meter) - sum(notes, Fraction(0))
    if left not in VALUES:
        return None
    return draft(
        rng,
        ("meters.pickup", written(meter), *notes),
        (
            "A tune in {meter} starts with a pickup: {notes}. Which single note makes a last bar that completes it?",
            "The pickup of a tune in {meter} has these notes: {notes}. How long is a last bar that makes it full?",
        ),
        answer=VALUES[left],
        wrong=[name for length, name in VALUES.items() if length != left and left / 3 <= length <= left * 2],
        because="A full bar is {length} of a whole note, the pickup {pickup}; {left} remains: {answer_}.",
        meter=written(meter),
        notes=listed(notes),
        length=length_of(meter),
        pickup=sum(notes, Fraction(0)),
        left=left,
        answer_=a(VALUES[left]),
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_kind(1), _beat(1), _capacity(1), _completes(1), _completes(1), _fills(1), _which_meter(1)),
    2: (_kind(2), _beat(2), _capacity(2), _completes(2), _fills(2), _which_meter(2), _position(2), _pickup),
    3: (_kind(3), _beat(3), _capacity(3), _completes(3), _fills(3), _which_meter(3), _position(3)),
}
