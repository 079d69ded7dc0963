"""Questions about transposing notes, melodies and keys, and about transposing instruments."""

from random import Random
from typing import NamedTuple

from chatmusician.music.theory.draft import Draft, Maker, a, count_of, draft, names, pick_unlike, rows_unlike
from chatmusician.music.theory.scales import sharps, spell, tonic_with, tonics
from chatmusician.music.theory.spelling import (
    ALTERED,
    SIMPLE,
    Interval,
    Pitch,
    above,
    below,
    between,
    interval,
    near_intervals,
    near_pitches,
    pitch,
    stacked,
)


class Instrument(NamedTuple):
    """An instrument that sounds an interval lower or higher than it is written."""

    name: str
    distance: Interval
    lower: bool

    def sounding(self, written: Pitch) -> Pitch:
        """What is heard when a note is read."""
        return below(written, self.distance) if self.lower else above(written, self.distance)

    def written(self, sounding: Pitch) -> Pitch:
        """What has to be read so that a note is heard."""
        return above(sounding, self.distance) if self.lower else below(sounding, self.distance)

    @property
    def rule(self) -> str:
        """How far from the written note the instrument sounds, in words."""
        return f"{a(self.distance.name)} {'lower' if self.lower else 'higher'} than written"


INSTRUMENTS = (
    Instrument("clarinet in Bb", interval("M2"), True),
    Instrument("clarinet in A", interval("m3"), True),
    Instrument("clarinet in Eb", interval("m3"), False),
    Instrument("trumpet in Bb", interval("M2"), True),
    Instrument("trumpet in D", interval("M2"), False),
    Instrument("horn in F", interval("P5"), True),
    Instrument("English horn", interval("P5"), True),
    Instrument("alto flute", interval("P4"), True),
    Instrument("soprano saxophone in Bb", interval("M2"), True),
    Instrument("alto saxophone in Eb", interval("M6"), True),
    Instrument("tenor saxophone in Bb", interval("M9"), True),
    Instrument("baritone saxophone in Eb", interval("M13"), True),
)
"""Transposing instruments with their usual transpositions (horn and English horn in F, alto flute in G)."""

_SMALL = SIMPLE[:7]


def _few(notes: tuple[Pitch, ...], most: int = 1) -> bool:
    return all(abs(note.alteration) <= most for note in notes)


def _melody(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        size = {1: 2, 2: 3, 3: 5}[level]
        scale = spell(rng.choice(tonics("major", {1: 1, 2: 3, 3: 6}[level])), "major")
        notes = tuple(rng.choice(scale) for _ in range(size))
        distance = rng.choice(_SMALL[: 3 + 2 * level] if level < 3 else (*_SMALL, interval("A4"), interval("d5")))
        down = rng.random() < 0.5
        move = below if down else above
        right = tuple(move(note, distance) for note in notes)
        if not _few(right) or len(set(notes)) < size - 1:
            return None
        near = [
            tuple(move(note, other) for note in notes)
            for other in (*SIMPLE[:8], interval("A4"))
            if abs(other.semitones - distance.semitones) in (1, 2)
        ]
        for index in range(size):
            near += [(*right[:index], other, *right[index + 1 :]) for other in near_pitches(right[index], alike=False)]
        return draft(
            rng,
            ("transposition.melody", *[note.name for note in notes], "down" if down else "up", distance.short),
            (
                "Transpose {notes} {way} by {distance}.",
                "The melody {notes} is moved {way} {distance}. Which notes result?",
                "What becomes of {notes} when each note goes {way} by {distance}?",
            ),
            answer=names(right),
            wrong=[names(row) for row in rows_unlike([row for row in near if _few(row, 2)], right)],
            because="Each note moves {way} by {size} and {letters}: {answer}.",
            notes=names(notes),
            way="down" if down else "up",
            distance=a(distance.name),
            size=count_of(distance.semitones, "semitone"),
            letters=count_of(distance.number - 1, "letter"),
        )

    return make


def _key_change(level: int) -> Maker:
    """A note of a melody when the melody moves to another key."""

    def make(rng: Random) -> Draft | None:
        mode = "major" if level < 3 else "natural minor"
        first, second = (rng.choice(tonics(mode, 2 if level == 1 else 5)) for _ in range(2))
        index = rng.randrange(1, 7)
        change = 0 if level < 3 else rng.choice((-1, 1))
        start, end = spell(first, mode)[index], spell(second, mode)[index]
        start = start._replace(alteration=start.alteration + change)
        end = end._replace(alteration=end.alteration + change)
        if first == second or not _few((start, end)):
            return None
        near = [*near_pitches(end, alike=False), start, *spell(second, mode)]
        return draft(
            rng,
            ("transposition.key_change", mode.replace(" ", "_"), first, second, start.name),
            (
                "A melody in {first} is transposed to {second}. What does its note {note} become?",
                "Moving a tune from {first} to {second}, what do you write for {note}?",
                "Which note in {second} corresponds to {note} in {first}?",
            ),
            answer=end.name,
            wrong=[note.name for note in pick_unlike(near, [end])],
            because="The tonic goes from {old} to {new}, and every note by the same interval: {note} becomes {answer}.",
            first=f"{first} {mode.removeprefix('natural ')}",
            second=f"{second} {mode.removeprefix('natural ')}",
            note=start.name,
            old=first,
            new=second,
        )

    return make


def _by_what(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        first, second = (rng.choice(tonics("major", {1: 2, 2: 4, 3: 7}[level])) for _ in range(2))
        low, high = pitch(first), pitch(second)
        high = high if high.place > low.place else high._replace(octave=5)
        distance = between(low, high)
        if distance is None or distance.number in (1, 8):
            return None
        return draft(
            rng,
            ("transposition.by_what", first, second),
            (
                "A tune goes from {first} up to the next {second}. By which interval, as spelled, is it moved?",
                "By which interval, as spelled, is {first} transposed upwards to reach the next {second}?",
            ),
            answer=distance.name,
            wrong=near_intervals(distance, alike=True),
            because="From {low} up to {high} is {answer}.",
            first=f"{first} major",
            second=f"{second} major",
            low=first,
            high=second,
        )

    return make


def _sounding(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        instrument = rng.choice(INSTRUMENTS)
        written = Pitch(rng.choice("CDEFGAB"), rng.choice((0, 0, 1, -1)), 5)
        sounding = instrument.sounding(written)
        hear = rng.random() < 0.5
        given, right = (written, sounding) if hear else (sounding, written)
        if not _few((given, right)):
            return None
        turned = instrument._replace(lower=not instrument.lower)
        other_way = turned.sounding(written) if hear else turned.written(sounding)
        near = [other_way, given, *near_pitches(right, alike=False)]
        rule = f" ({a(instrument.name).capitalize()} sounds {instrument.rule}.)" if level == 1 else ""
        rule = rule.replace(instrument.name.lower(), instrument.name)
        return draft(
            rng,
            (
                "transposition.sounding" if hear else "transposition.written",
                instrument.name.replace(" ", "_"),
                given.name,
            ),
            [
                wording + rule
                for wording in (
                    (
                        "{instrument_} plays a written {note}. Which note sounds?",
                        "What is heard when {instrument} reads {note}?",
                    )
                    if hear
                    else (
                        "Which note has to be written for {instrument} so that {note} sounds?",
                        "{instrument_} is to sound {note}. Which note must be in its part?",
                    )
                )
            ],
            answer=right.name,
            wrong=[note.name for note in pick_unlike([note for note in near if _few((note,))], [right])],
            because="{instrument_} sounds {rule}, so "
            + ("a written {note} is heard as {answer}." if hear else "{answer} is written for {note}."),
            instrument=a(instrument.name),
            instrument_=a(instrument.name)[0].upper() + a(instrument.name)[1:],
            note=given.name,
            rule=instrument.rule,
        )

    return make


def _part_key(rng: Random) -> Draft | None:
    instrument = rng.choice(INSTRUMENTS)
    concert = rng.choice(tonics("major", 5))
    right = instrument.written(pitch(concert))
    if not _few((right,)) or abs(sharps(right.name, "major")) > 7:
        return None
    count = sharps(right.name, "major")
    near = [pitch(tonic_with(other, "major")) for other in range(count - 3, count + 4) if abs(other) <= 7]
    near.append(instrument.sounding(pitch(concert)))
    return draft(
        rng,
        ("transposition.part_key", instrument.name.replace(" ", "_"), concert),
        (
            "A piece is in concert {key}. In which key is the part for {instrument} written?",
            "The orchestra plays in {key}. Which key does {instrument} read?",
        ),
        answer=f"{right.name} major",
        wrong=[f"{note.name} major" for note in pick_unlike([n for n in near if _few((n,))], [right])],
        because="The instrument sounds {rule}, so its part goes the other way, from {key} to {answer}.",
        key=f"{concert} major",
        instrument=a(instrument.name),
        rule=instrument.rule,
    )


def _two_instruments(rng: Random) -> Draft | None:
    first, second = rng.sample(INSTRUMENTS, 2)
    written = Pitch(rng.choice("CDEFGAB"), rng.choice((0, 0, 1, -1)), 5)
    sounding = first.sounding(written)
    right = second.written(sounding)
    if not _few((sounding, right)) or right.sound == written.sound:
        return None
    near = [written, sounding, second.sounding(sounding), *near_pitches(right, alike=False)]
    return draft(
        rng,
        ("transposition.two_instruments", first.name.replace(" ", "_"), second.name.replace(" ", "_"), written.name),
        (
            "{first_} reads {note}. What must {second} read to sound the same note, apart from the octave?",
            "A line written for {first} is copied for {second}. What is written for {note}, the octave left aside?",
        ),
        answer=right.name,
        wrong=[note.name for note in pick_unlike([note for note in near if _few((note,))], [right])],
        because="{first_} sounds {sounding} there, and {second} sounds {rule}: {answer}.",
        first=a(first.name),
        first_=a(first.name)[0].upper() + a(first.name)[1:],
        second=a(second.name),
        note=written.name,
        sounding=sounding.name,
        rule=second.rule,
    )


def _two_moves(rng: Random) -> Draft | None:
    """Transposed twice: which single transposition is it?"""
    first, second = rng.choice(SIMPLE[:6]), rng.choice(SIMPLE[:6] + ALTERED[2:5])
    total = stacked(first, second)
    if total is None or total.number > 8:
        return None
    return draft(
        rng,
        ("transposition.two_moves", first.short, second.short),
        (
            "A melody goes up {first} and then up {second} more. By which interval, as spelled, has it moved?",
            "Which single transposition, as it is spelled, equals {first} up followed by {second} up?",
        ),
        answer=total.name,
        wrong=near_intervals(total, alike=True),
        because="{one} and {two} semitones over {letters} letters in all make {answer}.",
        first=a(first.name),
        second=a(second.name),
        one=first.semitones,
        two=second.semitones,
        letters=total.number,
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_melody(1), _key_change(1), _by_what(1), _sounding(1)),
    2: (_melody(2), _melody(2), _key_change(2), _by_what(2), _sounding(2), _part_key),
    3: (_melody(3), _melody(3), _key_change(3), _by_what(3), _two_instruments, _part_key, _two_moves),
}
