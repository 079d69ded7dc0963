"""Questions about intervals: naming, building, counting, inverting, adding and splitting them."""

from random import Random

from chatmusician.music.theory.draft import Draft, Maker, a, count_of, draft, numbers_near, pick_unlike
from chatmusician.music.theory.spelling import (
    ALTERED,
    ALTERED_COMPOUND,
    COMPOUND,
    SIMPLE,
    Interval,
    Pitch,
    above,
    below,
    near_intervals,
    near_pitches,
    stacked,
)

_POOLS = {1: SIMPLE, 2: SIMPLE + ALTERED, 3: ALTERED + COMPOUND + ALTERED_COMPOUND}
_OCTAVES = " (C4 is middle C, C5 an octave higher.)"


def _two_notes(rng: Random, level: int) -> tuple[Pitch, Interval, Pitch] | None:
    """A pitch and one an interval above it, neither with more accidentals than the level allows."""
    low = Pitch(rng.choice("CDEFGAB"), rng.choice((0, 0, 0, 1, -1) if level == 1 else (0, 1, -1)))
    distance = rng.choice(_POOLS[level])
    high = above(low, distance)
    if level == 1 and {low.name, high.name} & {"E#", "B#", "Cb", "Fb"}:
        return None
    return (low, distance, high) if abs(high.alteration) <= (2 if level == 3 else 1) else None


def _name(level: int) -> Maker:
    wordings = (
        ("What is the interval from {first} {way} to {second}?", "Name the interval between {first} and {second}.")
        if level == 1
        else (
            "What is the interval from {first} {way} to {second}, as it is spelled?",
            "Going by how it is spelled, name the interval from {first} {way} to {second}.",
            "{first} is followed by {second}, going {way}. Which interval is spelled here?",
        )
    )

    def make(rng: Random) -> Draft | None:
        if (drawn := _two_notes(rng, level)) is None:
            return None
        low, distance, high = drawn
        down = level > 1 and rng.random() < 0.5
        first, second = (high, low) if down else (low, high)
        return draft(
            rng,
            ("intervals.name", low.full_name, high.full_name, "down" if down else "up"),
            [wording + _OCTAVES for wording in wordings],
            answer=distance.name,
            wrong=near_intervals(distance, alike=level > 1),
            because="From {low} up to {high}, counting both, there are {letters}, and {size}: {answer}.",
            first=first.full_name,
            second=second.full_name,
            way="down" if down else "up",
            low=low.full_name,
            high=high.full_name,
            letters=count_of(distance.number, "letter"),
            size=count_of(distance.semitones, "semitone"),
        )

    return make


def _build(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        if (drawn := _two_notes(rng, level)) is None:
            return None
        low, distance, high = drawn
        down = rng.random() < (0.25 if level == 1 else 0.5)
        start, end = (high, low) if down else (low, high)
        if level < 3 and max(abs(low.alteration), abs(high.alteration)) > 1:
            return None
        return draft(
            rng,
            ("intervals.build", start.name, distance.short, "below" if down else "above"),
            (
                (
                    "Which note is {distance} {way} {start}?",
                    "Starting on {start}, which note do you reach {distance} {side}?",
                    "Name the note that lies {distance} {way} {start}.",
                )
                if level == 1
                else (
                    "Which note, spelled correctly, is {distance} {way} {start}?",
                    "How is the note spelled that lies {distance} {way} {start}?",
                    "Go {distance} {side} from {start}. How is the note that you reach spelled?",
                )
            ),
            answer=end.name,
            wrong=[
                other.name
                for other in (
                    pick_unlike(near_pitches(end, alike=False), [end])
                    if level == 1
                    else near_pitches(end, alike=True, most=2)
                )
            ],
            because="{distance_} spans {letters} and {size}, which from {start} {side} gives {answer}.",
            start=start.name,
            distance=a(distance.name),
            distance_=a(distance.name).capitalize(),
            way="below" if down else "above",
            side="down" if down else "up",
            letters=count_of(distance.number, "letter"),
            size=count_of(distance.semitones, "semitone"),
        )

    return make


def _semitones(level: int) -> Maker:
    pool = {1: SIMPLE, 2: ALTERED, 3: COMPOUND + ALTERED_COMPOUND}[level]

    def make(rng: Random) -> Draft | None:
        distance = rng.choice(pool)
        return draft(
            rng,
            ("intervals.semitones", distance.short),
            (
                "How many semitones are there in {distance}?",
                "{distance_} is how many semitones wide?",
                "Count the semitones of {distance}.",
                "What is the size of {distance} in semitones?",
            ),
            answer=distance.semitones,
            wrong=numbers_near(rng, distance.semitones),
            because="{distance_} spans {letters}; with its quality its size in semitones is {answer}.",
            distance=a(distance.name),
            distance_=a(distance.name).capitalize(),
            letters=count_of(distance.number, "letter"),
        )

    return make


def _inversion(level: int) -> Maker:
    pool = {1: SIMPLE[:-1], 2: ALTERED[1:-1]}[level]

    def make(rng: Random) -> Draft | None:
        distance = rng.choice(pool)
        return draft(
            rng,
            ("intervals.inversion", distance.short),
            (
                "What does {distance} become when it is inverted?",
                "Which interval is the inversion of {distance}?",
                "The lower note of {distance} is moved up an octave. Which interval results?",
                "Invert {distance} within the octave. What do you get?",
            ),
            answer=distance.inversion.name,
            wrong=[
                other.name
                for other in SIMPLE[:-1] + ALTERED[1:-1]
                if other.semitones != distance.inversion.semitones and abs(other.number - 9 + distance.number) <= 1
            ],
            because="The numbers of an interval and its inversion add up to nine, major and minor change places, as do "
            "augmented and diminished: {answer}.",
            distance=a(distance.name),
        )

    return make


def _inverted_notes(rng: Random) -> Draft | None:
    drawn = _two_notes(rng, 2)
    if drawn is None or drawn[1].number in (1, 8):
        return None
    low, distance, high = drawn
    return draft(
        rng,
        ("intervals.inverted", low.name, high.name),
        (
            "The interval from {low} up to {high}, less than an octave, is inverted. Which interval is spelled then?",
            "Turn the interval {low}-{high} upside down, so that {high} is below the nearest {low}. How is the new "
            "interval called, as it is spelled?",
            "From {low} up to {high} is less than an octave. Which interval, as spelled, leads from {high} up to the "
            "next {low}?",
        ),
        answer=distance.inversion.name,
        wrong=[*near_intervals(distance.inversion, alike=True), distance.name],
        because="{low} up to {high} is {distance}, and inverted numbers add up to nine: {answer}.",
        low=low.name,
        high=high.name,
        distance=a(distance.name),
    )


def _compound(level: int) -> Maker:
    pool = COMPOUND[:-1] if level == 2 else ALTERED_COMPOUND[1:]

    def make(rng: Random) -> Draft | None:
        distance = rng.choice(pool)
        simple = Interval(distance.number - 7, distance.quality)
        widen = rng.random() < 0.5
        question, right = (simple, distance) if widen else (distance, simple)
        wordings = (
            (
                "Which interval is {question} plus an octave?",
                "Widen {question} by an octave. What is the interval called?",
            )
            if widen
            else (
                "{question_} is an octave plus which interval?",
                "Reduce {question} by an octave. Which simple interval is left?",
            )
        )
        return draft(
            rng,
            ("intervals.compound", "widen" if widen else "reduce", question.short),
            wordings,
            answer=right.name,
            wrong=near_intervals(right, alike=False),
            because="An octave adds seven to the number and leaves the quality as it is: {answer}.",
            question=a(question.name),
            question_=a(question.name).capitalize(),
        )

    return make


def _same_sound(rng: Random) -> Draft | None:
    pool = SIMPLE[:-1] + ALTERED[1:-1]
    distance = rng.choice(pool)
    alike = [other for other in pool if other.semitones == distance.semitones and other != distance]
    if not alike:
        return None
    right = rng.choice(alike)
    return draft(
        rng,
        ("intervals.same_sound", distance.short, right.short),
        (
            "Which interval sounds the same as {distance}?",
            "On a piano {distance} cannot be told by ear from which other interval?",
            "Which of these is as many semitones wide as {distance}?",
        ),
        answer=right.name,
        wrong=[
            other.name
            for other in pool
            if other.semitones != right.semitones and abs(other.semitones - right.semitones) <= 2
        ],
        because="Both are {size} semitones wide: {distance} and {right}.",
        distance=a(distance.name),
        right=a(right.name),
        size=right.semitones,
    )


def _sum(level: int) -> Maker:
    parts = SIMPLE[:6] if level == 2 else SIMPLE + ALTERED[1:-1]

    def make(rng: Random) -> Draft | None:
        lower, upper = rng.choice(parts), rng.choice(parts)
        total = stacked(lower, upper)
        if total is None or total.number > 14:
            return None
        return draft(
            rng,
            ("intervals.sum", lower.short, upper.short),
            (
                "{upper_} is put on top of {lower}. Which interval do the outer notes make, as it is spelled?",
                "Go up {lower}, then up {upper}. Which interval is spelled between start and end?",
                "Which interval, as spelled, is the sum of {lower} and {upper}?",
            ),
            answer=total.name,
            wrong=near_intervals(total, alike=True),
            because="{low_size} and {high_size} semitones make {size}, and {first} and {second} letters make {number}, "
            "as one is shared: {answer}.",
            lower=a(lower.name),
            upper=a(upper.name),
            upper_=a(upper.name).capitalize(),
            low_size=lower.semitones,
            high_size=upper.semitones,
            size=total.semitones,
            first=lower.number,
            second=upper.number,
            number=total.number,
        )

    return make


def _two_steps(rng: Random) -> Draft | None:
    """Up one interval, down another: where does one land?"""
    start = Pitch(rng.choice("CDEFGAB"), rng.choice((-1, 0, 1)))
    up, down = rng.choice(SIMPLE), rng.choice(SIMPLE)
    end = below(above(start, up), down)
    if up == down or abs(end.alteration) > 1 or abs(above(start, up).alteration) > 2:
        return None
    return draft(
        rng,
        ("intervals.two_steps", start.name, up.short, down.short),
        (
            "From {start} go up {up}, then down {down}. How is the note that you reach spelled?",
            "A voice on {start} rises by {up} and falls by {down}. On which note, spelled correctly, does it end?",
        ),
        answer=end.name,
        wrong=[other.name for other in near_pitches(end, alike=True)],
        because="Up {up} from {start} is {middle}, and down {down} from there is {answer}.",
        start=start.name,
        up=a(up.name),
        down=a(down.name),
        middle=above(start, up).name,
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_name(1), _name(1), _build(1), _build(1), _semitones(1), _inversion(1)),
    2: (_name(2), _name(2), _build(2), _build(2), _semitones(2), _inversion(2), _inverted_notes, _compound(2), _sum(2)),
    3: (_name(3), _build(3), _semitones(3), _compound(3), _sum(3), _same_sound, _two_steps, _two_steps),
}
