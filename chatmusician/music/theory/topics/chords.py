"""Questions about triads and seventh chords: their names, notes, symbols, inversions and figures."""

from random import Random

from chatmusician.music.theory.chords import (
    CHORDS,
    FIGURES,
    INVERSIONS,
    MEMBERS,
    SEVENTHS,
    TRIADS,
    chord,
    chord_name,
    inverted,
    symbol,
)
from chatmusician.music.theory.draft import Draft, Maker, a, draft, names, pick_unlike, rows_unlike
from chatmusician.music.theory.spelling import Pitch, near_pitches

_KINDS = {1: tuple(TRIADS)[:3], 2: tuple(CHORDS)[:8], 3: tuple(CHORDS)}
_ROOTS = {1: ("C", "D", "E", "F", "G", "A", "B", "Bb", "Eb", "F#"), 2: (), 3: ()}
_ALL_ROOTS = tuple(letter + mark for letter in "CDEFGAB" for mark in ("", "#", "b"))


def _draw(rng: Random, level: int) -> tuple[str, str, tuple[Pitch, ...]] | None:
    """A chord of the level with no double accidental below level 3."""
    root, kind = rng.choice(_ROOTS[level] or _ALL_ROOTS), rng.choice(_KINDS[level])
    notes = chord(root, kind)
    most = max(abs(note.alteration) for note in notes)
    return (root, kind, notes) if most <= (2 if level == 3 else 1) else None


def _same_size(kind: str) -> tuple[str, ...]:
    return tuple(TRIADS) if kind in TRIADS else tuple(SEVENTHS)


def _name(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        if (drawn := _draw(rng, level)) is None:
            return None
        root, kind, notes = drawn
        inversion = rng.randrange(len(notes)) if level > 1 else 0
        row = list(inverted(notes, inversion))
        if level == 3:
            rng.shuffle(row)
        wrong = [chord_name(root, other) for other in _same_size(kind)]
        if level > 1:
            wrong += [chord_name(note.name, other) for note in row for other in _same_size(kind) if note.name != root]
        return draft(
            rng,
            ("chords.name", *sorted(note.name for note in notes)),
            (
                ("Which chord is {notes}?", "Name the triad {notes}, from the bottom up.", "{notes} make which chord?")
                if level == 1
                else (
                    "Which chord is spelled {notes}, in whatever order?",
                    "The notes {notes} sound together. Which chord do they spell?",
                    "Put {notes} in thirds. Which chord is spelled?",
                )
            ),
            answer=chord_name(root, kind),
            wrong=wrong,
            because="In thirds the notes are {thirds}; above {root} lie {intervals}: {answer}.",
            notes=names(row),
            thirds=names(notes),
            root=root,
            intervals=" and ".join(f"{a(distance.name)}" for distance in CHORDS[kind][1:]),
        )

    return make


def _spell(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        if (drawn := _draw(rng, level)) is None:
            return None
        root, kind, notes = drawn
        wrong = [chord(root, other) for other in _same_size(kind)]
        for index in range(1, len(notes)):
            near = near_pitches(notes[index], alike=level > 1)
            wrong += [(*notes[:index], other, *notes[index + 1 :]) for other in near]
        return draft(
            rng,
            ("chords.spell", root, kind.replace(" ", "_")),
            (
                (
                    "Which notes make {chord}?",
                    "What are the notes of {chord}, from its root upwards?",
                    "Pick the notes of {chord}.",
                )
                if level == 1
                else (
                    "How is {chord} spelled?",
                    "Which of these is {chord}, correctly spelled?",
                    "Choose the right spelling of {chord}.",
                )
            ),
            answer=names(notes),
            wrong=[names(row) for row in (rows_unlike(wrong, notes) if level == 1 else wrong)],
            because="{chord_} has {intervals} above its root: {answer}.",
            chord=a(f"{root} {kind}"),
            chord_=f"{a(root).split()[0].capitalize()} {root} {kind}",
            intervals=" and ".join(f"{a(distance.name)}" for distance in CHORDS[kind][1:]),
        )

    return make


def _member(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        if (drawn := _draw(rng, level)) is None:
            return None
        root, kind, notes = drawn
        index = rng.randrange(1, len(notes))
        right = notes[index]
        near = near_pitches(right, alike=level > 1)
        if level == 1:
            near = pick_unlike([*near, *[note for note in notes if note != right]], [right])
        return draft(
            rng,
            ("chords.member", root, kind.replace(" ", "_"), index),
            (
                ("Which note is the {member} of {chord}?", "Name the {member} of {chord}.")
                if level == 1
                else (
                    "How is the {member} of {chord} spelled?",
                    "Which note, spelled correctly, is the {member} of {chord}?",
                )
            ),
            answer=right.name,
            wrong=[note.name for note in near],
            because="{chord_} is {notes}; its {member} is {answer}.",
            member=MEMBERS[index],
            chord=a(f"{root} {kind}"),
            chord_=f"{a(root).split()[0].capitalize()} {root} {kind}",
            notes=names(notes),
        )

    return make


def _inversion(level: int) -> Maker:
    figured = level == 3

    def make(rng: Random) -> Draft | None:
        if (drawn := _draw(rng, level)) is None:
            return None
        root, _, notes = drawn
        inversion = rng.randrange(len(notes))
        figures = FIGURES[len(notes)]
        return draft(
            rng,
            ("chords.figure" if figured else "chords.inversion", *[note.name for note in inverted(notes, inversion)]),
            (
                (
                    "Which figures does the chord {notes}, bass first and spelled in thirds, have in figured bass?",
                    "{bass} is in the bass, and above it are {rest}, spelled in thirds. What is the figured bass?",
                )
                if figured
                else (
                    "In which position is the chord {notes}, bass first, which is spelled in thirds above its root?",
                    "The notes {notes}, from the bottom up, spell a chord of thirds. In which position is it?",
                    "{bass} is the lowest note of a chord spelled in thirds, with {rest}. What is its position?",
                )
            ),
            answer=figures[inversion] if figured else INVERSIONS[inversion],
            wrong=FIGURES[3] + FIGURES[4] if figured else INVERSIONS,
            because="The root is {root}, so the {member} is in the bass: {position}{figures}.",
            notes=names(inverted(notes, inversion)),
            bass=notes[inversion].name,
            rest=" and ".join(note.name for note in inverted(notes, inversion)[1:]),
            root=root,
            member=MEMBERS[inversion],
            position=INVERSIONS[inversion],
            figures=f", {figures[inversion]}" if figured else "",
        )

    return make


def _bass(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        if (drawn := _draw(rng, level)) is None:
            return None
        root, kind, notes = drawn
        inversion = rng.randrange(1, len(notes))
        figure = level == 3
        right = notes[inversion]
        return draft(
            rng,
            ("chords.bass", root, kind.replace(" ", "_"), inversion),
            (
                (
                    "Which note is in the bass of {chord} with the figures {figures}?",
                    "The figured bass of {chord} is {figures}. What is its lowest note?",
                )
                if figure
                else (
                    "Which note is the lowest of {chord} in {position}?",
                    "{chord_} stands in {position}. Which note is in the bass?",
                )
            ),
            answer=right.name,
            wrong=[
                note.name
                for note in pick_unlike(
                    [*[note for note in notes if note != right], *near_pitches(right, alike=False)], [right]
                )
            ],
            because="{position_} has the {member} in the bass; of {notes} that is {answer}.",
            chord=a(f"{root} {kind}"),
            chord_=f"{a(root).split()[0].capitalize()} {root} {kind}",
            position=INVERSIONS[inversion],
            position_=INVERSIONS[inversion].capitalize(),
            figures=FIGURES[len(notes)][inversion],
            member=MEMBERS[inversion],
            notes=names(notes),
        )

    return make


def _symbol(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        if (drawn := _draw(rng, level)) is None:
            return None
        root, kind, notes = drawn
        wrong = [names(chord(root, other)) for other in CHORDS]
        return draft(
            rng,
            ("chords.symbol", symbol(root, kind)),
            (
                "Which notes does the chord symbol {symbol} stand for?",
                "A lead sheet says {symbol}. Which notes are these?",
                "Choose the notes of {symbol}.",
            ),
            answer=names(notes),
            wrong=wrong,
            because="{symbol} is {chord}: {answer}.",
            symbol=symbol(root, kind),
            chord=a(f"{root} {kind}"),
        )

    return make


def _common(rng: Random) -> Draft | None:
    """Notes that two chords share."""
    (root, kind), (other, second) = ((rng.choice(_ROOTS[1]), rng.choice(_KINDS[2])) for _ in range(2))
    if (root, kind) == (other, second):
        return None
    notes, others = chord(root, kind), chord(other, second)
    shared = [note.name for note in notes if note.name in {note.name for note in others}]
    if not shared and rng.random() < 0.8:
        return None
    return draft(
        rng,
        ("chords.common", *sorted((symbol(root, kind), symbol(other, second)))),
        (
            "How many notes, as they are spelled, do {first} and {second} have in common?",
            "Going from {first} to {second}, how many notes, compared as spelled, can stay?",
        ),
        answer=len(shared),
        wrong=range(5),
        because="{first} is {notes} and {second} is {others}; in common: {shared}.",
        first=chord_name(root, kind),
        second=chord_name(other, second),
        notes=names(notes),
        others=names(others),
        shared=" ".join(shared) or "none",
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_name(1), _spell(1), _member(1), _inversion(1), _bass(1)),
    2: (_name(2), _name(2), _spell(2), _member(2), _inversion(2), _bass(2), _symbol(2)),
    3: (_name(3), _name(3), _spell(3), _member(3), _inversion(3), _bass(3), _symbol(3), _common),
}
