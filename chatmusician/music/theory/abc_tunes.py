"""Short tunes in ABC to ask about: random melodies whose notes, sounds and lengths are known.

Accidentals are written with `chatmusician.music.pitches.BarAccidentals`, so they hold to the end of the bar in every
octave (ABC 2.1, 11.3). Every tune has its ``X:``, ``M:``, ``L:`` and ``K:`` unless a question leaves one out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import NamedTuple

from chatmusician.music.keys import LETTERS, Key
from chatmusician.music.pitches import BarAccidentals
from chatmusician.music.theory.scales import tonics
from chatmusician.music.theory.spelling import Pitch
from chatmusician.music.theory.values import beat_of, compound, length_of, written

_LOWEST, _HIGHEST = 28, 41  # C4 to B5


class AbcNote(NamedTuple):
    """A note of a tune. ``units`` is the length as written and ``lasts`` the real one, in unit note lengths."""

    pitch: Pitch
    """As it sounds: with the accidentals of key and bar."""
    mark: str
    """The accidental written at the note; mostly none."""
    units: Fraction
    lasts: Fraction
    prefix: str = ""
    """A tuplet mark that stands before it."""
    suffix: str = ""
    """A broken rhythm sign after it."""

    @property
    def text(self) -> str:
        """The note in ABC."""
        return f"{self.prefix}{self.mark}{self.pitch.abc}{length_text(self.units)}{self.suffix}"


Bar = tuple[AbcNote, ...]


@dataclass(frozen=True, kw_only=True)
class AbcTune:
    """A tune with what is known about it. ``unit`` is the unit note length in whole notes."""

    key: Key
    meter: tuple[int, int]
    unit: Fraction
    bars: tuple[Bar, ...]

    def text(self, *, without: str = "") -> str:
        """The tune in ABC, without the header fields of these letters."""
        fields = {"X": "1", "M": written(self.meter), "L": f"{self.unit}", "K": str(self.key)}
        header = "\n".join(f"{name}:{value}" for name, value in fields.items() if name not in without)
        return f"{header}\n{self.body}"

    @property
    def body(self) -> str:
        """The bars, ended by ``|]``."""
        return " | ".join(bar_text(bar, beat_of(self.meter) / self.unit) for bar in self.bars) + " |]"


def length_text(units: Fraction) -> str:
    """A length in ABC: nothing for one unit note length, ``2``, ``3/2``, ``/2``."""
    above = "" if units.numerator == 1 else str(units.numerator)
    return above if units.denominator == 1 else f"{above}/{units.denominator}"


def bar_text(bar: Sequence[AbcNote], beat: Fraction) -> str:
    """The notes of a bar, with a space wherever a beat begins."""
    parts: list[str] = []
    at = Fraction(0)
    for note in bar:
        if at and at % beat == 0 and parts[-1][-1] not in "<>":
            parts.append(" ")
        parts.append(note.text)
        at += note.lasts
    return "".join(parts)


def bar_units(meter: tuple[int, int], unit: Fraction) -> int:
    """Unit note lengths in a bar; the unit must go into it."""
    count = length_of(meter) / unit
    assert count.denominator == 1, (meter, unit)
    return count.numerator


class _Beat(NamedTuple):
    units: Fraction
    lasts: Fraction
    prefix: str = ""
    suffix: str = ""


def _rhythm(rng: Random, units: int, meter: tuple[int, int], fancy: bool) -> list[_Beat]:
    """Lengths that fill so many units; with ``fancy`` there may be triplets and broken rhythm among them."""
    half, one = Fraction(1, 2), Fraction(1)
    found: list[_Beat] = []
    left = units
    while left:
        kind = rng.random()
        if fancy and left >= 2 and kind < 0.2 and not compound(meter[0]):
            found += [_Beat(one, Fraction(2, 3), "(3" if place == 0 else "") for place in range(3)]
            left -= 2
        elif fancy and left >= 2 and kind < 0.45:
            dotted = rng.random() < 0.6
            found.append(_Beat(one, one + half if dotted else half, "", ">" if dotted else "<"))
            found.append(_Beat(one, half if dotted else one + half))
            left -= 2
        else:
            size = rng.choice([size for size in (1, 1, 2, 2, 3, 4) if size <= left])
            found.append(_Beat(Fraction(size), Fraction(size)))
            left -= size
    return found


def random_tune(
    rng: Random,
    *,
    key: Key,
    meter: tuple[int, int],
    unit: Fraction = Fraction(1, 8),
    bars: int = 2,
    accidentals: float = 0.0,
    fancy: bool = False,
) -> AbcTune:
    """A melody in steps and small leaps. ``accidentals`` is the share of notes with an accidental of their own."""
    state = BarAccidentals(signature=key.signature)
    place = rng.randint(_LOWEST + 2, _HIGHEST - 4)
    made = []
    for _ in range(bars):
        bar = []
        for beat in _rhythm(rng, bar_units(meter, unit), meter, fancy):
            place = min(_HIGHEST, max(_LOWEST, place + rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3))))
            pitch, mark = _write(rng, state, place, accidentals)
            bar.append(AbcNote(pitch, mark, beat.units, beat.lasts, beat.prefix, beat.suffix))
        state.bar_line()
        made.append(tuple(bar))
    return AbcTune(key=key, meter=meter, unit=unit, bars=tuple(made))


def _write(rng: Random, state: BarAccidentals, place: int, accidentals: float) -> tuple[Pitch, str]:
    octave, index = divmod(place, 7)
    letter = LETTERS[index]
    alteration = state.of(letter, octave - 4)
    mark = ""
    state.next_token()
    if rng.random() < accidentals:
        alteration = rng.choice([other for other in (-1, 0, 1) if other != alteration])
        mark = state.write(letter, octave - 4, alteration)
    return Pitch(letter, alteration, octave), mark


def notated(pitches: Sequence[Sequence[Pitch]], *, signature: Key) -> list[list[str]]:
    """Pitches of several bars in ABC without lengths, with the accidentals that key and bar leave to be written."""
    state = BarAccidentals(signature=signature.signature)
    rows = []
    for bar in pitches:
        row = []
        for pitch in bar:
            state.next_token()
            row.append(state.write(pitch.letter, pitch.octave - 4, pitch.alteration) + pitch.abc)
        state.bar_line()
        rows.append(row)
    return rows


_METERS = ((4, 4), (3, 4), (6, 8), (2, 4))
_MODES = {1: ("major",), 2: ("major", "minor", "dorian", "mixolydian"), 3: ("major", "minor", "dorian", "mixolydian")}
MOST = {1: 3, 2: 4, 3: 6}
"""Sharps or flats that a key of a level has at most."""
C_MAJOR = Key(tonic="C", mode="major")


def key_of(rng: Random, level: int) -> Key:
    """A key of a level."""
    mode = rng.choice(_MODES[level])
    return Key(tonic=rng.choice(tonics(mode, MOST[level])), mode=mode)


def tune_of(rng: Random, level: int, *, key: Key | None = None, accidentals: float = 0.0) -> AbcTune:
    """A tune of a level for questions about its pitches; see `random_tune`."""
    return random_tune(
        rng,
        key=key_of(rng, level) if key is None else key,
        meter=rng.choice(_METERS),
        bars=2 if level == 1 else 3,
        accidentals=accidentals,
    )
