"""Keys: what the ``K:`` field says, the accidentals it puts on the staff, and where it goes when a tune is transposed.

Follows section 3.1.14 of the ABC standard 2.1: a tonic, a mode of which only the first three letters count whatever
their case, then perhaps accidentals that change the signature (``D Phr ^f``, ``D exp _b _e ^f``) and clef or
voice properties, which are kept as text. ``HP`` and ``Hp`` are the scales of the Highland pipes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

LETTERS = "CDEFGAB"
"""The seven letters in the order of the octave: index 0 is C, as in MIDI octaves."""

SEMITONES_OF = MappingProxyType({"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11})
"""Semitones of a natural letter above C."""

ALTERATION_OF = MappingProxyType({"": 0, "=": 0, "^": 1, "^^": 2, "_": -1, "__": -2})
"""Semitones that an ABC accidental adds. The empty one is here for notes without; the key and bar decide those."""

_FIFTHS = "FCGDAEB"  # the order in which sharps appear; flats appear from the other end
_SHARPS_OF_MODE = {"maj": 0, "lyd": 1, "mix": -1, "dor": -2, "min": -3, "phr": -4, "loc": -5}
_MODES = ("major", "minor", "lydian", "mixolydian", "dorian", "phrygian", "locrian")
_MODE_NAMES = {mode[:3]: mode for mode in _MODES} | {"ion": "major", "aeo": "minor", "m": "minor"}
_SUFFIXES = {"major": "", "minor": "m", "lydian": "lyd", "mixolydian": "mix", "dorian": "dor"}

_TONIC_AND_MODE = re.compile(
    r"([A-G][#b]?)(?:\s*(maj|ion|lyd|mix|dor|min|aeo|phr|loc)[a-z]*|\s*(m)(?![a-z]))?(?=$|[\s_=^])", re.IGNORECASE
)
_NAMED = re.compile(r"(none|HP|Hp)?(?=$|\s)")
_ACCIDENTAL = re.compile(r"(\^\^?|__?|=)([A-Ga-g])")
_PROPERTY = re.compile(
    r"exp|clef\b.*|[a-z]+=(?:\"[^\"]*\"|\S*)|(?:treble|bass|alto|tenor|soprano|mezzo|baritone|perc|none)\d?(?:[+-]8)?|[+-]8"
)
_ACCIDENTAL_OR_PROPERTY = re.compile(rf"{_ACCIDENTAL.pattern}|{_PROPERTY.pattern}")


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key as written in a ``K:`` field.

    ``str(key)`` writes tonic, mode and accidentals in the shortest ABC: ``G``, ``Em``, ``Ador``, ``Dphr ^f``.
    """

    tonic: str
    """``A`` to ``G`` with ``#`` or ``b``; empty where there is none (``K:none``, ``K:HP``)."""
    mode: str
    """major, minor, lydian, mixolydian, dorian, phrygian or locrian; ``none``, ``HP`` or ``Hp`` without a tonic."""
    accidentals: tuple[tuple[str, str], ...] = ()
    """Explicit changes to the signature: (ABC accidental, letter)."""
    explicit_only: bool = False
    """True after ``exp``: the accidentals are the whole signature."""

    @property
    def sharps(self) -> int:
        """Sharps (positive) or flats (negative) that tonic and mode call for, -7 to 7, without explicit changes."""
        if not self.tonic:
            return 2 if self.mode == "Hp" else 0
        return _sharps(self.tonic, self.mode)

    @property
    def signature(self) -> Mapping[str, int]:
        """Semitones that the key adds to each of the seven letters: G major has 1 for F and 0 for the rest."""
        return _signature(self)

    def transpose(self, semitones: int) -> "Key":
        """The key that many semitones higher (lower if negative), spelt with the fewest accidentals.

        Six sharps or flats being equal, sharps stay sharps and flats stay flats. Keys without a tonic stay as they are.
        """
        if not self.tonic:
            return self
        pitch_class = (SEMITONES_OF[self.tonic[0]] + alteration_of_name(self.tonic) + semitones) % 12
        sharps_now = self.sharps
        spellings = [
            letter + mark
            for letter in LETTERS
            for mark in ("", "#", "b")
            if (SEMITONES_OF[letter] + alteration_of_name(letter + mark)) % 12 == pitch_class
            and abs(_sharps(letter + mark, self.mode)) <= 7
        ]

        def cost(tonic: str) -> tuple[int, bool]:
            sharps = _sharps(tonic, self.mode)
            return abs(sharps), sharps * sharps_now < 0

        return self.on(min(spellings, key=cost))

    def on(self, tonic: str) -> "Key":
        """The same mode on another tonic; explicit accidentals move with it."""
        steps = letter_steps(self.tonic, tonic)
        before = _signature_of(_sharps(self.tonic, self.mode))
        after = _signature_of(_sharps(tonic, self.mode))
        moved = []
        for mark, letter in self.accidentals:
            target = LETTERS[(LETTERS.index(letter) + steps) % 7]
            moved.append((accidental_of(after[target] + ALTERATION_OF[mark] - before[letter]), target))
        return Key(tonic=tonic, mode=self.mode, accidentals=tuple(moved), explicit_only=self.explicit_only)

    def __str__(self) -> str:
        name = self.tonic + _SUFFIXES.get(self.mode, self.mode[:3]) if self.tonic else self.mode
        marks = [mark + letter.lower() for mark, letter in self.accidentals]
        return " ".join([name, *(["exp"] if self.explicit_only else []), *marks])


NO_KEY = Key(tonic="", mode="none")
"""What ``K:none`` says: no tonic, nothing on the staff."""


def parse_key(value: str) -> Key:
    """Read the value of a ``K:`` field, comment removed.

    Raises:
        ValueError: the value is not a key; the message is the reason, without a place.
    """
    return _parse_key(value.strip())


@lru_cache(maxsize=1024)
def _parse_key(value: str) -> Key:
    if (match := _TONIC_AND_MODE.match(value)) and match[1][0].isupper():
        tonic, mode = match[1], _MODE_NAMES[(match[2] or match[3] or "maj").lower()]
        if abs(_sharps(tonic, mode)) > 7:
            raise ValueError(f"the key {match[0]!r} needs more than seven sharps or flats; spell it on another tonic")
    elif match := _NAMED.match(value):
        tonic, mode = "", match[1] or "none"
    else:
        raise ValueError(f"{value!r} is not a key; write a tonic A to G and a mode, such as G, F#m or D mix")
    accidentals, explicit_only, end = [], False, match.end()
    while rest := value[end:].lstrip():
        end = len(value) - len(rest)
        if mark := _ACCIDENTAL.match(value, end):
            accidentals.append((mark[1], mark[2].upper()))
        elif mark := _PROPERTY.match(value, end):
            explicit_only |= mark[0] == "exp"
        else:
            raise ValueError(f"{rest.split()[0]!r} in the key {value!r} is neither an accidental nor a clef; remove it")
        end = mark.end()
    return Key(tonic=tonic, mode=mode, accidentals=tuple(accidentals), explicit_only=explicit_only)


def rewrite_key(value: str, target: Key) -> str:
    """The value of a ``K:`` field with another tonic and accidentals; mode and clef stay as they are written."""
    if not target.tonic:
        return value
    tonic = _TONIC_AND_MODE.match(value)
    assert tonic, value
    marks = iter(target.accidentals)

    def moved(match: re.Match[str]) -> str:
        if match[2] is None:  # a property such as clef=bass, which is no natural B
            return match[0]
        mark, letter = next(marks)
        return mark + (letter.lower() if match[2].islower() else letter)

    rest = _ACCIDENTAL_OR_PROPERTY.sub(moved, value[tonic.end() :])
    return target.tonic + value[tonic.end(1) : tonic.end()] + rest


def letter_steps(tonic: str, target: str) -> int:
    """Letters from one tonic up to another, 0 to 6: G to A is 1."""
    return (LETTERS.index(target[0]) - LETTERS.index(tonic[0])) % 7


def accidental_of(alteration: int) -> str:
    """The explicit ABC accidental for -2 to 2 semitones: 0 is ``=``."""
    return ("__", "_", "=", "^", "^^")[alteration + 2]


def alteration_of_name(tonic: str) -> int:
    """Semitones that ``#`` and ``b`` add in a name such as ``Bb``."""
    return tonic.count("#") - tonic[1:].count("b")


def _sharps(tonic: str, mode: str) -> int:
    """Position of the tonic on the circle of fifths from C, moved by the mode."""
    return _FIFTHS.index(tonic[0]) - 1 + 7 * alteration_of_name(tonic) + _SHARPS_OF_MODE[mode[:3]]


def _signature_of(sharps: int) -> dict[str, int]:
    altered = _FIFTHS[:sharps] if sharps >= 0 else _FIFTHS[sharps:]
    return {letter: (1 if sharps > 0 else -1) if letter in altered else 0 for letter in LETTERS}


@lru_cache(maxsize=1024)
def _signature(key: Key) -> Mapping[str, int]:
    signature = _signature_of(0 if key.explicit_only else key.sharps)
    return MappingProxyType(signature | {letter: ALTERATION_OF[mark] for mark, letter in key.accidentals})
