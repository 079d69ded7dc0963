"""Questions about time in ABC: lengths, meters, bars that do not add up, repeats, read from a tune."""

from fractions import Fraction
from random import Random

from chatmusician.music.keys import Key
from chatmusician.music.theory.abc_tunes import AbcNote, AbcTune, bar_units, length_text, random_tune
from chatmusician.music.theory.draft import Draft, Maker, a, count_of, draft, numbers_near
from chatmusician.music.theory.scales import ordinal, tonics
from chatmusician.music.theory.values import METERS, VALUES, beat_of, beats_of, compound, length_of, written

_METERS = {
    1: ((4, 4), (3, 4), (2, 4)),
    2: ((4, 4), (3, 4), (6, 8), (9, 8), (2, 2)),
    3: ((4, 4), (3, 4), (2, 4), (2, 2)),
}
_UNITS = {
    1: (Fraction(1, 8), Fraction(1, 4)),
    2: (Fraction(1, 8), Fraction(1, 16)),
    3: (Fraction(1, 8), Fraction(1, 16)),
}


def _tune(rng: Random, level: int, *, bars: int = 2, fancy: bool | None = None) -> AbcTune:
    return random_tune(
        rng,
        key=Key(tonic=rng.choice(tonics("major", 3)), mode="major"),
        meter=rng.choice(_METERS[level]),
        unit=rng.choice(_UNITS[level]),
        bars=bars,
        fancy=level == 3 if fancy is None else fancy,
    )


def _facts(kind: str, tune: AbcTune, *about: object) -> tuple[object, ...]:
    header = (f"M:{written(tune.meter)}", f"L:{tune.unit}", f"K:{tune.key}")
    return (f"abc_rhythm.{kind}", *header, tune.body.replace(" ", ""), *about)


def _changed(rng: Random, bar: tuple[AbcNote, ...], longer: bool) -> tuple[AbcNote, ...] | None:
    """The bar with one plain note a unit or two longer or shorter, or None if that cannot be."""
    amount = rng.choice((1, 2)) * (1 if longer else -1)
    spots = [
        index
        for index, note in enumerate(bar)
        if note.lasts == note.units and note.units + amount >= 1 and not note.prefix
    ]
    if not spots:
        return None
    spot = rng.choice(spots)
    units = bar[spot].units + amount
    return (*bar[:spot], bar[spot]._replace(units=units, lasts=units), *bar[spot + 1 :])


def _wrong_bar(level: int) -> Maker:
    """The bar that does not add up. The first is never short, since it would be a pickup."""

    def make(rng: Random) -> Draft | None:
        tune = _tune(rng, level, bars=4)
        wrong = rng.randrange(4)
        longer = wrong == 0 or rng.random() < 0.5
        if (changed := _changed(rng, tune.bars[wrong], longer)) is None:
            return None
        bars = (*tune.bars[:wrong], changed, *tune.bars[wrong + 1 :])
        tune = AbcTune(key=tune.key, meter=tune.meter, unit=tune.unit, bars=bars)
        full = bar_units(tune.meter, tune.unit)
        return draft(
            rng,
            _facts("wrong_bar", tune),
            (
                "Which bar of this tune does not fit its meter?",
                "One bar of this tune is too long or too short. Which?",
                "Find the bar that does not add up.",
            ),
            answer=f"bar {wrong + 1}",
            wrong=[f"bar {number}" for number in range(1, 5)],
            because="With M:{meter} and L:{unit} a bar has {full} units; {answer} has {has}.",
            meter=written(tune.meter),
            unit=tune.unit,
            full=full,
            has=sum((note.lasts for note in changed), Fraction(0)),
            abc=tune.text(),
        )

    return make


def _duration(level: int) -> Maker:
    """The note value of one note, or its part of a whole note where no value has it."""

    def make(rng: Random) -> Draft | None:
        tune = _tune(rng, level)
        number = rng.randrange(len(tune.bars))
        bar = tune.bars[number]
        spots = [index for index, note in enumerate(bar) if level < 3 or note.lasts != note.units]
        if not spots:
            return None
        index = rng.choice(spots)
        length = bar[index].lasts * tune.unit
        as_value = length in VALUES and rng.random() < 0.6
        near = [length * factor for factor in (Fraction(1, 2), 2, Fraction(2, 3), Fraction(3, 2), Fraction(1, 3), 3)]
        return draft(
            rng,
            _facts("duration" if as_value else "fraction", tune, number + 1, index + 1),
            (
                (
                    "How long is the {ordinal} note of bar {bar}?",
                    "Which note value has the {ordinal} note of bar {bar}?",
                    "As what kind of note would the {ordinal} note in bar {bar} be engraved?",
                )
                if as_value
                else (
                    "Which fraction of a whole note does the {ordinal} note of bar {bar} last?",
                    "How long is the {ordinal} note of bar {bar}, as a part of a whole note?",
                )
            ),
            answer=VALUES[length] if as_value else length,
            wrong=[VALUES[other] for other in VALUES if other != length and length / 4 <= other <= length * 4]
            if as_value
            else near,
            because="The unit note length is {unit}, and the note, written {written}, lasts {units} of it: {answer}.",
            ordinal=ordinal(index),
            bar=number + 1,
            unit=tune.unit,
            written=bar[index].text,
            units=bar[index].lasts,
            abc=tune.text(),
        )

    return make


def _default_length(rng: Random) -> Draft | None:
    """A tune without ``L:``, whose unit note length the meter decides."""
    meter = rng.choice(((2, 4), (3, 4), (4, 4), (6, 8), (3, 8), (2, 2)))
    unit = Fraction(1, 16) if length_of(meter) < Fraction(3, 4) else Fraction(1, 8)
    tune = random_tune(rng, key=Key(tonic=rng.choice(tonics("major", 2)), mode="major"), meter=meter, unit=unit, bars=2)
    number = rng.randrange(2)
    index = rng.randrange(len(tune.bars[number]))
    length = tune.bars[number][index].lasts * unit
    return draft(
        rng,
        _facts("default_length", tune, number + 1, index + 1),
        (
            "This tune has no L: field. How long is the {ordinal} note of bar {bar}?",
            "Without an L: field the meter decides the unit note length. Which note value has the {ordinal} note of "
            "bar {bar}?",
        ),
        answer=VALUES[length],
        wrong=[VALUES[other] for other in VALUES if other != length and length / 4 <= other <= length * 4],
        because="A meter below 3/4 means L:1/16 and others L:1/8, here {unit}; {written} is {answer_}.",
        ordinal=ordinal(index),
        bar=number + 1,
        unit=unit,
        written=tune.bars[number][index].text,
        answer_=a(VALUES[length]),
        abc=tune.text(without="L"),
    )


def _meter(level: int) -> Maker:
    """A tune without ``M:``."""

    def make(rng: Random) -> Draft | None:
        tune = _tune(rng, level, bars=3)
        length = length_of(tune.meter)
        others = [other for other in METERS if length_of(other) != length and other[1] in (2, 4, 8)]
        unlike = {length_of(other): written(other) for other in rng.sample(others, len(others))}
        near = [name for size, name in unlike.items() if abs(size - length) <= Fraction(1, 2)]
        return draft(
            rng,
            _facts("meter", tune),
            (
                "The M: field of this tune is missing. Which meter do its bars fit?",
                "Which meter can this tune be in, by the length of its bars?",
                "Which M: field would make every bar of this tune full?",
            ),
            answer=written(tune.meter),
            wrong=near,
            because="Each bar has {units} units of {unit}, {length} of a whole note: {answer}.",
            units=bar_units(tune.meter, tune.unit),
            unit=tune.unit,
            length=length,
            abc=tune.text(without="M"),
        )

    return make


def _missing(level: int) -> Maker:
    """What completes the last bar; the options are notes in ABC."""

    def make(rng: Random) -> Draft | None:
        tune = _tune(rng, level)
        *kept, lost = tune.bars[-1]
        if not kept or lost.lasts != lost.units:
            return None
        tune = AbcTune(key=tune.key, meter=tune.meter, unit=tune.unit, bars=(*tune.bars[:-1], tuple(kept)))
        letter = lost.pitch.abc
        units = lost.units
        return draft(
            rng,
            _facts("missing", tune),
            (
                "The last bar of this tune lacks a note at its end. Which of these completes it?",
                "Which note makes the last bar of this tune full?",
            ),
            answer=letter + length_text(units),
            wrong=[
                letter + length_text(other)
                for other in (units + 1, units + 2, units - 1, units * 2, units / 2)
                if other
            ],
            because="With M:{meter} and L:{unit} a bar has {full} units; the last one has {has}, which leaves {units}: "
            "{answer}.",
            meter=written(tune.meter),
            unit=tune.unit,
            full=bar_units(tune.meter, tune.unit),
            has=sum((note.lasts for note in kept), Fraction(0)),
            units=units,
            abc=tune.text(),
        )

    return make


def _repeats(level: int) -> Maker:
    """Bars played when repeats, and at level 3 endings, are followed."""

    def make(rng: Random) -> Draft | None:
        first, second = rng.randint(1, 3 + level), rng.randint(1, 3 + level)
        tune = _tune(rng, 1, bars=first + second, fancy=False)
        bars = [part.strip() for part in tune.body.removesuffix(" |]").split(" | ")]
        head, tail = " | ".join(bars[:first]), " | ".join(bars[first:])
        form = rng.choice(("first", "second", "both") if level < 3 else ("endings",))
        if form == "endings":
            if second < 2:
                return None
            ending = rng.randint(1, second - 1)
            one, two = " | ".join(bars[first : first + ending]), " | ".join(bars[first + ending :])
            body, played = f"|: {head} |1 {one} :|2 {two} |]", 2 * first + second
        elif form == "first":
            body, played = f"|: {head} :| {tail} |]", 2 * first + second
        elif form == "second":
            body, played = f"{head} |: {tail} :|", first + 2 * second
        else:
            body, played = f"|: {head} :: {tail} :|", 2 * (first + second)
        header = tune.text().rsplit("\n", 1)[0]
        return draft(
            rng,
            (
                "abc_rhythm.repeats",
                f"M:{written(tune.meter)}",
                f"L:{tune.unit}",
                f"K:{tune.key}",
                body.replace(" ", ""),
            ),
            (
                "How many bars are played if all repeats are taken?",
                "With its repeats, how many bars long is a performance of this tune?",
                "Count the bars of this tune as they are played, repeats included.",
            ),
            answer=played,
            wrong={*numbers_near(rng, played, low=1), first + second} - {played},
            because="Bars within repeat signs are played twice{endings}: {answer} in all, of {count} written.",
            endings=", the first and second endings once each" if form == "endings" else "",
            count=first + second,
            abc=f"{header}\n{body}",
        )

    return make


def _count(level: int) -> Maker:
    """How many notes of a value a tune has."""

    def make(rng: Random) -> Draft | None:
        tune = _tune(rng, level, bars=2 if level == 1 else 3)
        lengths = [note.lasts * tune.unit for bar in tune.bars for note in bar]
        value = rng.choice([length for length in lengths if length in VALUES] or [Fraction(1, 4)])
        count = lengths.count(value)
        return draft(
            rng,
            _facts("count", tune, value),
            (
                "How many {value}s does this tune have?",
                "Count the {value}s of this tune.",
            ),
            answer=count,
            wrong=numbers_near(rng, count),
            because="With L:{unit} {value_} lasts {units}; {answer} of the notes do.",
            value=VALUES[value],
            value_=a(VALUES[value]),
            unit=tune.unit,
            units=count_of(value / tune.unit, "unit"),
            abc=tune.text(),
        )

    return make


def _beat(rng: Random) -> Draft | None:
    """The beat on which a note starts."""
    tune = _tune(rng, 2, bars=2)
    number = rng.randrange(2)
    bar = tune.bars[number]
    beats = [
        sum((note.lasts for note in bar[:index]), Fraction(0)) * tune.unit / beat_of(tune.meter)
        for index in range(len(bar))
    ]
    spots = [index for index, beat in enumerate(beats) if index and beat.denominator == 1]
    if not spots:
        return None
    index = rng.choice(spots)
    return draft(
        rng,
        _facts("beat", tune, number + 1, index + 1),
        (
            "On which beat of bar {bar}{dotted} does its {ordinal} note start?",
            "The {ordinal} note of bar {bar} falls on which beat{dotted}?",
        ),
        answer=f"beat {beats[index] + 1}",
        wrong=[f"beat {beat}" for beat in range(1, max(5, beats_of(tune.meter) + 2))],
        because="Before it in the bar: {before}; a beat has {units}: {answer}.",
        bar=number + 1,
        ordinal=ordinal(index),
        dotted=", counted in dotted beats," if compound(tune.meter[0]) else "",
        before=count_of(sum((note.lasts for note in bar[:index]), Fraction(0)), "unit"),
        units=beat_of(tune.meter) / tune.unit,
        abc=tune.text(),
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_wrong_bar(1), _duration(1), _meter(1), _missing(1), _repeats(1), _count(1)),
    2: (_wrong_bar(2), _duration(2), _meter(2), _missing(2), _repeats(2), _count(2), _beat, _default_length),
    3: (_wrong_bar(3), _duration(3), _duration(3), _meter(3), _missing(3), _repeats(3), _count(3)),
}
