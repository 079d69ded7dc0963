"""Chords, spelled in thirds above their root, their inversions and the degrees they stand on.

Roman numerals are capitals for major and augmented triads, small letters for minor and diminished ones, with ``o`` for
diminished. In minor they follow the common-practice mixture: natural minor but for V and viio, which have the raised
leading note.
"""

from functools import lru_cache
from typing import NamedTuple

from chatmusician.music.theory.scales import spell
from chatmusician.music.theory.spelling import Pitch, above, intervals, pitch

TRIADS = {
    "major triad": intervals("P1 M3 P5"),
    "minor triad": intervals("P1 m3 P5"),
    "diminished triad": intervals("P1 m3 d5"),
    "augmented triad": intervals("P1 M3 A5"),
}
SEVENTHS = {
    "dominant seventh chord": intervals("P1 M3 P5 m7"),
    "major seventh chord": intervals("P1 M3 P5 M7"),
    "minor seventh chord": intervals("P1 m3 P5 m7"),
    "half-diminished seventh chord": intervals("P1 m3 d5 m7"),
    "diminished seventh chord": intervals("P1 m3 d5 d7"),
    "minor-major seventh chord": intervals("P1 m3 P5 M7"),
}
CHORDS = TRIADS | SEVENTHS
"""The intervals of each chord above its root."""

SYMBOLS = {
    "major triad": "",
    "minor triad": "m",
    "diminished triad": "dim",
    "augmented triad": "aug",
    "dominant seventh chord": "7",
    "major seventh chord": "maj7",
    "minor seventh chord": "m7",
    "half-diminished seventh chord": "m7b5",
    "diminished seventh chord": "dim7",
    "minor-major seventh chord": "m(maj7)",
}
"""What a chord symbol has after its root."""

INVERSIONS = ("root position", "first inversion", "second inversion", "third inversion")
FIGURES = {3: ("5/3", "6/3", "6/4"), 4: ("7", "6/5", "4/3", "4/2")}
"""Figured bass of each inversion, by the number of notes in the chord."""

MEMBERS = ("root", "third", "fifth", "seventh")


@lru_cache(maxsize=4096)
def chord(root: str, kind: str) -> tuple[Pitch, ...]:
    """The notes of a chord upwards from its root."""
    return tuple(above(pitch(root), distance) for distance in CHORDS[kind])


def inverted(notes: tuple[Pitch, ...], inversion: int) -> tuple[Pitch, ...]:
    """The notes from the bass upwards, the first ones moved up an octave."""
    return notes[inversion:] + tuple(note._replace(octave=note.octave + 1) for note in notes[:inversion])


class Degree(NamedTuple):
    """A chord of a key: its numeral, the interval of its root above the tonic, and its kind."""

    numeral: str
    root: str
    kind: str


_ROOTS_MAJOR = ("P1", "M2", "M3", "P4", "P5", "M6", "M7")


def _degrees(roots: tuple[str, ...], table: str, names: dict[str, str]) -> tuple[Degree, ...]:
    return tuple(
        Degree(numeral, root, names[kind])
        for root, (numeral, kind) in zip(roots, (entry.split(":") for entry in table.split()), strict=True)
    )


_TRIAD_LETTERS = {"M": "major triad", "m": "minor triad", "o": "diminished triad"}

TRIADS_OF = {
    "major": _degrees(_ROOTS_MAJOR, "I:M ii:m iii:m IV:M V:M vi:m viio:o", _TRIAD_LETTERS),
    "minor": _degrees(
        ("P1", "M2", "m3", "P4", "P5", "m6", "M7"), "i:m iio:o III:M iv:m V:M VI:M viio:o", _TRIAD_LETTERS
    ),
}
"""The triads of a key, from the first degree to the seventh."""

SEVENTHS_OF = {
    "major": (
        Degree("ii7", "M2", "minor seventh chord"),
        Degree("iii7", "M3", "minor seventh chord"),
        Degree("V7", "P5", "dominant seventh chord"),
        Degree("vi7", "M6", "minor seventh chord"),
    ),
    "minor": (
        Degree("iv7", "P4", "minor seventh chord"),
        Degree("V7", "P5", "dominant seventh chord"),
        Degree("viio7", "M7", "diminished seventh chord"),
    ),
}
"""Seventh chords whose numerals leave no doubt about their kind."""


@lru_cache(maxsize=4096)
def chord_on(tonic: str, degree: Degree) -> tuple[str, str]:
    """Root and kind of the chord on a degree of the key with this tonic."""
    return above(pitch(tonic), intervals(degree.root)[0]).name, degree.kind


def triads_in(tonic: str, scale: str) -> list[tuple[str, str]]:
    """Root and kind of the triads that the notes of a seven-note scale form; kinds without a name are left out."""
    notes = spell(tonic, scale)
    found = []
    for index, root in enumerate(notes):
        sounds = {notes[(index + 2) % 7].name, notes[(index + 4) % 7].name}
        found += [(root.name, kind) for kind in TRIADS if {note.name for note in chord(root.name, kind)[1:]} == sounds]
    return found


def symbol(root: str, kind: str) -> str:
    """The chord symbol: ``F#m7b5``."""
    return root + SYMBOLS[kind]


def chord_name(root: str, kind: str) -> str:
    """The chord in words, without "triad": ``C minor``, ``C dominant seventh``."""
    return f"{root} {kind.removesuffix(' triad').removesuffix(' chord')}"
