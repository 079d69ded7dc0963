"""Questions about pitch in ABC: accidentals of key and bar, octaves and intervals, read from a tune."""

from random import Random

from chatmusician.music.theory.abc_tunes import C_MAJOR, AbcTune, tune_of
from chatmusician.music.theory.draft import Draft, Maker, draft, pick_unlike
from chatmusician.music.theory.scales import (
    ordinal,
)
from chatmusician.music.theory.spelling import (
    Pitch,
    between,
    near_intervals,
    near_pitches,
)


def _facts(kind: str, tune: AbcTune, *about: object) -> tuple[object, ...]:
    return (f"abc_pitch.{kind}", f"K:{tune.key}", tune.body.replace(" ", ""), *about)


def _sounding(level: int) -> Maker:
    """What a note sounds like, given the key signature and the accidentals before it in its bar."""

    def make(rng: Random) -> Draft | None:
        tune = tune_of(rng, level, accidentals={1: 0.0, 2: 0.15, 3: 0.35}[level])
        places = []
        for number, bar in enumerate(tune.bars):
            for index, note in enumerate(bar):
                in_key = tune.key.signature[note.pitch.letter]
                before = any(other.mark and other.pitch.letter == note.pitch.letter for other in bar[:index])
                cancelled = any(
                    other.mark and other.pitch.letter == note.pitch.letter and other.pitch.alteration != in_key
                    for earlier in tune.bars[:number]
                    for other in earlier
                )
                if not note.mark and (before or cancelled or (level < 3 and (in_key or rng.random() < 0.05))):
                    places.append((number, index, before))
        if not places:
            return None
        number, index, before = rng.choice(places)
        right = tune.bars[number][index].pitch
        letter = right.letter
        near = [Pitch(letter, change) for change in (-1, 0, 1) if change != right.alteration]
        near += [note for note in near_pitches(right._replace(octave=4), alike=False) if note.letter != letter]
        reason = (
            "An accidental earlier in the bar holds for every {letter} up to the bar line: {answer}."
            if before
            else "No accidental stands before it in its bar, so the key signature decides: {answer}."
        )
        return draft(
            rng,
            _facts("sounding", tune, number + 1, index + 1),
            (
                "What does the {ordinal} note of bar {bar} sound as, accidentals included?",
                "Which note is the {ordinal} one of bar {bar}, given the key and the accidentals before it?",
                "Name the {ordinal} note in bar {bar}, with the sharp or flat that holds for it if there is one.",
            ),
            answer=right.name,
            wrong=[note.name for note in pick_unlike(near, [right])],
            because=reason,
            ordinal=ordinal(index),
            bar=number + 1,
            letter=letter,
            abc=tune.text(),
        )

    return make


def _interval(level: int) -> Maker:
    """The interval between two notes in a row."""

    def make(rng: Random) -> Draft | None:
        tune = tune_of(rng, level, key=C_MAJOR if level == 1 else None, accidentals={1: 0.0, 2: 0.0, 3: 0.25}[level])
        number = rng.randrange(len(tune.bars))
        bar = tune.bars[number]
        if len(bar) < 2:
            return None
        index = rng.randrange(len(bar) - 1)
        second = index + 1 if level < 3 else rng.randrange(index + 1, len(bar))
        one, other = bar[index].pitch, bar[second].pitch
        low, high = sorted((one, other), key=lambda note: (note.place, note.midi))
        distance = between(low, high)
        if distance is None or low == high:
            return None
        return draft(
            rng,
            _facts("interval", tune, number + 1, index + 1, second + 1),
            (
                (
                    "Which interval is between the {first} and the {second} note of bar {bar}?",
                    "Name the interval from the {first} to the {second} note in bar {bar}.",
                )
                if level == 1
                else (
                    "Which interval, as spelled, is between the {first} and the {second} note of bar {bar}?",
                    "Name the interval from the {first} to the {second} note in bar {bar}, as it is spelled.",
                )
            ),
            answer=distance.name,
            wrong=near_intervals(distance, alike=level > 1),
            because="With key and accidentals the notes are {one} and {other}: {answer}.",
            first=ordinal(index),
            second=ordinal(second),
            bar=number + 1,
            one=one.full_name,
            other=other.full_name,
            abc=tune.text(),
        )

    return make


def _octave(rng: Random) -> Draft | None:
    """Octave marks: capitals, small letters, commas and apostrophes."""
    right = Pitch(rng.choice("CDEFGAB"), 0, rng.randint(1, 7))
    read = rng.random() < 0.5
    near = [right._replace(octave=right.octave + change) for change in (-2, -1, 1, 2)]
    near += near_pitches(right, alike=False, most=0)
    return draft(
        rng,
        ("abc_pitch.octave", "read" if read else "write", right.full_name),
        (
            (
                "In ABC, C is middle C (C4). Which note is {abc_note}?",
                "Which pitch does {abc_note} stand for in ABC, where C is C4, the middle C?",
            )
            if read
            else (
                "In ABC, C is middle C (C4). How is {name} written?",
                "How do you write the note {name} in ABC, where C is C4, the middle C?",
            )
        ),
        answer=right.full_name if read else right.abc,
        wrong=[note.full_name if read else note.abc for note in near],
        because="Capital letters are octave 4 and small ones octave 5; each comma takes an octave away and each "
        "apostrophe adds one: {answer}.",
        abc_note=right.abc,
        name=right.full_name,
    )


def _extreme(level: int) -> Maker:
    """The highest or lowest note of a tune."""

    def make(rng: Random) -> Draft | None:
        tune = tune_of(rng, level)
        notes = {note.pitch.midi: note.pitch for bar in tune.bars for note in bar}
        highest = rng.random() < 0.5
        right = notes[max(notes) if highest else min(notes)]
        near = [right._replace(octave=right.octave + change) for change in (-1, 1)]
        near += [Pitch(right.letter, 0, right.octave)] if right.alteration else []
        return draft(
            rng,
            _facts("extreme", tune, "highest" if highest else "lowest"),
            (
                "What is the {which} note of this tune? (C4 is middle C, written C in ABC.)",
                "How {far} does this tune go? (C4 is middle C, written C in ABC.)",
                "Find the {which} note of the tune. (C4 is middle C, written C in ABC.)",
            ),
            answer=right.full_name,
            wrong=[note.full_name for note in (*notes.values(), *near)],
            because="In ABC the note is written {written}; with the key signature it is {answer}.",
            which="highest" if highest else "lowest",
            far="high" if highest else "low",
            written=right.abc,
            abc=tune.text(),
        )

    return make


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_sounding(1), _interval(1), _octave, _extreme(1)),
    2: (_sounding(2), _interval(2), _extreme(2)),
    3: (_sounding(3), _interval(3)),
}
