"""What a score is made of, between the ABC that is read and the MusicXML that is written.

A `Score` has parts, one a voice; a part has measures; a measure has layers, which begin together (``&`` of ABC opens
another); a layer has notes, chords and rests, with changes of key, meter and the like between them. All durations are
fractions of a whole note.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from chatmusician.errors import UserError
from chatmusician.music.keys import Key
from chatmusician.music.tunes import Meter


class NotationError(UserError):
    """A text that is no score: one line, fit to show to a user."""


@dataclass(slots=True, kw_only=True)
class Pitch:
    """One note head."""

    letter: str
    octave: int
    """That of middle C is 0, as in ABC."""
    alteration: int
    """Semitones that it sounds above the natural letter, whatever is printed."""
    printed: bool
    """Whether an accidental stands before it."""
    tie_from: bool = False
    tie_to: bool = False


@dataclass(slots=True, kw_only=True)
class Grace:
    """A grace note, or several on one stem."""

    pitch: Pitch
    slashed: bool


@dataclass(slots=True, kw_only=True)
class Syllable:
    """What is sung to a note in one verse."""

    text: str
    continued: bool
    """Its word began with an earlier syllable."""
    hyphenated: bool = False
    """Its word goes on at the next syllable."""
    extended: bool = False
    """It is held over the notes that follow without a syllable."""


@dataclass(slots=True, kw_only=True)
class Event:
    """A note, a chord, or a rest."""

    pitches: tuple[Pitch, ...]
    """Empty for a rest."""
    length: Fraction
    """As the notes look: broken rhythm counted, tuplets not."""
    tuplet: tuple[int, int] = (1, 1)
    """So many in the time of so many."""
    tuplet_begins: bool = False
    tuplet_ends: bool = False
    visible: bool = True
    whole_measure: bool = False
    """A rest for the whole measure, however long."""
    joined: bool = False
    """Written without a space after the note before: they share a beam if they have beams."""
    graces: tuple[Grace, ...] = ()
    signs: tuple[str, ...] = ()
    """Decorations by their names in ABC, such as ``trill``."""
    chord_symbols: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    """With the sign that places them, such as ``^slowly``."""
    slurs: list[tuple[str, int]] = field(default_factory=list)
    """``start`` or ``stop``, and which of those that are open at once."""
    syllables: dict[int, Syllable] = field(default_factory=dict)
    """By verse, counted from 1."""

    @property
    def duration(self) -> Fraction:
        """How long it sounds."""
        actual, normal = self.tuplet
        return self.length * normal / actual


@dataclass(frozen=True, slots=True, kw_only=True)
class Clef:
    """A clef, and how many octaves lower or higher than it shows the notes sound."""

    sign: str = "G"
    line: int = 2
    octaves: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """A key, and the one that it ends."""

    key: Key
    before: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """A ``Q:`` field."""

    text: str
    """What it has in quotation marks."""
    beat: Fraction | None
    """What is counted, in whole notes; None if it names only a number or none."""
    beats_a_minute: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Words above the staff: the name of a part where ``boxed``, else a title."""

    text: str
    boxed: bool


Change = KeyChange | Meter | Clef | Tempo | Heading
"""What takes effect between two notes."""


@dataclass(slots=True, kw_only=True)
class Measure:
    """What lies between two bar lines, or between a bar line and an ending that begins inside a bar."""

    layers: list[list[Event | Change]] = field(default_factory=lambda: [[]])
    number: str = ""
    upbeat: bool = False
    """Not counted: it completes another."""
    new_line: bool = False
    """A new line of the ABC begins here."""
    repeat_begins: bool = False
    repeat_plays: int = 0
    """How often the section that ends here is played; 0 where none ends."""
    bar_line: str = "regular"
    """The right one: regular, light-light, light-heavy, heavy-light, dotted, or none."""
    ending: str = ""
    """The label of the ending that begins here, such as ``1`` or ``1,3``."""
    ending_closes: str = ""
    """``stop`` with a hook, or ``discontinue``, where an ending is over after this measure."""

    @property
    def sounds(self) -> bool:
        """Whether it has a note or rest."""
        return any(isinstance(item, Event) for layer in self.layers for item in layer)

    @property
    def duration(self) -> Fraction:
        """Of the longest layer."""
        return max(duration_of(layer) for layer in self.layers)


def duration_of(layer: list[Event | Change]) -> Fraction:
    """How long the notes and rests of a layer last one after the other."""
    return sum((item.duration for item in layer if isinstance(item, Event)), Fraction(0))


@dataclass(slots=True, kw_only=True)
class Part:
    """The measures of one voice."""

    name: str
    measures: list[Measure]
    key: Key
    meter: Meter
    clef: Clef


@dataclass(frozen=True, kw_only=True)
class Score:
    """A tune as it is to be printed."""

    titles: tuple[str, ...]
    composer: str
    fields: tuple[tuple[str, str], ...]
    """Names and values of other fields of the header that say what the tune is: rhythm, origin, source, book."""
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    """What of the text is not in the score, one line each."""
