"""Scores: parts, measures and notes as other formats than ABC have them, and how they are written in ABC.

Flow: ``musicxml`` or ``midi_melodies`` -> `Part` -> `write_tune` (one voice, to be laid out like any tune) or
`write_voices` (several) -> ABC.

Pitches are spelt and durations are fractions of a whole note, so nothing is lost on the way but what ABC of this
project leaves out anyway: ornaments, slurs, words, dynamics. A note whose duration has a factor of 3, 5 or 7 below is
written in a tuplet, which closes as soon as its notes together are plain again; so ``1/12 1/12 1/12`` is ``(3ABc``
and ``1/6 1/12`` is ``(3:2:2A2B``. The unit note length is 1/8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from chatmusician.errors import UserError
from chatmusician.music.beams import beam
from chatmusician.music.keys import parse_key
from chatmusician.music.layout import write_bar, write_length
from chatmusician.music.lexer import tokenize
from chatmusician.music.pitches import BarAccidentals
from chatmusician.music.tunes import Meter, parse_meter

UNIT = Fraction(1, 8)
"""The unit note length of what is written, in whole notes."""
LONGEST_NOTE = 16
"""Whole notes. Longer ones come from broken files."""
VOICE_BARS_A_LINE = 2
"""Bars of each voice in a row: what sounds together is to stand close together, since a model reads on end."""


class ConversionError(UserError):
    """A file of notes that cannot become a tune: the reason, without its place."""


class Pitch(NamedTuple):
    """A letter, an octave as in ABC (0 is that of middle C), and the semitones that it is altered by."""

    letter: str
    octave: int
    alteration: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreNote:
    """A note, several at once, or a rest."""

    pitches: tuple[Pitch, ...]
    """Empty for a rest."""
    length: Fraction
    """In whole notes."""
    ties: frozenset[Pitch] = frozenset()
    """Those that are tied to the next note."""
    chord: str = ""
    """The name of a chord that is written above it."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is between two bar lines."""

    notes: tuple[ScoreNote, ...]
    key: str | None = None
    """The value of a ``K:`` field, where the key changes."""
    meter: str | None = None
    """The value of an ``M:`` field, where the meter changes."""
    opening: str = ""
    """``|:`` where a repeat begins."""
    closing: str = "|"
    """``|``, ``||``, ``|]``, ``:|``, or empty where the measure goes on in the next."""
    ending: str = ""
    """The number of an ending that begins here."""

    @property
    def length(self) -> Fraction:
        """In whole notes."""
        return sum((note.length for note in self.notes), Fraction(0))


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a score, of one voice, beginning with a measure that gives key and meter."""

    name: str
    measures: tuple[Measure, ...]

    @property
    def sounds(self) -> bool:
        """False if it has nothing but rests."""
        return any(note.pitches for measure in self.measures for note in measure.notes)


def write_tune(part: Part) -> str:
    """A part as a one-voice tune, not yet laid out.

    Raises:
        ConversionError: it has a duration that cannot be written.
    """
    key, meter = _signatures(part)
    header = ["X:1", f"L:{write_length(UNIT)}", f"M:{meter}", f"K:{key}"]
    return "\n".join([*header, " ".join(bar.text for bar in _bars(part))]) + "\n"


def write_voices(parts: Sequence[Part], *, clefs: Sequence[str]) -> str:
    """Parts of equal measures as the voices of one tune, named as the parts, some bars of each in turn::

        X:1
        L:1/8
        M:4/4
        V:S clef=treble
        V:B clef=bass
        K:G
        [V:S] d2 | B2A2 G2A2 | B2c2 d2d2 |
        [V:B] G2 | G2F2 E2D2 | G2A2 B2B2 |

    Raises:
        ConversionError: the parts differ in the number of their measures, or a duration cannot be written.
    """
    key, meter = _signatures(parts[0])
    header = ["X:1", f"L:{write_length(UNIT)}", f"M:{meter}"]
    header += [f"V:{part.name} clef={clef}" for part, clef in zip(parts, clefs, strict=True)]
    if len({len(part.measures) for part in parts}) > 1:
        raise ConversionError("its parts have different numbers of measures; make them equal")
    voices = [list(_bars(_under_signatures_of(parts[0], part))) for part in parts]
    lines = []
    for start, stop in pairwise(_line_starts(voices[0])):
        for part, voice in zip(parts, voices, strict=True):
            lines.append(f"[V:{part.name}] " + " ".join(bar.text for bar in voice[start:stop]))
    return "\n".join([*header, f"K:{key}", *lines]) + "\n"


def _under_signatures_of(first: Part, part: Part) -> Part:
    """A part with the keys and meters of the first, under whose ``K:`` and ``M:`` it is read: they may differ."""
    pairs = zip(part.measures, first.measures, strict=True)
    return replace(part, measures=tuple(replace(one, key=other.key, meter=other.meter) for one, other in pairs))


def _signatures(part: Part) -> tuple[str, str]:
    first = part.measures[0]
    assert first.key is not None and first.meter is not None
    return first.key, first.meter


class _WrittenBar(NamedTuple):
    """The music of a bar with the bar line behind it; a pickup is not counted."""

    text: str
    pickup: bool


def _line_starts(bars: Sequence[_WrittenBar]) -> list[int]:
    """Indices of the bars that begin a line, and the end."""
    starts, count = [0], 0
    for index, bar in enumerate(bars):
        count += not bar.pickup
        if count == VOICE_BARS_A_LINE or index == len(bars) - 1:
            starts.append(index + 1)
            count = 0
    return starts


def _bars(part: Part) -> Iterator[_WrittenBar]:
    key, meter = _signatures(part)
    accidentals = BarAccidentals(signature=parse_key(key).signature)
    in_force = parse_meter(meter)
    measures = list(_joined(part.measures))
    for index, measure in enumerate(measures):
        fields = []
        if index and measure.meter is not None:
            in_force = parse_meter(measure.meter)
            fields.append(f"[M:{measure.meter}]")
        if index and measure.key is not None:
            accidentals.change_key(parse_key(measure.key).signature)
            fields.append(f"[K:{measure.key}]")
        pickup = _is_pickup(measures, index, in_force)
        music = beam(tokenize(_music(measure, accidentals)), unit=UNIT, meter=in_force, pickup=pickup)
        following = measures[index + 1] if index + 1 < len(measures) else None
        bar_line = write_bar(measure.closing + (following.opening if following else ""))
        opening = "|: " if index == 0 and measure.opening else ""
        ending = following.ending if following else ""
        yield _WrittenBar(opening + "".join(fields) + " ".join(music) + f" {bar_line}{ending}", pickup)
        accidentals.bar_line()


def _joined(measures: Sequence[Measure]) -> Iterator[Measure]:
    """Measures without a bar line between them as one."""
    held: Measure | None = None
    for measure in measures:
        if held is not None and measure.key is None and measure.meter is None:
            measure = replace(held, notes=held.notes + measure.notes, closing=measure.closing)
        elif held is not None:
            yield held
        held = measure if not measure.closing else None
        if held is None:
            yield measure
    if held is not None:
        yield held


def _is_pickup(measures: Sequence[Measure], index: int, meter: Meter) -> bool:
    opens = index == 0 or measures[index].opening or measures[index - 1].closing not in ("", "|")
    return bool(opens and meter.bar_length and measures[index].length < meter.bar_length)


def _music(measure: Measure, accidentals: BarAccidentals) -> str:
    """The notes of a measure, each with the accidental that it needs."""
    written = []
    for ratio, notes in _tuplets(measure.notes):
        if ratio != 1:
            triplet = ratio == Fraction(2, 3) and len(notes) == 3
            written.append("(3" if triplet else f"({ratio.denominator}:{ratio.numerator}:{len(notes)}")
        written += [_note(note, ratio, accidentals) for note in notes]
    return "".join(written)


def _note(note: ScoreNote, ratio: Fraction, accidentals: BarAccidentals) -> str:
    chord = f'"{note.chord}"' if note.chord else ""
    length = _length(note.length / ratio)
    if not note.pitches:
        return f"{chord}z{length}"
    accidentals.next_token()
    names = []
    for letter, octave, alteration in note.pitches:
        accidental = accidentals.write(letter, octave, alteration)
        marks = "'" * (octave - 1) if octave > 0 else "," * -octave
        names.append(accidental + (letter.lower() if octave > 0 else letter) + marks)
    if note.ties:
        accidentals.tie()
    if len(names) == 1:
        return chord + names[0] + length + ("-" if note.ties else "")
    tied = [name + ("-" if pitch in note.ties else "") for name, pitch in zip(names, note.pitches, strict=True)]
    return f"{chord}[{''.join(tied)}]{length}"


def _length(length: Fraction) -> str:
    """A written length in unit note lengths: ``2``, ``3/2``, ``/2``, nothing for one."""
    units = length / UNIT
    above = "" if units.numerator == 1 else str(units.numerator)
    return above if units.denominator == 1 else f"{above}/{units.denominator}"


def _tuplets(notes: Sequence[ScoreNote]) -> Iterator[tuple[Fraction, list[ScoreNote]]]:
    """Notes in runs, each with what its tuplet makes of a written length: 2/3 in triplets, 1 where there is none."""
    run: list[ScoreNote] = []
    played = Fraction(0)
    for note in notes:
        if note.length > LONGEST_NOTE:
            raise ConversionError(f"a note lasts {float(note.length):g} whole notes; the most is {LONGEST_NOTE}")
        run.append(note)
        played += note.length
        if _odd_part(played.denominator) == 1:
            ratio = _ratio(run)
            if ratio == 1:
                yield from ((ratio, [one]) for one in run)
            else:
                yield ratio, run
            run, played = [], Fraction(0)
    if run:
        raise ConversionError(f"a tuplet of {len(run)} notes is not complete at its bar line; check its durations")


def _ratio(run: Sequence[ScoreNote]) -> Fraction:
    odd = max(_odd_part(note.length.denominator) for note in run)
    if odd not in (1, 3, 5, 7, 9) or any(odd % _odd_part(note.length.denominator) for note in run):
        raise ConversionError(f"a note lasts {run[0].length} of a whole note, which no usual tuplet gives")
    return Fraction(1 << (odd.bit_length() - 1), odd)


def _odd_part(number: int) -> int:
    while number % 2 == 0:
        number //= 2
    return number
