"""The notes and rests of a tune one by one: what each sounds like, how long it lasts, and the scale it stands in.

Flow: ``Tune.tokens`` -> `events` -> ``harmony``, and by way of `sounding` the metrics of tunes. Durations are read as
`chatmusician.music.durations` reads them (which adds them up to bars), pitches as `chatmusician.music.pitches` does;
grace notes are left out, since they decorate. In ``L:1/8``, ``M:4/4``, ``K:G``, the bar ``(3FGA B>c d4|`` is::

    note           F     G     A     B     c     d
    pitch          66    67    69    71    72    74
    units          2/3   2/3   2/3   3/2   1/2   4
    whole notes    1/12  1/12  1/12  3/16  1/16  1/2
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from chatmusician.music.keys import SEMITONES_OF, Key, parse_key
from chatmusician.music.lexer import Kind, Note, Token, read_chord, read_field, read_rest, read_tuplet
from chatmusician.music.pitches import BarAccidentals, follow, midi_pitch, notes_of
from chatmusician.music.tunes import Meter, Tune, parse_meter, parse_unit_note_length


class Event(NamedTuple):
    """A note, a chord or a rest of a tune."""

    notes: tuple[Note, ...]
    """As written; several for a chord, none for a rest."""
    pitches: tuple[int, ...]
    """MIDI note numbers, in the order of ``notes``."""
    units: Fraction
    """How long it lasts in unit note lengths, tuplets and broken rhythm applied."""
    length: Fraction
    """How long it lasts in whole notes; 0 for a rest of whole bars in free meter."""
    tied: bool
    """True if a tie leads to the next note."""
    key: Key
    """The key in force."""
    meter: Meter
    """The meter in force."""
    voice: str
    """Name given by ``V:``, with a ``&`` for each layer below the first."""
    bar: int
    """Bar of its voice, counted from 0; endings count as bar lines."""
    token: int
    """Where it stands in ``Tune.tokens``."""

    @property
    def scale(self) -> frozenset[int] | None:
        """Pitch classes of the key in force, 0 for C; None where it has no tonic (``K:none``, ``K:HP``)."""
        return scale_of(self.key)

    @property
    def written(self) -> tuple[tuple[tuple[str, str, int], ...], Fraction, bool]:
        """Notes, units and tie: the same for what is written the same, however it is spaced and beamed."""
        return tuple((note.accidental, note.letter, note.octave) for note in self.notes), self.units, self.tied


@dataclass(slots=True)
class _Voice:
    """What the notes to come depend on, in one voice."""

    unit: Fraction
    meter: Meter
    key: Key
    accidentals: BarAccidentals
    found: list[Event] = field(default_factory=list)
    bar: int = 0
    layers: int = 0
    """Layers of this bar that lie behind, each ended by ``&``."""
    tuplet: Fraction = Fraction(1)
    tuplet_left: int = 0
    factor: Fraction = Fraction(1)
    """What broken rhythm does to the next note or rest."""

    def play(self, token: Token, name: str, index: int) -> None:
        """Add a note, a chord or a rest that stands at an index of the tune's tokens."""
        notes = notes_of(token)
        self.accidentals.next_token()
        pitches = tuple(midi_pitch(note, self.accidentals.read(note)) for note in notes)
        if token.text[0] in "ZX":
            units = read_rest(token.text) * (self.meter.bar_length or 0) / self.unit
        else:
            units = self.factor * _length_of(token)
            self.factor = Fraction(1)
            if self.tuplet_left:
                units *= self.tuplet
                self.tuplet_left -= 1
        self.found.append(
            Event(
                notes=notes,
                pitches=pitches,
                units=units,
                length=units * self.unit,
                tied=token.kind is Kind.CHORD and "-" in token.text,
                key=self.key,
                meter=self.meter,
                voice=name + "&" * self.layers,
                bar=self.bar,
                token=index,
            )
        )

    def mark(self, token: Token) -> None:
        """Heed a token that says something of the notes around it; any other means nothing here."""
        kind = token.kind
        if kind is Kind.TUPLET:
            mark = read_tuplet(token.text)
            self.tuplet = Fraction(mark.q or (3 if self.meter.compound else 2), mark.p)
            self.tuplet_left = mark.r
        elif kind is Kind.BROKEN and self.found:
            part = Fraction(1, 2 ** len(token.text))
            before, self.factor = (2 - part, part) if token.text[0] == ">" else (part, 2 - part)
            last = self.found[-1]
            self.found[-1] = last._replace(units=last.units * before, length=last.length * before)
        elif kind is Kind.TIE and self.found:
            self.found[-1] = self.found[-1]._replace(tied=True)
        elif kind in (Kind.BAR, Kind.ENDING):
            self.bar, self.layers = self.bar + 1, 0
        elif kind is Kind.OVERLAY:
            self.layers += 1
        elif kind in (Kind.FIELD, Kind.INLINE_FIELD):
            self.change(*read_field(token.text))
        follow(self.accidentals, token)

    def change(self, name: str, value: str) -> None:
        """Take a new key, meter or unit note length from here on."""
        if name == "K":
            self.key = parse_key(value)
            self.accidentals.change_key(self.key.signature)
        elif name == "M":
            self.meter = parse_meter(value)
        elif name == "L":
            self.unit = parse_unit_note_length(value)


def events(tune: Tune) -> tuple[Event, ...]:
    """All notes, chords and rests of a tune that parses (`chatmusician.music.checks`), voice by voice."""
    voices: dict[str, _Voice] = {}

    def voice_named(name: str) -> _Voice:
        if name not in voices:
            accidentals = BarAccidentals(signature=tune.key.signature)
            voices[name] = _Voice(tune.unit_note_length, tune.meter, tune.key, accidentals)
        return voices[name]

    name = ""
    for index, token in enumerate(tune.tokens):
        if token.kind in (Kind.NOTE, Kind.CHORD, Kind.REST):
            voice_named(name).play(token, name, index)
        elif token.text.startswith(("V:", "[V:")):
            name = read_field(token.text)[1].split(" ")[0]
        elif token.kind is not Kind.GRACE:
            voice_named(name).mark(token)
    return tuple(event for voice in voices.values() for event in sorted(voice.found, key=lambda event: event.voice))


def sounding(found: Iterable[Event]) -> tuple[Event, ...]:
    """The notes and chords without the rests; notes that are tied are one, as long as all together."""
    sounds: list[Event] = []
    for event in found:
        before = sounds[-1] if sounds else None
        if before and before.tied and (before.voice, before.pitches) == (event.voice, event.pitches):
            units, length = before.units + event.units, before.length + event.length
            sounds[-1] = before._replace(units=units, length=length, tied=event.tied)
        elif event.notes:
            sounds.append(event)
    return tuple(sounds)


def melodic_intervals(sounds: Iterable[Event]) -> Iterator[int]:
    """Semitones from note to note within each voice, upwards positive; of a chord the note written first counts."""
    for before, after in pairwise(sounds):
        if before.voice == after.voice:
            yield after.pitches[0] - before.pitches[0]


@lru_cache(maxsize=256)
def scale_of(key: Key) -> frozenset[int] | None:
    """The pitch classes of a key's signature, explicit accidentals counted; None without a tonic.

    They differ by mode: D dorian is that of C major, D minor that of F major.
    """
    if not key.tonic:
        return None
    return frozenset((SEMITONES_OF[letter] + alteration) % 12 for letter, alteration in key.signature.items())


def _length_of(token: Token) -> Fraction:
    if token.kind is Kind.REST:
        return read_rest(token.text)
    return read_chord(token.text).length if token.kind is Kind.CHORD else notes_of(token)[0].length
