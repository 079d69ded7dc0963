"""Scales and keys, spelled.

The minor scales are those of common practice: natural, harmonic (raised seventh) and melodic, which here is always
its ascending form (raised sixth and seventh). Key signatures go to seven sharps or flats, as in
``chatmusician.music.keys``.
"""

from functools import lru_cache

from chatmusician.music.keys import LETTERS, Key
from chatmusician.music.theory.spelling import Pitch, above, intervals, pitch

SCALES = {
    "major": intervals("P1 M2 M3 P4 P5 M6 M7"),
    "natural minor": intervals("P1 M2 m3 P4 P5 m6 m7"),
    "harmonic minor": intervals("P1 M2 m3 P4 P5 m6 M7"),
    "melodic minor": intervals("P1 M2 m3 P4 P5 M6 M7"),
    "dorian": intervals("P1 M2 m3 P4 P5 M6 m7"),
    "phrygian": intervals("P1 m2 m3 P4 P5 m6 m7"),
    "lydian": intervals("P1 M2 M3 A4 P5 M6 M7"),
    "mixolydian": intervals("P1 M2 M3 P4 P5 M6 m7"),
    "locrian": intervals("P1 m2 m3 P4 d5 m6 m7"),
    "major pentatonic": intervals("P1 M2 M3 P5 M6"),
    "minor pentatonic": intervals("P1 m3 P4 P5 m7"),
    "blues": intervals("P1 m3 P4 d5 P5 m7"),
    "whole tone": intervals("P1 M2 M3 A4 A5 A6"),
}
"""The intervals of each scale above its tonic."""

MODES = ("major", "dorian", "phrygian", "lydian", "mixolydian", "natural minor", "locrian")
"""The church modes in the order of the degrees of the major scale that they start on; the first and sixth by their
everyday names."""

DEGREES = ("tonic", "supertonic", "mediant", "subdominant", "dominant", "submediant", "leading note")
"""Names of the degrees of major and harmonic minor."""

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def ordinal(index: int) -> str:
    """The word for a place counted from 0: ``first``, ``second``, and ``9th`` from the ninth on."""
    return ORDINALS[index] if index < len(ORDINALS) else f"{index + 1}th"


_MODE_OF = {
    "natural minor": "minor",
    "harmonic minor": "minor",
    "melodic minor": "minor",
    "minor pentatonic": "minor",
    "blues": "minor",
    "major pentatonic": "major",
    "whole tone": "lydian",
}


def sharps(tonic: str, scale: str) -> int:
    """Sharps (positive) or flats of the key signature that goes with a scale."""
    return Key(tonic=tonic, mode=_MODE_OF.get(scale, scale)).sharps


@lru_cache(maxsize=64)
def tonics(scale: str, most: int) -> tuple[str, ...]:
    """Tonics on which a scale's key signature has at most so many sharps or flats."""
    found = [letter + mark for letter in LETTERS for mark in ("", "#", "b")]
    return tuple(name for name in found if abs(sharps(name, scale)) <= most)


@lru_cache(maxsize=4096)
def spell(tonic: str, scale: str) -> tuple[Pitch, ...]:
    """The notes of a scale upwards from its tonic in octave 4, the octave left out."""
    return tuple(above(pitch(tonic), distance) for distance in SCALES[scale])


def signature_text(count: int) -> str:
    """A key signature in words: ``3 sharps``, ``1 flat``, ``no sharps or flats``."""
    if not count:
        return "no sharps or flats"
    return f"{abs(count)} {'sharp' if count > 0 else 'flat'}{'s' if abs(count) > 1 else ''}"


@lru_cache(maxsize=64)
def tonic_with(count: int, scale: str) -> str:
    """The tonic whose signature for a scale is that many sharps or flats; it must be within seven."""
    return next(name for name in tonics(scale, 7) if sharps(name, scale) == count)


SHARP_ORDER = "FCGDAEB"
"""The order in which sharps are written; flats come in the opposite order."""


def altered_letters(count: int) -> list[str]:
    """The notes that a key signature alters, in the order in which they are written: ``F#``, ``C#`` for two sharps."""
    if count >= 0:
        return [letter + "#" for letter in SHARP_ORDER[:count]]
    return [letter + "b" for letter in SHARP_ORDER[::-1][:-count]]
