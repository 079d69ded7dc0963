"""Questions about scales and modes: their notes, degrees and names, and how they differ."""

from itertools import pairwise
from random import Random

from chatmusician.music.theory.draft import Draft, Maker, draft, names, pick_unlike
from chatmusician.music.theory.scales import DEGREES, MODES, ORDINALS, SCALES, spell, tonics
from chatmusician.music.theory.spelling import Pitch, near_pitches, pitch

_SCALES = {
    1: (("major", 3), ("natural minor", 2)),
    2: tuple((name, 4) for name in ("major", "natural minor", "harmonic minor", *MODES[1:5])),
    3: tuple((name, 7) for name in SCALES if name != "whole tone"),
}
"""Scales of a level with the most sharps or flats of their signatures."""
_ASCENDING = {"melodic minor": "ascending melodic minor", "whole tone": "whole-tone", "blues": "minor blues"}


def _called(tonic: str, scale: str) -> str:
    return f"{tonic} {_ASCENDING.get(scale, scale)}"


def _draw(rng: Random, level: int) -> tuple[str, str, tuple[Pitch, ...]]:
    scale, most = rng.choice(_SCALES[level])
    tonic = rng.choice(tonics(scale, most))
    return tonic, scale, spell(tonic, scale)


def _degree(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic, scale, notes = _draw(rng, level)
        if scale == "blues":  # its middle note is spelled both ways
            return None
        index = rng.randrange(1, len(notes))
        right = notes[index]
        others = [note for note in notes if note.sound != right.sound]
        near = near_pitches(right, alike=level > 1, most=1 if level < 3 else 2)
        return draft(
            rng,
            ("scales.degree", tonic, scale.replace(" ", "_"), index + 1),
            (
                (
                    "What is the {ordinal} note of the {scale} scale?",
                    "Which note is on the {ordinal} degree of the {scale} scale?",
                    "Counting the tonic as the first note, name the {ordinal} note of {scale}.",
                )
                if level == 1
                else (
                    "How is the {ordinal} note of the {scale} scale spelled?",
                    "Which note, spelled correctly, comes {ordinal} in the {scale} scale, its tonic being the first?",
                    "Go up the {scale} scale from its tonic, the first note. How is the {ordinal} note spelled?",
                )
            ),
            answer=right.name,
            wrong=[note.name for note in pick_unlike((*near, *others), [right])]
            if level == 1
            else [note.name for note in near],
            because="{scale} is {notes}; its {ordinal} note is {answer}.",
            ordinal=ORDINALS[index],
            scale=_called(tonic, scale),
            notes=names(notes),
        )

    return make


def _degree_name(level: int) -> Maker:
    scale_names = {1: ("major",), 2: ("major", "harmonic minor")}[level]

    def make(rng: Random) -> Draft | None:
        scale = rng.choice(scale_names)
        tonic = rng.choice(tonics(scale, 3 if level == 1 else 6))
        notes = spell(tonic, scale)
        index = rng.randrange(1, 7)
        if rng.random() < 0.5:
            return draft(
                rng,
                ("scales.name_of_degree", tonic, scale.replace(" ", "_"), index + 1),
                (
                    "What is {note} called in {scale}?",
                    "Which degree of {scale} is {note}?",
                    "In {scale}, {note} is the ...",
                ),
                answer=DEGREES[index],
                wrong=DEGREES,
                because="{note} is the {ordinal} note of {scale}, the {answer}.",
                note=notes[index].name,
                scale=_called(tonic, scale),
                ordinal=ORDINALS[index],
            )
        return draft(
            rng,
            ("scales.degree_by_name", tonic, scale.replace(" ", "_"), index + 1),
            (
                "Which note is the {degree} of {scale}?",
                "Name the {degree} of {scale}.",
                "In {scale}, what is the {degree}?",
            ),
            answer=notes[index].name,
            wrong=[
                note.name for note in pick_unlike((*notes, *near_pitches(notes[index], alike=False)), [notes[index]])
            ],
            because="The {degree} is the {ordinal} note; in {scale} that is {answer}.",
            degree=DEGREES[index],
            scale=_called(tonic, scale),
            ordinal=ORDINALS[index],
        )

    return make


def _membership(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic, scale, notes = _draw(rng, level)
        sounds = {note.sound for note in notes}
        near = {other for note in notes for other in near_pitches(note, alike=False)}
        outside = sorted(other for other in near if other.sound not in sounds)
        inside = [note for note in notes if note.name != tonic]
        if rng.random() < 0.5:
            right = rng.choice(outside)
            return draft(
                rng,
                ("scales.outside", tonic, scale.replace(" ", "_"), right.name),
                (
                    "Which of these notes is not in the {scale} scale?",
                    "Three of these notes belong to {scale}. Which one does not?",
                    "Find the note that is foreign to the {scale} scale.",
                ),
                answer=right.name,
                wrong=[note.name for note in inside],
                because="{scale} is {notes}; {answer} is not among them.",
                scale=_called(tonic, scale),
                notes=names(notes),
            )
        right = rng.choice(inside)
        return draft(
            rng,
            ("scales.inside", tonic, scale.replace(" ", "_"), right.name),
            (
                "Which of these notes is in the {scale} scale?",
                "Only one of these notes belongs to {scale}. Which?",
                "Find the note that the {scale} scale contains.",
            ),
            answer=right.name,
            wrong=[note.name for note in pick_unlike(rng.sample(outside, len(outside)), notes)],
            because="{scale} is {notes}; of the four only {answer} is among them.",
            scale=_called(tonic, scale),
            notes=names(notes),
        )

    return make


def _name(level: int) -> Maker:
    scales = (("whole tone", 3), *_SCALES[3]) if level == 3 else _SCALES[level]

    def make(rng: Random) -> Draft | None:
        scale, most = rng.choice(scales)
        tonic = rng.choice(tonics(scale, most))
        notes = spell(tonic, scale)
        near = [_called(tonic, other) for other in SCALES]
        if level == 1:
            near = [_called(tonic, other) for other in ("major", "natural minor", "harmonic minor", "dorian", "lydian")]
        return draft(
            rng,
            ("scales.name", *[note.name for note in notes]),
            (
                "Which scale has these notes, upwards from its tonic: {notes}?",
                "Name the scale that goes {notes}.",
                "{notes}: which scale is this, if the first note is the tonic?",
            ),
            answer=_called(tonic, scale),
            wrong=near,
            because="Above {tonic} these notes are {steps} semitones away, which makes {answer}.",
            notes=names(notes),
            tonic=tonic,
            steps=", ".join(str(note.midi - notes[0].midi) for note in notes[1:]),
        )

    return make


def _spelling(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic, scale, notes = _draw(rng, level)
        if scale == "blues":
            return None
        wrong = []
        for _ in range(8):
            index = rng.randrange(1, len(notes))
            near = near_pitches(notes[index], alike=True, most=2)
            changed = (*notes[:index], rng.choice(near), *notes[index + 1 :])
            if len({note.letter for note in changed}) >= len({note.letter for note in notes}) or rng.random() < 0.3:
                wrong.append(names(changed))
        return draft(
            rng,
            ("scales.spelling", tonic, scale.replace(" ", "_")),
            (
                "How is the {scale} scale spelled?",
                "Which of these is {scale}, correctly spelled?",
                "Choose the right spelling of the {scale} scale.",
            ),
            answer=names(notes),
            wrong=wrong,
            because="Above {tonic} the scale goes up by {steps} semitones, each degree with a letter of its own: "
            "{answer}.",
            scale=_called(tonic, scale),
            tonic=tonic,
            steps=", ".join(str(high.midi - low.midi) for low, high in pairwise(notes)),
        )

    return make


def _mode_of(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic = rng.choice(tonics("major", 3 if level == 2 else 7))
        index = rng.choice((1, 2, 3, 4, 6))
        mode, start = MODES[index], spell(tonic, "major")[index].name
        if rng.random() < 0.5:
            return draft(
                rng,
                ("scales.mode_on_degree", tonic, index + 1),
                (
                    "Play the notes of {major} from {start} to {start}. Which mode is that?",
                    "Which mode has the notes of {major} but {start} as its tonic?",
                    "Which mode starts on {start} and has all the notes of {major}?",
                ),
                answer=mode,
                wrong=[other for other in MODES if other not in ("major", "natural minor")],
                because="{start} is the {ordinal} note of {major}, and the mode on the {ordinal} degree is {answer}.",
                major=f"{tonic} major",
                start=start,
                ordinal=ORDINALS[index],
            )
        return draft(
            rng,
            ("scales.parent", start, mode),
            (
                "Which major scale has the same notes as {mode}?",
                "{mode} is made of the notes of which major scale?",
                "Of which major scale is {mode} a mode?",
            ),
            answer=f"{tonic} major",
            wrong=[
                f"{note.name} major"
                for note in pick_unlike(
                    [note for note in spell(start, mode) if note.name != tonic]
                    + near_pitches(pitch(tonic), alike=False),
                    [pitch(tonic)],
                )
            ],
            because="{name} is the mode on the {ordinal} degree, and {start} is the {ordinal} note of {answer}.",
            mode=f"{start} {mode}",
            name=mode.capitalize(),
            start=start,
            ordinal=ORDINALS[index],
        )

    return make


def _difference(level: int) -> Maker:
    """One note tells two scales on one tonic apart."""
    pairs = [
        (first, second)
        for first in (*MODES, "harmonic minor", "melodic minor")
        for second in (*MODES, "harmonic minor", "melodic minor")
        if sum(one != other for one, other in zip(SCALES[first], SCALES[second], strict=True)) == 1
    ]

    def make(rng: Random) -> Draft | None:
        first, second = rng.choice(pairs)
        tonic = rng.choice(tonics(first, 2 if level == 2 else 6))
        from_, to = next(
            (one, other)
            for one, other in zip(spell(tonic, first), spell(tonic, second), strict=True)
            if one.name != other.name
        )
        if abs(to.alteration) > 2:
            return None
        others = [
            (one, other._replace(alteration=one.alteration + change))
            for one, other in zip(spell(tonic, first), spell(tonic, second), strict=True)
            for change in (-1, 1)
            if abs(one.alteration + change) <= 2 and one.letter != tonic[0]
        ]
        return draft(
            rng,
            ("scales.difference", tonic, first.replace(" ", "_"), second.replace(" ", "_")),
            (
                "What has to change to turn {first} into {second} on the same tonic?",
                "{first} becomes {second} by changing one note. Which?",
                "By which note do {first} and {second} differ?",
            ),
            answer=f"{from_.name} becomes {to.name}",
            wrong=[f"{one.name} becomes {other.name}" for one, other in others],
            because="{first} is {notes} and {second} is {changed}.",
            first=_called(tonic, first),
            second=_called(tonic, second),
            notes=names(spell(tonic, first)),
            changed=names(spell(tonic, second)),
        )

    return make


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_degree(1), _degree_name(1), _membership(1), _name(1)),
    2: (_degree(2), _degree_name(2), _membership(2), _name(2), _mode_of(2), _difference(2)),
    3: (_degree(3), _membership(3), _name(3), _spelling(3), _mode_of(3), _difference(3)),
}
