"""Questions about the chords of a key: numerals and back, progressions, cadences, secondary dominants."""

from random import Random

from chatmusician.music.theory.chords import (
    SEVENTHS_OF,
    TRIADS_OF,
    Degree,
    chord,
    chord_name,
    chord_on,
    inverted,
    symbol,
)
from chatmusician.music.theory.draft import Draft, Maker, draft, names, pick_unlike, rows_unlike
from chatmusician.music.theory.scales import sharps, tonics
from chatmusician.music.theory.spelling import near_pitches, pitch

_MOST = {1: 3, 2: 5, 3: 6}
_NOTE = " (Small letters are minor, o is diminished; V and viio in minor have the raised leading note.)"
_CADENCES = {
    ("V", "I"): "authentic cadence",
    ("IV", "I"): "plagal cadence",
    ("V", "vi"): "deceptive cadence",
    ("I", "V"): "half cadence",
}
_PROGRESSIONS = ("I IV V", "I vi IV V", "ii V I", "I V vi IV", "vi ii V I", "I iii IV V", "I ii V vi", "IV V iii vi")


def _draw(rng: Random, level: int) -> tuple[str, str, Degree, tuple[Degree, ...]]:
    mode = "major" if level == 1 else rng.choice(("major", "minor"))
    tonic = rng.choice(tonics(mode, _MOST[level]))
    pool = TRIADS_OF[mode] + (SEVENTHS_OF[mode] if level == 3 else ())
    return tonic, mode, rng.choice(pool), pool


def _rows_of_chords(tonic: str, pool: tuple[Degree, ...]) -> list[str]:
    return [chord_name(*chord_on(tonic, degree)) for degree in pool]


def _chord(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic, mode, degree, pool = _draw(rng, level)
        root, kind = chord_on(tonic, degree)
        twisted = [
            chord_name(root, other) for other in ("major triad", "minor triad", "diminished triad") if other != kind
        ]
        return draft(
            rng,
            ("roman_numerals.chord", tonic, mode, degree.numeral),
            [
                wording + (_NOTE if mode == "minor" else "")
                for wording in (
                    "In {key}, which chord is {numeral}?",
                    "Which chord does the Roman numeral {numeral} stand for in {key}?",
                    "A progression in {key} has the numeral {numeral}. Which chord is played?",
                )
            ],
            answer=chord_name(root, kind),
            wrong=[*_rows_of_chords(tonic, pool), *twisted],
            because="{numeral} stands on {root} in {key}, and its letters and signs make it {answer}.",
            key=f"{tonic} {mode}",
            numeral=degree.numeral,
            root=root,
        )

    return make


def _numeral(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic, mode, degree, pool = _draw(rng, level)
        root, kind = chord_on(tonic, degree)
        return draft(
            rng,
            ("roman_numerals.numeral", tonic, mode, degree.numeral),
            [
                wording + (_NOTE if mode == "minor" else "")
                for wording in (
                    "Which Roman numeral is the {chord} chord in {key}?",
                    "In {key}, how is the chord {chord} written as a Roman numeral?",
                    "The chord {chord} occurs in a piece in {key}. What is its numeral?",
                )
            ],
            answer=degree.numeral,
            wrong=[other.numeral for other in pool],
            because="The root {root} and the kind of the chord make it {answer} in {key}.",
            key=f"{tonic} {mode}",
            chord=chord_name(root, kind),
            root=root,
        )

    return make


def _key(level: int) -> Maker:
    """In which key a chord has a numeral."""

    def make(rng: Random) -> Draft | None:
        tonic, mode, degree, _ = _draw(rng, level)
        root, kind = chord_on(tonic, degree)
        others = [
            other for other in tonics(mode, 7) if any(chord_on(other, place)[0] == root for place in TRIADS_OF[mode])
        ] + [note.name for note in near_pitches(pitch(tonic), alike=False)]
        keys = pick_unlike([pitch(other) for other in others if abs(_sharps(other, mode)) <= 7], [pitch(tonic)])
        return draft(
            rng,
            ("roman_numerals.key", root, kind.replace(" ", "_"), mode, degree.numeral),
            [
                wording + (_NOTE if mode == "minor" else "")
                for wording in (
                    "In which {mode} key is {chord} the {numeral} chord?",
                    "{chord} is {numeral} of which {mode} key?",
                    "For which {mode} tonic does {numeral} mean {chord}?",
                )
            ],
            answer=f"{tonic} {mode}",
            wrong=[f"{other.name} {mode}" for other in keys],
            because="Counting down from {root} as the root of {numeral}, the tonic is {tonic}.",
            mode=mode,
            chord=chord_name(root, kind),
            numeral=degree.numeral,
            root=root,
            tonic=tonic,
        )

    return make


def _sharps(tonic: str, mode: str) -> int:
    """Sharps or flats of a key; a tonic with a double accidental has too many in any case."""
    return sharps(tonic, mode) if len(tonic) < 3 else 99


def _notes(level: int) -> Maker:
    def make(rng: Random) -> Draft | None:
        tonic, mode, degree, pool = _draw(rng, level)
        notes = chord(*chord_on(tonic, degree))
        rows = [chord(*chord_on(tonic, other)) for other in pool if other != degree]
        rows += [chord(notes[0].name, kind) for kind in ("major triad", "minor triad", "diminished triad")]
        return draft(
            rng,
            ("roman_numerals.notes", tonic, mode, degree.numeral),
            [
                wording + (_NOTE if mode == "minor" else "")
                for wording in (
                    "Which notes has {numeral} in {key}?",
                    "What are the notes of the {numeral} chord in {key}, from its root upwards?",
                )
            ],
            answer=names(notes),
            wrong=[names(row) for row in rows_unlike(rows, notes)],
            because="{numeral} in {key} is {chord}, which has the notes {answer}.",
            key=f"{tonic} {mode}",
            numeral=degree.numeral,
            chord=chord_name(*chord_on(tonic, degree)),
        )

    return make


def _progression(level: int) -> Maker:
    by_numeral = {degree.numeral: degree for degree in TRIADS_OF["major"]}

    def line(tonic: str, progression: str) -> str:
        return " ".join(symbol(*chord_on(tonic, by_numeral[numeral])) for numeral in progression.split())

    def make(rng: Random) -> Draft | None:
        tonic, progression = rng.choice(tonics("major", _MOST[level])), rng.choice(_PROGRESSIONS)
        size = len(progression.split())
        near = [other for other in _PROGRESSIONS if len(other.split()) == size]
        kind = rng.choice(("chords", "numerals", "key"))
        chords = line(tonic, progression)
        facts = (f"roman_numerals.progression_{kind}", tonic, progression)
        values = {"key": f"{tonic} major", "numerals": progression, "chords": chords}
        if kind == "chords":
            changed = [
                " ".join(
                    rng.choice(list(by_numeral)) if place == spot else old
                    for place, old in enumerate(progression.split())
                )
                for spot in range(size)
            ]
            return draft(
                rng,
                facts,
                (
                    "Play {numerals} in {key}. Which chords are these?",
                    "Which chords make the progression {numerals} in {key}?",
                ),
                answer=chords,
                wrong=[line(tonic, other) for other in (*near, *changed)],
                because="Counted from the tonic of {key}, {numerals} is {answer}.",
                **values,
            )
        if kind == "numerals":
            return draft(
                rng,
                facts,
                (
                    "In {key}, how is {chords} written in Roman numerals?",
                    "Give the Roman numerals of {chords} in {key}.",
                ),
                answer=progression,
                wrong=[other for other in _PROGRESSIONS if len(other.split()) == size]
                + [" ".join(reversed(progression.split())), " ".join(sorted(progression.split()))],
                because="The roots, counted from the tonic of {key}, give {answer}.",
                **values,
            )
        return draft(
            rng,
            facts,
            (
                "In which major key is {chords} the progression {numerals}?",
                "{chords} is {numerals} in which major key?",
            ),
            answer=f"{tonic} major",
            wrong=[
                f"{other.name} major"
                for other in pick_unlike(
                    [pitch(chord_on(tonic, degree)[0]) for degree in TRIADS_OF["major"][1:]], [pitch(tonic)]
                )
            ],
            because="Where {numerals} is {chords}, the tonic is that of {answer}.",
            **values,
        )

    return make


def _cadence(rng: Random) -> Draft | None:
    tonic = rng.choice(tonics("major", 5))
    by_numeral = {degree.numeral: degree for degree in TRIADS_OF["major"]}
    (first, second), cadence = rng.choice(list(_CADENCES.items()))
    return draft(
        rng,
        ("roman_numerals.cadence", tonic, first, second),
        (
            "A phrase in {key} ends with {first} and {second}. Which cadence is that?",
            "In {key}, what is the cadence {first} to {second} called?",
        ),
        answer=cadence,
        wrong=_CADENCES.values(),
        because="In {key} these chords are {numerals}: a {answer}.",
        key=f"{tonic} major",
        first=chord_name(*chord_on(tonic, by_numeral[first])),
        second=chord_name(*chord_on(tonic, by_numeral[second])),
        numerals=f"{first} and {second}",
    )


def _secondary(rng: Random) -> Draft | None:
    """V7 of a degree of a major key."""
    tonic = rng.choice(tonics("major", 5))
    target = rng.choice(TRIADS_OF["major"][1:6])
    seventh = SEVENTHS_OF["major"][2]
    local = chord_on(tonic, target)[0]
    right = pitch(chord_on(local, seventh)[0])
    roots = [pitch(chord_on(tonic, degree)[0]) for degree in TRIADS_OF["major"]]
    return draft(
        rng,
        ("roman_numerals.secondary", tonic, target.numeral),
        (
            "What is V7/{target}, the dominant seventh of {target}, in {key}?",
            "Which chord is the secondary dominant V7/{target} in {key}?",
            "In {key}, the chord on {target} is prepared by its own dominant seventh. Which chord is that?",
        ),
        answer=right.name + "7",
        wrong=[note.name + "7" for note in pick_unlike([*near_pitches(right, alike=False), *roots], [right])],
        because="{target} stands on {local}, and a fifth above is {root}: {answer}.",
        target=target.numeral,
        key=f"{tonic} major",
        local=local,
        root=right.name,
    )


def _bass(rng: Random) -> Draft | None:
    """The bass of a numeral with figures."""
    mode = rng.choice(("major", "minor"))
    tonic = rng.choice(tonics(mode, 5))
    degree, figure, inversion = rng.choice(
        [(degree, figure, place) for degree in TRIADS_OF[mode] for place, figure in ((1, "6"), (2, "6/4"))]
        + [
            (degree._replace(numeral=degree.numeral.removesuffix("7")), figure, place)
            for degree in SEVENTHS_OF[mode]
            for place, figure in ((1, "6/5"), (2, "4/3"), (3, "4/2"))
        ]
    )
    notes = chord(*chord_on(tonic, degree))
    right = notes[inversion]
    return draft(
        rng,
        ("roman_numerals.bass", tonic, mode, degree.numeral, figure),
        [
            wording + (_NOTE if mode == "minor" else "")
            for wording in (
                "Which note is in the bass of {numeral} with the figures {figure} in {key}?",
                "In {key}, what is the lowest note of {numeral} {figure}?",
            )
        ],
        answer=right.name,
        wrong=[
            note.name
            for note in pick_unlike(
                [*[note for note in notes if note != right], *near_pitches(right, alike=False)], [right]
            )
        ],
        because="The chord is {notes}; with the figures {figure} its bass is {answer}, the first of {row}.",
        numeral=degree.numeral,
        figure=figure,
        key=f"{tonic} {mode}",
        notes=names(notes),
        row=names(inverted(notes, inversion)),
    )


MAKERS: dict[int, tuple[Maker, ...]] = {
    1: (_chord(1), _numeral(1), _key(1), _notes(1)),
    2: (_chord(2), _numeral(2), _key(2), _notes(2), _progression(2), _cadence),
    3: (_chord(3), _numeral(3), _key(3), _notes(3), _progression(3), _secondary, _bass),
}
