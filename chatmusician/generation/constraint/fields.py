"""Values of fields while they are being written: can this still become a meter, a length, a key?

A value is accepted by the parsers of `chatmusician.music`. The start of one is accepted if it, or it with one of a few
endings, is a value; so nothing is ever begun that cannot be ended, and no grammar is written down twice. That the
endings suffice is tested on all starts of all values of the folk corpus and of ABC 2.1's examples.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from chatmusician.generation.constraint.clock import WHOLE, Ticks, scaled
from chatmusician.music.keys import parse_key
from chatmusician.music.tunes import Meter, parse_meter, parse_unit_note_length

LONGEST = 60
"""Characters of a value that is looked at; the folk corpus has 12 at most."""

CHECKED = "MLK"
"""Fields whose values must be valid."""

_PARSE: dict[str, Callable[[str], object]] = {"M": parse_meter, "L": parse_unit_note_length, "K": parse_key}

_MOST_VALUES = 2**15
"""Values, and starts of values, that are remembered."""

_MODES = ("maj", "min", "mix", "dor", "phr", "lyd", "loc", "aeo", "ion")
_ENDINGS = {
    "M": ("none", "one", "ne", "e", "/4", "4", "1/4", ")/4", "1)/4", "6", "2", "8", "+1/4"),
    "L": ("1/8", "/8", "8"),
    "K": (
        *("", "m", "C", "P", "none", "one", "ne", "e", "xp", "p", "=x", "x", '"', "f", "8", "bass"),
        *(mode[cut:] for mode in _MODES for cut in (1, 2)),
    ),
}


def _start_of(*words: str) -> str:
    """A pattern for the starts of some words, the empty one excepted."""
    return "|".join(re.escape(word[:end]) for word in words for end in range(len(word), 0, -1))


_CLEFS = ("treble", "bass", "alto", "tenor", "soprano", "mezzo", "baritone", "perc", "none")
_PROPERTIES = ("clef", "middle", "m", "octave", "transpose", "t", "stafflines", "name", "nm", "subname", "snm")
_ACCIDENTAL = r"(?:\^\^?|__?|=)[A-Ga-g]?"
_KEY_PARTS = "|".join(
    (
        _ACCIDENTAL,
        rf"(?:{'|'.join(_CLEFS)})\d?(?:[+-]8?)?|[+-]8?",
        rf"(?:{'|'.join(_PROPERTIES)})=(?:\"[^\"]*\"?|[^\s\"]*)",
        _start_of("exp", *_CLEFS, *_PROPERTIES),
    )
)
_MODE_STARTS = _start_of(
    *("major", "minor", "mixolydian", "dorian", "phrygian", "lydian", "locrian", "aeolian", "ionian")
)
_USUAL_STARTS = {
    "K": re.compile(
        rf"(?:[A-G][#b]?[ \t]*(?i:{_MODE_STARTS})?|{_start_of('HP', 'Hp', 'none')})?"
        rf"(?:[ \t]+(?:{_KEY_PARTS})?|{_ACCIDENTAL})*"
    )
}
"""Starts of values that people write. `parse_key` takes any word for a mode or for the name of a property, and a model
that goes on in words would be held to ``K:D is the key=``. It also makes 32,000 tokens quick to look through."""


@lru_cache(maxsize=_MOST_VALUES)
def is_value(name: str, value: str) -> bool:
    """Whether this is a value of the field of that name; fields that are not `CHECKED` may say anything."""
    return _is_value(name, value)


def _is_value(name: str, value: str) -> bool:
    if name not in _PARSE:
        return True
    try:
        _PARSE[name](value)
    except ValueError:
        return False
    return len(value) <= LONGEST


@lru_cache(maxsize=_MOST_VALUES)
def can_be_value(name: str, value: str) -> bool:
    """Whether this is a value of the field, or the start of one."""
    if name not in _PARSE:
        return True
    if name in _USUAL_STARTS and not _USUAL_STARTS[name].fullmatch(value):
        return False
    if is_value(name, value):
        return True
    return any(_is_value(name, value + ending) for ending in _ENDINGS[name])


class Facts(NamedTuple):
    """What a header says that decides how its music is read, as it is written."""

    meter: str = ""
    unit: str = ""
    letters: str = ""
    """Letters that its ``U:`` fields make decorations, in alphabetical order."""
    wrong: bool = False
    """A field of it has no valid value: no tune can come of it."""

    def take(self, name: str, value: str) -> "Facts":
        """With one more field."""
        if not is_value(name, value):
            return self._replace(wrong=True)
        if name == "M":
            return self._replace(meter=value)
        if name == "L":
            return self._replace(unit=value)
        if name == "U" and value[:1] and value[0] in _USER_LETTERS:
            return self._replace(letters="".join(sorted({*self.letters, value[0]})))
        return self

    @property
    def read_meter(self) -> Meter:
        """The meter, free where the header has none."""
        return parse_meter(self.meter)

    @property
    def unit_ticks(self) -> Ticks:
        """The unit note length, by the meter where the header has none."""
        return unit_ticks(self.unit) if self.unit else _ticks(self.read_meter.unit_note_length)


_USER_LETTERS = frozenset("HIJKLMNOPQRSTUVWhijklmnopqrstuvw~")


def bar_ticks(meter: Meter) -> Ticks | None:
    """A full bar, None in free meter."""
    return None if meter.bar_length is None else _ticks(meter.bar_length)


def unit_ticks(value: str) -> Ticks:
    """The unit note length that an ``L:`` field says."""
    return _ticks(parse_unit_note_length(value))


def _ticks(length: Fraction) -> Ticks:
    return scaled(WHOLE, length.numerator, length.denominator)
