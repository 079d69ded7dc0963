"""One voice of a tune, token by token, into the measures of its part.

Flow: ``reading`` hands over the tokens that are the voice's -> `VoiceReader` -> `Part`. It is lenient where a player
would be: an accidental that holds, a tuplet or a broken rhythm that a bar line parts, a slur that is never closed, a
tie to another note (drawn as a slur) stop nothing. Pitches and durations are those that abc2midi 5.02 plays.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from chatmusician.music.keys import Key
from chatmusician.music.lexer import Kind, Note, Token, read_chord, read_grace, read_note, read_rest, read_tuplet
from chatmusician.music.notation.curves import Curves
from chatmusician.music.notation.lyrics import put_words
from chatmusician.music.notation.score import (
    Clef,
    Event,
    Grace,
    Heading,
    KeyChange,
    Measure,
    NotationError,
    Part,
    Pitch,
    Tempo,
)
from chatmusician.music.pitches import BarAccidentals, follow
from chatmusician.music.tunes import Meter

LAYERS_MOST = 4
"""Layers of a bar (``&``): as many as a staff can show. verovio takes minutes for hundreds."""

_REPEAT_END = re.compile(r":+(?=[|\]\[])|::+")
MEASURES_MOST = 2000
"""Longest part; the longest folk tune that music21 ships has 194 bars."""

_LETTER_SIGNS = {
    ".": "staccato",
    "~": "roll",
    "H": "fermata",
    "J": "slide",
    "L": "accent",
    "M": "lowermordent",
    "O": "coda",
    "P": "uppermordent",
    "R": "roll",
    "S": "segno",
    "T": "trill",
    "u": "upbow",
    "v": "downbow",
}
"""ABC 2.1, section 4.14, and the J and R of older programs."""


class VoiceReader:
    """Reads a voice from left to right.

    Args:
        key: in force at its first note.
        meter: likewise.
        unit: the unit note length in whole notes.
        clef: the first one.
        octave: octaves that it sounds above what is written, those of its clef aside.
    """

    def __init__(self, *, key: Key, meter: Meter, unit: Fraction, clef: Clef, octave: int) -> None:
        self.name = ""
        """What is printed before the staff."""
        self.key, self.meter, self.unit, self.clef, self.octave = key, meter, unit, clef, octave
        self._line: list[Event] = []  # the notes of the line of music at hand
        self._bar_starts: list[int] = []  # indices of those that begin a bar
        self._begins_bar = True
        self._verses: list[str] = []
        self._measures: list[Measure] = []
        self._measure = Measure()
        self._layer = 0
        self._accidentals = BarAccidentals(signature=key.signature)
        self._shown: dict[tuple[str, int], int] = {}  # alterations as a reader of the staff takes them, in this bar
        self._first: tuple[Key, Meter, Clef] | None = None  # what stands at the first note
        self._last: Event | None = None
        self._broken: Fraction | None = None
        self._tuplet, self._tuplet_left, self._tuplet_begins = (1, 1), 0, False
        self._curves = Curves()
        self.layers_left_out = 0
        """Those beyond `LAYERS_MOST` of a bar."""
        self._graces: list[Grace] = []
        self._signs: dict[str, None] = {}  # sets in order
        self._chord_symbols: dict[str, None] = {}
        self._annotations: dict[str, None] = {}
        self._ending = False
        self._apart = True  # a space, bar line or line end came since the last note
        self._line_over = self._continued = False

    @property
    def begun(self) -> bool:
        """Whether a note or rest has come."""
        return self._last is not None

    def read(self, token: Token) -> None:
        """Take in any token but a field."""
        kind = token.kind
        if self._layer >= LAYERS_MOST and kind not in (Kind.BAR, Kind.ENDING, Kind.OVERLAY):
            return
        if kind is Kind.NOTE:
            self._sound([read_note(token.text)])
        elif kind is Kind.CHORD:
            chord = read_chord(token.text)
            self._sound(chord.notes, length=chord.length)
        elif kind is Kind.REST:
            self._rest(token.text)
        elif kind is Kind.BAR:
            self._bar(token.text)
        elif kind is Kind.ENDING:
            self._open_ending(token.text.strip('["'))
        elif kind is Kind.TUPLET:
            self._begin_tuplet(token.text)
        elif kind is Kind.BROKEN:
            self._break_rhythm(token.text)
        elif kind is Kind.OVERLAY:
            self._overlay()
        elif kind is Kind.GRACE:
            self._grace(token.text)
        elif kind is Kind.SLUR:
            if "(" in token.text:
                self._curves.open_slur()
            else:
                self._curves.close_slur(self._last)
        else:
            self._mark(token)
        if kind is Kind.TIE or (kind is Kind.CHORD and "-" in token.text):
            self._curves.open_tie(self._last, layer=self._layer)
        follow(self._accidentals, token)

    def _mark(self, token: Token) -> None:
        """What is kept for the next note, and what parts notes."""
        if token.kind is Kind.DECORATION:
            self._signs.setdefault(token.text[1:-1] or _LETTER_SIGNS.get(token.text, token.text))
        elif token.kind is Kind.CHORD_SYMBOL:
            self._chord_symbols.setdefault(token.text.strip('"'))
        elif token.kind is Kind.ANNOTATION:
            self._annotations.setdefault(token.text.strip('"'))
        elif token.kind is Kind.CONTINUATION:
            self._continued = True
        elif token.kind is Kind.NEWLINE or token.kind is Kind.LINE_BREAK:
            self._line_over |= not self._continued
            self._continued, self._apart = False, True
        elif token.kind is Kind.SPACE:
            self._apart = True

    def change(self, change: Meter | Clef | Tempo | Heading) -> None:
        """Take a meter, clef, tempo or heading from here on."""
        if isinstance(change, Meter):
            self.meter = change
        elif isinstance(change, Clef):
            self.clef = change
        if self.begun or isinstance(change, Tempo | Heading):
            self._measure.layers[-1].append(change)

    def change_key(self, key: Key) -> None:
        """Take a key from here on."""
        if key != self.key and self.begun:
            self._measure.layers[-1].append(KeyChange(key=key, before=self.key))
        self.key = key
        self._accidentals.change_key(key.signature)
        self._shown.clear()

    def sing(self, words: str, *, goes_on: bool) -> int:
        """Put a line of words to the line of music before it; how many syllables have no note.

        ``goes_on``: the words continue those of the line before (``+:``).
        """
        if goes_on and self._verses:
            words = f"{self._verses.pop()} {words}"
        self._verses.append(words)
        return put_words(words, self._line, verse=len(self._verses), bar_starts=self._bar_starts)

    def _sound(self, notes: Sequence[Note], *, length: Fraction | None = None) -> None:
        held = self._curves.held(self._layer)
        self._accidentals.next_token()
        pitches = tuple(self._pitch(note, held=held) for note in notes)
        event = self._add(pitches, self.unit * (notes[0].length if length is None else length))
        self._curves.reach(event, layer=self._layer)

    def _pitch(self, note: Note, *, held: set[tuple[str, int]]) -> Pitch:
        """The pitch of a written note; an accidental is printed too where a reader would take another pitch."""
        alteration = self._accidentals.read(note)
        octave = note.octave + self.octave + self.clef.octaves
        place = note.letter, octave
        taken = self._shown.get(place, self.key.signature[note.letter])
        printed = bool(note.accidental) or (alteration != taken and place not in held)
        if printed:
            self._shown[place] = alteration
        return Pitch(letter=note.letter, octave=octave, alteration=alteration, printed=printed)

    def _add(self, pitches: tuple[Pitch, ...], length: Fraction, *, visible: bool = True, whole: bool = False) -> Event:
        if self._broken is not None and not whole:
            length *= self._broken
            self._broken = None
        self._first = self._first or (self.key, self.meter, self.clef)
        event = Event(
            pitches=pitches,
            length=length,
            visible=visible,
            whole_measure=whole,
            joined=not self._apart,
            graces=tuple(self._graces),
            signs=tuple(self._signs),
            chord_symbols=tuple(self._chord_symbols),
            annotations=tuple(self._annotations),
        )
        self._graces.clear()
        for waiting in (self._signs, self._chord_symbols, self._annotations):
            waiting.clear()
        if self._tuplet_left and not whole:
            event.tuplet, event.tuplet_begins = self._tuplet, self._tuplet_begins
            self._tuplet_left -= 1
            self._tuplet_begins = False
            event.tuplet_ends = not self._tuplet_left
        if self._line_over:
            self._measure.new_line = bool(self._measures) and not self._measure.sounds
        if self._line_over or self._verses:
            for lines in (self._line, self._bar_starts, self._verses):
                lines.clear()
        self._line_over = self._apart = False
        if pitches:
            if self._begins_bar:
                self._bar_starts.append(len(self._line))
            self._line.append(event)
            self._begins_bar = False
        self._measure.layers[-1].append(event)
        self._last = event
        return event

    def _rest(self, text: str) -> None:
        self._curves.drop_tie(self._layer)
        visible = text[0] in "zZ"
        if text[0] in "zx":
            self._add((), self.unit * read_rest(text), visible=visible)
            return
        for left in reversed(range(int(read_rest(text)))):
            self._add((), self.meter.bar_length or Fraction(1), visible=visible, whole=not self._measure.sounds)
            if left:
                self._close("regular")

    def _grace(self, text: str) -> None:
        self._accidentals.next_token()
        for note in read_grace(text):
            self._graces.append(Grace(pitch=self._pitch(note, held=set()), slashed=text.startswith("{/")))

    def _break_rhythm(self, text: str) -> None:
        if self._last is not None and self._broken is None:
            part = Fraction(1, 2 ** len(text))
            before, after = (2 - part, part) if text[0] == ">" else (part, 2 - part)
            self._last.length *= before
            self._broken = after

    def _begin_tuplet(self, text: str) -> None:
        mark = read_tuplet(text)
        if self._tuplet_left and self._last is not None:
            self._last.tuplet_ends = self._last.tuplet != (1, 1)
        self._tuplet = mark.p, mark.q or (3 if self.meter.compound else 2)
        self._tuplet_left, self._tuplet_begins = mark.r, True

    def _overlay(self) -> None:
        self._accidentals.bar_line()
        self._shown.clear()
        self._layer += 1
        if self._layer < LAYERS_MOST:
            self._measure.layers.append([])
        else:
            self.layers_left_out += 1

    def _bar(self, text: str) -> None:
        closes = _REPEAT_END.search(text)
        if closes:
            style = "light-heavy"
        elif text == "[|]":
            style = "none"
        elif "[|" in text or "|]" in text:
            style = "light-heavy" if "|]" in text else "heavy-light"
        else:
            style = "light-light" if text.count("|") > 1 else "dotted" if text.startswith(".") else "regular"
        plays = min(len(closes.group()) + 1, 5) if closes and text.strip(":") else 2 if closes else 0
        if self._measure.sounds:
            self._close(style, plays=plays)
        elif self._measures:  # a second bar line after one: they are one
            before = self._measures[-1]
            before.repeat_plays = plays or before.repeat_plays
            before.bar_line = style if style != "regular" else before.bar_line
            self._close_ending(before)
        self._measure.repeat_begins |= text.endswith(":")

    def _close(self, style: str, *, plays: int = 0) -> None:
        """End the measure."""
        measure = self._measure
        measure.bar_line, measure.repeat_plays = style, plays
        if self._tuplet_left and self._last is not None and not self._tuplet_begins:
            self._last.tuplet_ends = self._tuplet_begins = True
        self._close_ending(measure)
        self._measures.append(measure)
        if len(self._measures) > MEASURES_MOST:
            raise NotationError(f"the tune has more than {MEASURES_MOST} bars; shorten it")
        self._measure, self._layer, self._apart = Measure(), 0, True
        self._begins_bar = True
        self._shown.clear()

    def _open_ending(self, label: str) -> None:
        if self._measure.sounds:
            self._close("none")
        if self._ending and self._measures:
            self._measures[-1].ending_closes = "stop"
        self._measure.ending, self._ending = label, True

    def _close_ending(self, measure: Measure) -> None:
        if self._ending and (measure.repeat_plays or measure.bar_line.startswith(("light", "heavy"))):
            measure.ending_closes = "stop" if measure.repeat_plays else "discontinue"
            self._ending = False

    def part(self) -> Part:
        """The part, at the end of the tune."""
        if self._measure.sounds:
            self._close("regular")
        if self._ending and self._measures:
            self._measures[-1].ending_closes = "discontinue"
        key, meter, clef = self._first or (self.key, self.meter, self.clef)
        return Part(name=self.name, measures=self._measures, key=key, meter=meter, clef=clef)
