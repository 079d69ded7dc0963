"""Spelled pitches and intervals: C# and Db are two pitches that sound alike, not one.

Everything in ``theory`` counts in letters and semitones at once, which is what tells an augmented second from a minor
third. Octaves are those of scientific pitch notation: middle C, MIDI note 60, is C4. Names are plain text: ``F##`` is F
double sharp, ``Ebb`` E double flat.
"""

from functools import lru_cache
from typing import NamedTuple

from chatmusician.music.keys import LETTERS, SEMITONES_OF, alteration_of_name

_SEMITONES = tuple(SEMITONES_OF[letter] for letter in LETTERS)
_PERFECT = (0, 3, 4)  # unison, fourth, fifth, counted from 0
_ORDINALS = (
    *("unison", "second", "third", "fourth", "fifth", "sixth", "seventh", "octave"),
    *("ninth", "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "double octave"),
)
_QUALITIES = {"P": "perfect", "M": "major", "m": "minor", "A": "augmented", "d": "diminished"}


class Pitch(NamedTuple):
    """A letter, the semitones that sharps (positive) or flats add to it, and an octave."""

    letter: str
    alteration: int = 0
    octave: int = 4

    @property
    def name(self) -> str:
        """The name without octave: ``C#``, ``Ebb``."""
        return self.letter + ("#" * self.alteration if self.alteration > 0 else "b" * -self.alteration)

    @property
    def full_name(self) -> str:
        """The name with octave: ``C#4``."""
        return f"{self.name}{self.octave}"

    @property
    def place(self) -> int:
        """Letters above C0."""
        return LETTERS.index(self.letter) + 7 * self.octave

    @property
    def midi(self) -> int:
        """MIDI note number."""
        return 12 * (self.octave + 1) + SEMITONES_OF[self.letter] + self.alteration

    @property
    def sound(self) -> int:
        """Semitones above C in any octave, 0 to 11: equal for enharmonic spellings."""
        return (SEMITONES_OF[self.letter] + self.alteration) % 12

    @property
    def abc(self) -> str:
        """The note in ABC, its accidental left to key and bar: middle C is ``C``, an octave higher ``c``."""
        if self.octave >= 5:
            return self.letter.lower() + "'" * (self.octave - 5)
        return self.letter + "," * (4 - self.octave)


def pitch(name: str, octave: int = 4) -> Pitch:
    """The pitch of a name without octave, such as ``Bb``."""
    return Pitch(name[0], alteration_of_name(name), octave)


class Interval(NamedTuple):
    """A number of letters counted inclusively (a third is 3, a tenth 10) and a quality: P, M, m, A or d."""

    number: int
    quality: str

    @property
    def semitones(self) -> int:
        """Its size: 3 for a minor third, and for an augmented second."""
        octaves, simple = divmod(self.number - 1, 7)
        perfect = simple in _PERFECT
        change = {"P": 0, "M": 0, "m": -1, "A": 1, "d": -1 if perfect else -2}[self.quality]
        return 12 * octaves + _SEMITONES[simple] + change

    @property
    def name(self) -> str:
        """The name in words: ``minor third``."""
        return f"{_QUALITIES[self.quality]} {_ORDINALS[self.number - 1]}"

    @property
    def short(self) -> str:
        """The short name: ``m3``."""
        return f"{self.quality}{self.number}"

    @property
    def inversion(self) -> "Interval":
        """What a simple interval becomes when its lower note goes up an octave: numbers add up to nine."""
        return Interval(9 - self.number, {"P": "P", "M": "m", "m": "M", "A": "d", "d": "A"}[self.quality])


def interval(text: str) -> Interval:
    """The interval of a short name such as ``m3`` or ``P12``."""
    return Interval(int(text[1:]), text[0])


def intervals(text: str) -> tuple[Interval, ...]:
    """The intervals of several short names: ``P1 M3 P5``."""
    return tuple(map(interval, text.split()))


@lru_cache(maxsize=65536)
def above(low: Pitch, distance: Interval) -> Pitch:
    """The pitch an interval above another, however many accidentals it needs."""
    octave, letter = divmod(low.place + distance.number - 1, 7)
    natural = Pitch(LETTERS[letter], 0, octave)
    return Pitch(LETTERS[letter], low.midi + distance.semitones - natural.midi, octave)


@lru_cache(maxsize=65536)
def below(high: Pitch, distance: Interval) -> Pitch:
    """The pitch an interval below another, however many accidentals it needs."""
    octave, letter = divmod(high.place - distance.number + 1, 7)
    natural = Pitch(LETTERS[letter], 0, octave)
    return Pitch(LETTERS[letter], high.midi - distance.semitones - natural.midi, octave)


def between(low: Pitch, high: Pitch) -> Interval | None:
    """The interval from one pitch up to another that is not lower on the staff; None if it is doubly altered."""
    number = high.place - low.place + 1
    size = high.midi - low.midi
    found = (Interval(number, quality) for quality in ("PAd" if (number - 1) % 7 in _PERFECT else "MmAd"))
    return next((candidate for candidate in found if candidate.semitones == size), None)


def stacked(lower: Interval, upper: Interval) -> Interval | None:
    """The interval between the outer notes of one on top of another; None if it is doubly altered."""
    root = Pitch("C")
    return between(root, above(above(root, lower), upper))


SIMPLE = intervals("m2 M2 m3 M3 P4 P5 m6 M6 m7 M7 P8")
"""The intervals within an octave that major and minor scales have above their tonic."""
ALTERED = intervals("A1 A2 d3 d4 A4 d5 A5 A6 d7 d8")
"""Augmented and diminished intervals within an octave."""
COMPOUND = intervals("m9 M9 m10 M10 P11 P12 m13 M13 m14 M14 P15")
"""Intervals beyond the octave."""
ALTERED_COMPOUND = intervals("A8 A9 d10 d11 A11 d12 A12 A13 d14")
"""Augmented and diminished intervals beyond the octave."""


def near_intervals(right: Interval, *, alike: bool) -> list[str]:
    """Names of intervals that are mistaken for this one: a number or a quality off.

    With ``alike`` they include the one that sounds the same, for questions about spelling.
    """
    pool = (*SIMPLE, *ALTERED, *COMPOUND, *ALTERED_COMPOUND)
    return [
        other.name
        for other in pool
        if other != right
        and abs(other.number - right.number) <= 1
        and abs(other.semitones - right.semitones) <= 3
        and (alike or other.semitones != right.semitones)
        and (other.number > 8) == (right.number > 8)
    ]


def near_pitches(right: Pitch, *, alike: bool, most: int = 1) -> list[Pitch]:
    """Pitches that are mistaken for this one: an accidental or a letter off, no more than two semitones away.

    With ``alike`` they include enharmonic spellings, for questions about spelling. ``most`` bounds their accidentals.
    """
    found = []
    for place in (right.place - 1, right.place, right.place + 1):
        octave, letter = divmod(place, 7)
        for alteration in range(-most, most + 1):
            other = Pitch(LETTERS[letter], alteration, octave)
            if other != right and abs(other.midi - right.midi) <= 2 and (alike or other.midi != right.midi):
                found.append(other)
    return found
