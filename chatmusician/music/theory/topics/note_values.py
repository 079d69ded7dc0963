"""Questions about how long notes last: dots, ties, tuplets, sums, and time at a tempo."""

from fractions import Fraction
from random import Random
from typing import Any

from chatmusician.music.theory.draft import Draft, Maker, a, draft, numbers_near
from chatmusician.music.theory.values import DOTTED, DOUBLE_DOTTED, PLAIN, VALUES, listed

_ALL = {1: PLAIN, 2: PLAIN | DOTTED, 3: VALUES}
_SHORT = {Fraction(1, size): PLAIN[Fraction(1, size)] for size in (2, 4, 8, 16)}


def _near_lengths(right: Fraction) -> list[str]:
    """Names of lengths between a third and three times as long."""
    return [name for length, name in VALUES.items() if length != right and right / 3 <= length <= right * 3]


def _fraction(length: Fraction) -> str:
    return str(length)


def _how_many(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        large, name = rng.choice(list(_ALL[level].items()))
        small, part = rng.choice(list(PLAIN.items()))
        right = large / small
        if right.denominator != 1 or not 1 < right <= 32:
            return None
        count = right.numerator
        return draft(
            rng,
            ("note_values.how_many", small, large),
            (
                "How many {part}s last as long as {whole}?",
                "{whole_} equals how many {part}s?",
                "How often does {part_} fit into {whole}?",
            ),
            answer=count,
            wrong={count * 2, count * 3, count + 1, count + 2, count - 1, max(1, count // 2), count * 3 // 2} - {0},
            because="{whole_} is {large} of a whole note and {part_} is {small}: {answer}.",
            part=part,
            part_=a(part),
            whole=a(name),
            whole_=a(name).capitalize(),
            large=_fraction(large),
            small=_fraction(small),
        )

    return make


def _dots(level: int) -> Maker:
    """What a dotted note is made of, and the fraction of a whole note that a value is."""
    pool = {1: DOTTED, 2: PLAIN | DOTTED, 3: DOUBLE_DOTTED | DOTTED}[level]

    def make(rng: Random) -> Draft | None:
        length, name = rng.choice(list(pool.items()))
        wrong = [length * factor for factor in (Fraction(1, 2), 2, Fraction(2, 3), Fraction(4, 3), Fraction(3, 2))]
        wrong += [length * Fraction(6, 7), length * Fraction(8, 7), length * Fraction(4, 7)] if level == 3 else []
        return draft(
            rng,
            ("note_values.fraction", length),
            (
                "Which fraction of a whole note is {name}?",
                "How long is {name}, as a fraction of a whole note?",
                "{name_} takes up what part of a whole note?",
            ),
            answer=_fraction(length),
            wrong=[_fraction(other) for other in wrong],
            because="A dot adds half of a note's length, a second dot a quarter: {answer}."
            if "dotted" in name
            else "A note without a dot is the part of a whole note that its name says: {answer}.",
            name=a(name),
            name_=a(name).capitalize(),
        )

    return make


def _tie(level: int) -> Maker:
    """Two or three notes tied together: the single value they make, or how many small notes."""

    def make(rng: Random) -> Draft | None:
        pool = list(_ALL[level])
        parts = [rng.choice(pool) for _ in range(2 if level < 3 else 3)]
        total = sum(parts, Fraction(0))
        tied = " tied to ".join(a(VALUES[part]) for part in parts)
        values = {"tied": tied, "tied_": tied[0].upper() + tied[1:], "sum": " + ".join(map(_fraction, parts))}
        if total in VALUES and rng.random() < 0.5:
            return draft(
                rng,
                ("note_values.tied_value", *parts),
                (
                    "{tied_} is as long as which single note?",
                    "Which one note lasts as long as {tied}?",
                    "Write {tied} as a single note.",
                ),
                answer=VALUES[total],
                wrong=_near_lengths(total),
                because="{sum} of a whole note is {total}: {answer}.",
                total=_fraction(total),
                **values,
            )
        small = rng.choice(list(PLAIN))
        count = total / small
        if count.denominator != 1 or not 1 < count <= 40:
            return None
        return draft(
            rng,
            ("note_values.tied_count", small, *parts),
            (
                "How many {part}s last as long as {tied}?",
                "{tied_} equals how many {part}s?",
            ),
            answer=count.numerator,
            wrong=numbers_near(rng, count.numerator, low=1),
            because="{sum} of a whole note is {answer} times {small}.",
            part=PLAIN[small],
            small=_fraction(small),
            **values,
        )

    return make


def _sum(level: int) -> Maker:
    """Which of four rows of notes adds up to a length."""

    def make(rng: Random) -> Draft | None:
        pool = [length for length in _ALL[level] if Fraction(1, 32) < length <= Fraction(1, 2)]

        def row() -> tuple[Fraction, ...]:
            return tuple(rng.choice(pool) for _ in range(rng.randint(2, 2 + level)))

        right = row()
        total = sum(right, Fraction(0))
        if total not in _ALL[min(level, 2)]:
            return None
        wrong = [
            other
            for other in (row() for _ in range(12))
            if sum(other) != total and abs(sum(other) - total) <= total / 2
        ]
        return draft(
            rng,
            ("note_values.sum", total, *sorted(right)),
            (
                "Which of these rows of notes lasts as long as {whole}?",
                "Which notes add up to {whole}?",
                "{whole_} is divided. Which of these rows fills it exactly?",
            ),
            answer=listed(right),
            wrong=[listed(other) for other in wrong],
            because="{sum} of a whole note is {total}, {whole}.",
            whole=a(VALUES[total]),
            whole_=a(VALUES[total]).capitalize(),
            total=_fraction(total),
            sum=" + ".join(map(_fraction, right)),
        )

    return make


_TUPLETS = {3: ("triplet", 2), 5: ("quintuplet", 4), 6: ("sextuplet", 4), 7: ("septuplet", 4)}


def _tuplet(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        size = 3 if level < 3 else rng.choice((3, 5, 6, 7))
        name, time = _TUPLETS[size]
        unit = rng.choice(list(_SHORT))
        groups = rng.randint(1, {1: 1, 2: 4, 3: 6}[level])
        total = groups * time * unit
        values: dict[str, Any] = {
            "count": groups * size,
            "part": f"{name} {PLAIN[unit]}",
            "size": size,
            "time": time,
            "plain": PLAIN[unit],
        }
        if total in VALUES and rng.random() < 0.5:
            return draft(
                rng,
                ("note_values.tuplet_length", size, unit, groups),
                (
                    "How long do {count} {part}s last together, {size} being played in the time of {time}?",
                    "{size} {part}s take the time of {time} {plain}s. Which note is as long as {count} of them?",
                ),
                answer=VALUES[total],
                wrong=_near_lengths(total),
                because="Each group of {size} takes the time of {time} {plain}s, so {count} of them last {answer_}.",
                answer_=a(VALUES[total]),
                **values,
            )
        if total not in VALUES:
            return None
        return draft(
            rng,
            ("note_values.tuplet_count", size, unit, groups),
            (
                "How many {part}s, {size} in the time of {time}, fill {whole}?",
                "{whole_} is filled with {part}s, {size} taking the time of {time} {plain}s. How many are there?",
            ),
            answer=groups * size,
            wrong={groups * time, groups * size + 1, groups * size * 2, groups * (size + 1), groups * size - 1},
            because="{whole_} is as long as {plains} {plain}s, and {size} notes go to {time} of them: {answer}.",
            whole=a(VALUES[total]),
            whole_=a(VALUES[total]).capitalize(),
            plains=groups * time,
            **values,
        )

    return make


def _tempo(level: int) -> Maker:
    """How long a note lasts at a tempo; only times of at most two decimals are asked for."""

    def make(rng: Random) -> Draft | None:
        beat = (
            Fraction(1, 4)
            if level == 1
            else rng.choice((Fraction(1, 4), Fraction(1, 2), Fraction(3, 8), Fraction(1, 8)))
        )
        tempo = rng.choice((60, 120) if level == 1 else (30, 40, 48, 50, 60, 75, 80, 90, 96, 100, 120, 150, 160))
        length, name = rng.choice(list(_ALL[level].items()))
        seconds = length / beat * Fraction(60, tempo)
        if (seconds * 100).denominator != 1 or not Fraction(1, 10) <= seconds <= 12:
            return None
        return draft(
            rng,
            ("note_values.tempo", beat, tempo, length),
            (
                "The tempo is {tempo} {beat}s a minute. How many seconds does {name} last?",
                "With the metronome mark {beat} = {tempo}, how long is {name} in seconds?",
            ),
            answer=_decimal(seconds),
            wrong=[
                _decimal(seconds * factor)
                for factor in (Fraction(1, 2), 2, Fraction(3, 2), Fraction(3, 4), Fraction(5, 4), 3)
            ],
            because="{beat_} lasts 60/{tempo} seconds, and {name} is {ratio} of a beat: {answer} s.",
            tempo=tempo,
            beat=VALUES[beat],
            beat_=a(VALUES[beat]).capitalize(),
            name=a(name),
            ratio=_fraction(length / beat),
        )

    return make


def _decimal(seconds: Fraction) -> str:
    return f"{float(seconds):.4f}".rstrip("0").rstrip(".")


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_how_many(1), _dots(1), _tie(1), _sum(1), _tuplet(1), _tempo(1)),
    2: (_how_many(2), _dots(2), _tie(2), _sum(2), _sum(2), _tuplet(2), _tempo(2)),
    3: (_how_many(3), _dots(3), _tie(3), _sum(3), _sum(3), _tuplet(3), _tempo(3)),
}
