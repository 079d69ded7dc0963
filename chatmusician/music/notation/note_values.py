"""Lengths as note values: which notes, dotted and tied, show a length.

5/8 of a whole note is a half tied to an eighth, 7/8 a half with two dots. A length with a factor of 3, 5, 7, ... below
is shown as one note of a tuplet: 1/12 is an eighth of a triplet, three in the time of two.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

TYPES = {
    Fraction(2): "breve",
    Fraction(1): "whole",
    Fraction(1, 2): "half",
    Fraction(1, 4): "quarter",
    Fraction(1, 8): "eighth",
    **{Fraction(1, 2**power): f"{2**power}th" for power in (4, 6, 7, 8, 9, 10)},
    Fraction(1, 32): "32nd",
}
"""Names of undotted notes in MusicXML by their lengths in whole notes."""

LONGEST, SHORTEST = max(TYPES), min(TYPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteValue:
    """How one note looks, and how long it is."""

    type: str
    dots: int
    length: Fraction
    """In whole notes. Below `SHORTEST` nothing looks like it; the shortest note stands for it."""
    flags: int
    """0 for a quarter and longer, 1 for an eighth, 2 for a sixteenth, ..."""


@lru_cache(maxsize=4096)
def split_odd(length: Fraction) -> tuple[Fraction, int, int]:
    """The length of the note that shows ``length`` in a tuplet: it, and how many are in the time of how many.

    >>> split_odd(Fraction(1, 12))
    (Fraction(1, 8), 3, 2)
    """
    actual = length.denominator
    while actual % 2 == 0:
        actual //= 2
    normal = 1 << (actual.bit_length() - 1)
    return length * actual / normal, actual, normal


@lru_cache(maxsize=4096)
def note_values(length: Fraction) -> tuple[NoteValue, ...]:
    """The notes that, tied, last ``length``, longest first: as few as two dots allow."""
    values: list[NoteValue] = []
    while length > 0:
        base = max((size for size in TYPES if size <= length), default=SHORTEST)
        dots = 0
        if base * Fraction(7, 4) == length:
            dots = 2
        elif base * Fraction(3, 2) <= length:
            dots = 1
        shown = base * (2 - Fraction(1, 2**dots))
        if length < shown or length - shown < SHORTEST:  # the rest is too short to be shown
            shown = length
        flags = max(0, base.denominator.bit_length() - 3)
        values.append(NoteValue(type=TYPES[base], dots=dots, length=shown, flags=flags))
        length -= shown
    return tuple(values)
