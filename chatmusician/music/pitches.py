"""Sounding pitches: which MIDI note each written note is, by the key and the accidentals before it in the bar.

Flow: ``Tune.tokens`` -> `pitches`; ``transposition`` uses `BarAccidentals` to write accidentals as well as read them.
An accidental holds for its letter, in every octave, up to the next bar line (ABC 2.1, section 11.3, the default
``%%propagate-accidentals pitch``), and beyond it for the one note that is tied over: ``^f-|f f`` is F sharp twice, then
F. abc2midi 5.02 reads all of this the same way.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from chatmusician.music.keys import ALTERATION_OF, SEMITONES_OF, accidental_of, parse_key
from chatmusician.music.lexer import Kind, Note, Token, read_chord, read_field, read_grace, read_note
from chatmusician.music.tunes import Tune


class BarAccidentals:
    """The accidentals in force while one voice is read, or written, from left to right.

    >>> from chatmusician.music.lexer import read_note
    >>> g_major = BarAccidentals(signature={"C": 0, "D": 0, "E": 0, "F": 1, "G": 0, "A": 0, "B": 0})
    >>> [g_major.read(read_note(note)) for note in ("f", "=f", "f", "c")]
    [1, 0, 0, 0]
    """

    def __init__(self, *, signature: Mapping[str, int]) -> None:
        self._signature = signature
        self._of_bar: dict[str, int] = {}
        self._last: dict[tuple[str, int], int] = {}
        self._tie: dict[tuple[str, int], int] = {}  # from the last notes to those to come
        self._tied: dict[tuple[str, int], int] = {}  # to the notes at hand

    @property
    def at_rest(self) -> bool:
        """True if nothing but the key signature decides the notes that follow."""
        return not self._of_bar and not self._tie

    def change_key(self, signature: Mapping[str, int]) -> None:
        """Take a new key signature. Accidentals of the bar stay."""
        self._signature = signature

    def bar_line(self) -> None:
        """Forget the accidentals of the bar."""
        self._of_bar.clear()

    def next_token(self) -> None:
        """Announce the notes of the next note, chord or grace notes."""
        self._last, self._tied, self._tie = {}, self._tie, {}

    def tie(self) -> None:
        """Tie the notes read last to the same ones that follow."""
        self._tie = dict(self._last)

    def of(self, letter: str, octave: int) -> int:
        """Semitones that a note has without an accidental of its own."""
        return self._tied.get((letter, octave), self._of_bar.get(letter, self._signature[letter]))

    def read(self, note: Note) -> int:
        """Semitones of a written note, whose accidental then holds for the rest of the bar."""
        if note.accidental:
            self._of_bar[note.letter] = ALTERATION_OF[note.accidental]
            self._tied.pop((note.letter, note.octave), None)
        return self._sound(note.letter, note.octave)

    def write(self, letter: str, octave: int, alteration: int, *, always: bool = False) -> str:
        """The accidental to write for a note of so many semitones: none where it holds already, unless always."""
        accidental = ""
        if always or self.of(letter, octave) != alteration:
            accidental = accidental_of(alteration)
        self.read(Note(accidental, letter, octave, Fraction(1)))
        return accidental

    def _sound(self, letter: str, octave: int) -> int:
        alteration = self.of(letter, octave)
        self._tied.pop((letter, octave), None)
        self._last[letter, octave] = alteration
        return alteration


def notes_of(token: Token) -> tuple[Note, ...]:
    """The notes in a token: one for a note, several for a chord or grace notes, none for others."""
    if token.kind is Kind.NOTE:
        return (read_note(token.text),)
    if token.kind is Kind.CHORD:
        return read_chord(token.text).notes
    return read_grace(token.text) if token.kind is Kind.GRACE else ()


def midi_pitch(note: Note, alteration: int) -> int:
    """MIDI note number: middle C, written ``C``, is 60."""
    return 60 + 12 * note.octave + SEMITONES_OF[note.letter] + alteration


def pitches(tune: Tune) -> tuple[int, ...]:
    """MIDI note numbers of all notes in the order written, with those of chords and grace notes; repeats count once.

    Raises:
        ValueError: a ``K:`` field of the body holds no key.
    """
    return tuple(_pitches(tune))


def _pitches(tune: Tune) -> Iterator[int]:
    accidentals = BarAccidentals(signature=tune.key.signature)
    for token in tune.tokens:
        if token.kind in (Kind.FIELD, Kind.INLINE_FIELD):
            name, value = read_field(token.text)
            if name == "K":
                accidentals.change_key(parse_key(value).signature)
        elif notes := notes_of(token):
            accidentals.next_token()
            for note in notes:
                yield midi_pitch(note, accidentals.read(note))
        follow(accidentals, token)


def follow(accidentals: BarAccidentals, token: Token) -> None:
    """Heed what a bar line or a tie does to accidentals; ties inside a chord count for the whole chord."""
    if token.kind is Kind.BAR:
        accidentals.bar_line()
    elif token.kind is Kind.TIE or (token.kind is Kind.CHORD and "-" in token.text):
        accidentals.tie()
