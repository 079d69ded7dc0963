"""Durations: every voice cut into bars, and how long each bar lasts.

Flow: ``Tune.tokens`` -> `measure` -> ``bars``, which judges short bars. Durations are exact fractions of a whole note.
They take into account the unit note length and its changes, tuplets (``(5``, ``(7`` and ``(9`` go by the meter, ABC 2.1
section 4.13), broken rhythm across spaces and grace notes, chords (the first note's length times the one outside),
rests for whole bars, and each voice for itself. Grace notes and spacers take no time; of layers joined by ``&`` the
longest counts.

In ``L:1/8``, ``M:4/4``: ``(3ABc d>e f2 [ce]2`` is 3 x 2/3 + 3/2 + 1/2 + 2 + 2 = 8 eighths, a full bar.
"""

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from chatmusician.music.lexer import Kind, Token, read_chord, read_field, read_note, read_rest, read_tuplet
from chatmusician.music.tunes import AbcError, Meter, Tune, parse_meter, parse_unit_note_length


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A piece of music between two bar lines, or between a bar line and an ending mark."""

    voice: str
    """Name given by ``V:``; empty before the first."""
    text: str
    """As written, without the bar lines and outer spaces; may run over a line end."""
    line: int
    """Where the first note or rest is, counted from 1 in the source."""
    column: int
    opening: str
    """All bar lines and ending marks before it, such as ``:|`` and ``|:`` joined to ``:||:``; empty at the start."""
    closing: str
    """All bar lines and ending marks after it; empty if the tune ends without one."""
    duration: Fraction
    """In whole notes."""
    expected: Fraction | None
    """Length of a full bar in whole notes (times the bars of a multi-bar rest), None in free meter."""
    adds_up: bool
    """By the definition in ``bars``."""

    @property
    def opens_at_border(self) -> bool:
        """True after a double bar, a repeat sign or the start of the tune."""
        return not self.opening or is_border(self.opening)

    @property
    def closes_at_border(self) -> bool:
        """True before a double bar, a repeat sign or the end of the tune."""
        return not self.closing or is_border(self.closing)

    @property
    def short(self) -> bool:
        """True if it lasts less than the meter says."""
        return self.expected is not None and self.duration < self.expected


_BORDER = re.compile(r":|\|\||\[\||\|\]")
_ENDING = re.compile(r"[\d\"]")


def is_border(bar_line: str) -> bool:
    """True for bar lines that delimit sections: double, thick, or with repeat dots."""
    return _BORDER.search(bar_line) is not None


def has_ending(bar_line: str) -> bool:
    """True where a first, second or other ending begins."""
    return _ENDING.search(bar_line) is not None


_TICKS = 2**10 * 3**2 * 5 * 7
"""Parts of a unit note length, so that sums are integers, not fractions, for all usual lengths and tuplets."""


def _ticks(length: Fraction) -> int | Fraction:
    return _whole(length * _TICKS)


def _whole(ticks: int | Fraction) -> int | Fraction:
    return int(ticks) if ticks.denominator == 1 else ticks


@lru_cache(maxsize=16384)
def _written_ticks(text: str) -> int | Fraction:
    if text[0] == "[":
        return _ticks(read_chord(text).length)
    return _ticks(read_rest(text) if text[0] in "zx" else read_note(text).length)


@dataclass(slots=True)
class _Voice:
    """What one voice has played of the bar at hand. Ticks are of the unit note length, fractions of a whole note."""

    name: str
    unit: Fraction
    meter: Meter
    source: str
    bars: list[Bar] = field(default_factory=list)
    opening: str = ""
    text: list[str] = field(default_factory=list)
    start: Token | None = None
    ticks: int | Fraction = 0
    elapsed: Fraction = Fraction(0)
    """Time of this bar before the last change of unit note length."""
    longest_layer: Fraction = Fraction(0)
    whole_bars: int = 0
    last: int | Fraction | None = None
    """Ticks of the last note, for the broken rhythm that may follow it."""
    factor: Fraction | None = None
    """What broken rhythm does to the next note."""
    tuplet: Fraction = Fraction(1)
    tuplet_left: int = 0
    tuplet_mark: Token | None = None

    def play(self, token: Token) -> None:
        """Add a note, a chord or a rest to the bar."""
        if self.start is None:
            self.start = token
        if token.text[0] in "ZX":
            self.whole_bars += int(read_rest(token.text))
            return
        ticks = _written_ticks(token.text)
        if self.tuplet_left:
            ticks = _whole(ticks * self.tuplet)
            self.tuplet_left -= 1
        if self.factor is not None:
            ticks = _whole(ticks * self.factor)
            self.factor = None
        self.ticks += ticks
        self.last = ticks

    def mark(self, token: Token) -> None:
        """Heed a token that changes the time of the notes around it; any other means nothing here."""
        if token.kind is Kind.BROKEN:
            self.break_rhythm(token)
        elif token.kind is Kind.TUPLET:
            self.begin_tuplet(token)
        elif token.kind is Kind.OVERLAY:
            self.overlay()

    def break_rhythm(self, token: Token) -> None:
        """``>`` dots the note before and halves the next; ``<`` the other way; doubled signs go further."""
        if self.last is None or self.factor is not None:
            raise self.error("broken rhythm needs a note on either side", token)
        part = Fraction(1, 2 ** len(token.text))
        before, after = (2 - part, part) if token.text[0] == ">" else (part, 2 - part)
        self.ticks += _whole(self.last * (before - 1))
        self.factor = after

    def begin_tuplet(self, token: Token) -> None:
        """Squeeze the next notes: ``(p:q:r`` plays p in the time of q, for r notes."""
        mark = read_tuplet(token.text)
        if self.tuplet_left:
            raise self.error(f"{self.tuplet_left} notes are missing in the tuplet before", token)
        if mark.q is None and mark.p not in (5, 7, 9):
            raise self.error(f"the tuplet {token.text!r} needs the time of how many; write it as (p:q:r", token)
        self.tuplet = Fraction(mark.q or (3 if self.meter.compound else 2), mark.p)
        self.tuplet_left = mark.r
        self.tuplet_mark = token

    def change(self, name: str, value: str, token: Token) -> None:
        """Take the meter of an ``M:`` field or the unit note length of an ``L:`` field from here on."""
        try:
            if name == "M":
                self.meter = parse_meter(value)
            else:
                unit = parse_unit_note_length(value)
                self.elapsed += self._played()
                self.ticks, self.last, self.unit = 0, None, unit
        except ValueError as error:
            raise self.error(str(error), token) from None

    def overlay(self) -> None:
        """Go back to the start of the bar for another layer."""
        self.longest_layer = max(self.longest_layer, self.elapsed + self._played())
        self.ticks, self.last, self.elapsed = 0, None, Fraction(0)

    def close(self, bar_line: str) -> None:
        """End the bar at a bar line or an ending mark. One without notes since the last joins it."""
        if self.start is None:
            self.opening += bar_line
            if self.bars and bar_line:
                self.bars[-1] = replace(self.bars[-1], closing=self.bars[-1].closing + bar_line)
            self.text.clear()
            return
        duration = self.elapsed + self._played() if self.elapsed else self._played()
        if self.longest_layer:
            duration = max(self.longest_layer, duration)
        full = self.meter.bar_length
        if self.whole_bars and full:
            duration += full * self.whole_bars
            full *= self.whole_bars
        self.bars.append(
            Bar(
                voice=self.name,
                text="".join(self.text).strip(),
                line=self.start.line,
                column=self.start.column,
                opening=self.opening,
                closing=bar_line,
                duration=duration,
                expected=full,
                adds_up=full is None or duration == full,
            )
        )
        self.opening, self.start, self.ticks, self.last, self.whole_bars = bar_line, None, 0, None, 0
        self.elapsed = self.longest_layer = Fraction(0)
        self.text.clear()

    def end(self) -> None:
        """End the tune."""
        if self.tuplet_left and self.tuplet_mark:
            raise self.error(f"{self.tuplet_left} notes are missing in the tuplet", self.tuplet_mark)
        self.close("")

    def error(self, reason: str, token: Token) -> AbcError:
        """What to raise for a fault at a token."""
        return AbcError(reason, line=token.line, column=token.column, source=self.source)

    def _played(self) -> Fraction:
        return Fraction(self.ticks * self.unit.numerator, _TICKS * self.unit.denominator)


def measure(tune: Tune) -> list[list[Bar]]:
    """The bars of each voice, in the order in which the voices appear; `Bar.adds_up` says only whether they are full.

    Raises:
        AbcError: a tuplet lacks notes, broken rhythm lacks a note, or a field of the body has no valid value.
    """
    voices: dict[str, _Voice] = {}

    def voice_named(name: str) -> _Voice:
        if name not in voices:
            voices[name] = _Voice(name, tune.unit_note_length, tune.meter, tune.source)
        return voices[name]

    voice = voice_named("")
    note, space, bar, ending, rest, chord = Kind.NOTE, Kind.SPACE, Kind.BAR, Kind.ENDING, Kind.REST, Kind.CHORD
    for token in tune.tokens:
        kind = token.kind
        if kind is note or kind is rest or kind is chord:
            voice.text.append(token.text)
            voice.play(token)
        elif kind is space:
            voice.text.append(token.text)
        elif kind is bar or kind is ending:
            voice.close(token.text)
        elif kind is Kind.FIELD or kind is Kind.INLINE_FIELD:
            name, value = read_field(token.text)
            if name == "V":
                voice = voice_named(value.split()[0] if value else "")
            elif name in "ML":
                voice.change(name, value, token)
        else:
            voice.text.append(token.text)
            voice.mark(token)
    for voice in voices.values():
        voice.end()
    return [voice.bars for voice in voices.values()]
