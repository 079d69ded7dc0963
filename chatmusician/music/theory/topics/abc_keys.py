"""Questions about keys in ABC: signatures, degrees, chords under a signature, and transposition, read from a tune."""

from fractions import Fraction
from random import Random

from chatmusician.music.keys import Key
from chatmusician.music.theory.abc_tunes import C_MAJOR, MOST, AbcTune, key_of, notated, random_tune, tune_of
from chatmusician.music.theory.chords import CHORDS, SEVENTHS, TRIADS, chord, chord_name, inverted
from chatmusician.music.theory.draft import Draft, Maker, a, count_of, draft, numbers_near
from chatmusician.music.theory.scales import (
    altered_letters,
    ordinal,
    sharps,
    signature_text,
    spell,
    tonic_with,
    tonics,
)
from chatmusician.music.theory.spelling import (
    SIMPLE,
    Pitch,
    above,
    below,
    pitch,
)


def _facts(kind: str, tune: AbcTune, *about: object) -> tuple[object, ...]:
    return (f"abc_keys.{kind}", f"K:{tune.key}", tune.body.replace(" ", ""), *about)


def _signature(level: int) -> Maker:
    """The key signature that ``K:`` means."""

    def make(rng: Random) -> Draft | None:
        tune = tune_of(rng, level)
        count = tune.key.sharps
        near = {count - 2, count - 1, count + 1, count + 2, -count, 1 - count} - {count}
        return draft(
            rng,
            ("abc_keys.signature", str(tune.key)),
            (
                "How many sharps or flats does the key of this tune put on the staff?",
                "Which key signature does the K: field of this tune stand for?",
                "What is the key signature of this tune?",
            ),
            answer=signature_text(count),
            wrong=[signature_text(other) for other in near if abs(other) <= 7],
            because="K:{key} is {name}, which has {answer}.",
            key=tune.key,
            name=f"{tune.key.tonic} {tune.key.mode}",
            abc=tune.text(),
        )

    return make


def _affected(rng: Random) -> Draft | None:
    """How many notes the key signature alters."""
    tune = tune_of(rng, 2)
    if not tune.key.sharps:
        return None
    count = sum(note.pitch.alteration != 0 for bar in tune.bars for note in bar)
    return draft(
        rng,
        _facts("affected", tune),
        (
            "How many notes of this tune does the key signature sharpen or flatten?",
            "Count the notes that the key signature of this tune alters.",
        ),
        answer=count,
        wrong=numbers_near(rng, count),
        because="K:{key} alters {letters}, and the tune has {answer} of these notes.",
        key=tune.key,
        letters=" ".join(altered_letters(tune.key.sharps)),
        abc=tune.text(),
    )


def _degree(level: int) -> Maker:
    """The degree that a note is in the key of its tune."""

    def make(rng: Random) -> Draft | None:
        tune = tune_of(rng, level)
        number = rng.randrange(len(tune.bars))
        index = rng.randrange(len(tune.bars[number]))
        note = tune.bars[number][index].pitch
        degree = (note.place - pitch(tune.key.tonic).place) % 7 + 1
        return draft(
            rng,
            _facts("degree", tune, number + 1, index + 1),
            (
                "Which degree of the scale of this tune's key is the {ordinal} note of bar {bar}?",
                "Counting the tonic as 1, what degree of the key is the {ordinal} note of bar {bar}?",
            ),
            answer=degree,
            wrong=range(1, 8),
            because="The note is {note}, and up from {tonic}, the tonic, it is number {answer}.",
            ordinal=ordinal(index),
            bar=number + 1,
            note=note.name,
            tonic=tune.key.tonic,
            abc=tune.text(),
        )

    return make


def _chord(level: int) -> Maker:
    """A chord written in brackets under a key signature."""
    kinds = tuple(CHORDS)[:3] if level == 1 else tuple(CHORDS)[:8]

    def make(rng: Random) -> Draft | None:
        key = C_MAJOR if level == 1 else key_of(rng, level)
        size = 2 if level == 1 else 3
        pool = [note.name for note in spell(key.tonic, "major")] + ["C", "D", "E", "F", "G", "A", "B"]
        drawn = []
        for _ in range(size):
            root, kind = rng.choice(pool), rng.choice(kinds)
            notes = chord(root, kind)
            place = rng.randrange(len(notes)) if level == 3 else 0
            drawn.append((root, kind, inverted(notes, place)))
        if any(abs(note.alteration) > 1 for _, _, notes in drawn for note in notes):
            return None
        rows = notated([notes for _, _, notes in drawn], signature=key)
        body = " | ".join(f"[{''.join(row)}]8" for row in rows) + " |]"
        number = rng.randrange(size)
        root, kind, notes = drawn[number]
        same_size = tuple(TRIADS) if kind in TRIADS else tuple(SEVENTHS)
        wrong = [chord_name(root, other) for other in same_size]
        if level > 1:
            wrong += [chord_name(note.name, other) for note in notes[:3] for other in same_size if note.name != root]
        return draft(
            rng,
            ("abc_keys.chord", f"K:{key}", body.replace(" ", ""), number + 1),
            (
                ("Which chord is in bar {bar}?", "Name the chord of bar {bar}.")
                if level == 1
                else (
                    "Which chord is spelled in bar {bar}?",
                    "Name the chord of bar {bar}, as it is spelled with the accidentals of the key.",
                )
            ),
            answer=chord_name(root, kind),
            wrong=wrong,
            because="With the key signature the notes are {notes}; in thirds above {root} they make {answer}.",
            bar=number + 1,
            notes=" ".join(note.name for note in notes),
            root=root,
            abc=f"X:1\nM:4/4\nL:1/8\nK:{key}\n{body}",
        )

    return make


def _transpose(level: int) -> Maker:
    """A bar of melody in another key; the options are bars of ABC."""

    def make(rng: Random) -> Draft | None:
        key = Key(tonic=rng.choice(tonics("major", MOST[level - 1])), mode="major")
        distance = rng.choice(SIMPLE[:6] if level == 2 else SIMPLE[:10])
        down = rng.random() < 0.5
        move = below if down else above
        tonic = move(pitch(key.tonic), distance).name
        if len(tonic) > 2 or abs(sharps(tonic, "major")) > 6:
            return None
        target = key.on(tonic)
        tune = random_tune(rng, key=key, meter=(4, 4), bars=1, accidentals=0.0 if level == 2 else 0.25)
        bar = tune.bars[0]
        moved = [move(note.pitch, distance) for note in bar]
        if not 3 <= len(bar) <= 8 or any(abs(note.alteration) > 1 for note in moved):
            return None

        def row(pitches: list[Pitch]) -> str:
            texts = notated([pitches], signature=target)[0]
            return " ".join(
                text + (str(note.units) if note.units != 1 else "") for text, note in zip(texts, bar, strict=True)
            )

        def shifted(note: Pitch, steps: int) -> Pitch:
            octave, letter = divmod(note.place + steps, 7)
            name = "CDEFGAB"[letter]
            return Pitch(name, target.signature[name], octave)

        wrong = [[shifted(note, steps) for note in moved] for steps in (-2, -1, 1, 2)]
        for _ in range(3):
            spot = rng.randrange(len(moved))
            wrong.append([*moved[:spot], shifted(moved[spot], rng.choice((-1, 1))), *moved[spot + 1 :]])
        if level == 3:
            for spot in [spot for spot, note in enumerate(bar) if note.mark]:
                other = moved[spot]._replace(
                    alteration=rng.choice([c for c in (-1, 0, 1) if c != moved[spot].alteration])
                )
                wrong.append([*moved[:spot], other, *moved[spot + 1 :]])
        unlike = {tuple(note.midi for note in pitches): pitches for pitches in reversed(wrong)}
        unlike.pop(tuple(note.midi for note in moved), None)
        return draft(
            rng,
            _facts("transpose", tune, distance.short, "down" if down else "up"),
            (
                "This bar is transposed {way} by {distance}, with K:{target} in the header. Which bar results?",
                "Move this bar {way} {distance}, from K:{key} to K:{target}. How does it read then?",
            ),
            answer=row(moved),
            wrong=[row(pitches) for pitches in unlike.values()],
            because="Every note moves {letters} {way} on the staff, and K:{target} has {signature}; accidentals keep "
            "their effect: {answer}.",
            way="down" if down else "up",
            distance=a(distance.name),
            key=key,
            target=target,
            letters=count_of(distance.number - 1, "letter"),
            signature=signature_text(target.sharps),
            abc=tune.text(),
        )

    return make


def _hidden_key(rng: Random) -> Draft | None:
    """A melody without a key signature, its accidentals written out, that uses a whole scale."""
    scale = rng.choice(("major", "natural minor", "harmonic minor", "dorian"))
    tonic = rng.choice(tonics(scale, 5))
    notes = spell(tonic, scale)
    middle = rng.sample(notes[1:], 6)
    row = [notes[0], *middle, notes[0]]
    if any(abs(note.alteration) > 1 for note in row):
        return None
    texts = notated([row], signature=C_MAJOR)[0]
    body = "".join(texts[:4]) + " " + "".join(texts[4:]) + " |]"
    count = sharps(tonic, scale)
    near = [tonic_with(other, scale) for other in (count - 1, count + 1, count + 2, count - 2) if abs(other) <= 7]
    others = ("major", "natural minor", "harmonic minor", "melodic minor", "dorian", "phrygian", "lydian", "mixolydian")
    return draft(
        rng,
        ("abc_keys.hidden_key", body.replace(" ", "")),
        (
            "This bar begins and ends on its tonic and has every note of a scale, with accidentals in place of a key "
            "signature. Which scale?",
            "The accidentals are written out and K:C says nothing about the key. Which scale do these notes make, the "
            "first and last being the tonic?",
        ),
        answer=f"{tonic} {scale}",
        wrong=[f"{tonic} {other}" for other in others] + [f"{other} {scale}" for other in near],
        because="In order the notes are {notes}, which is {answer}.",
        notes=" ".join(note.name for note in notes),
        abc=f"X:1\nM:4/4\nL:{Fraction(1, 8)}\nK:C\n{body}",
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_signature(1), _degree(1), _chord(1)),
    2: (_signature(2), _affected, _degree(2), _chord(2), _transpose(2)),
    3: (_degree(3), _chord(3), _transpose(3), _hidden_key),
}
