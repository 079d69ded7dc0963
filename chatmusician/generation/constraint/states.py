"""The states of the machine that reads music (`chatmusician.generation.constraint.music`), and its events.

A state is a tuple: small, hashed, compared, and shared between all rows of all answers. It knows the bar at hand only.
Where the next bar begins, a field says something, or the tune ends, the machine answers a character with that event,
and ``tunes`` goes on with what it knows of the voice.

Characters are bytes: text outside ASCII is possible in quotations, comments and fields, and a character of several
bytes may be cut anywhere by a token.
"""

from enum import Enum, IntEnum, auto
from typing import Any, NamedTuple

from chatmusician.generation.constraint.clock import Clock, Ticks, Written
from chatmusician.generation.constraint.fields import CHECKED
from chatmusician.generation.constraint.sections import Gap


class Mode(IntEnum):
    """Where in the notation the last character stands; ``data`` says more where something is unfinished."""

    LINE = auto()  # at the start of a line, perhaps after spaces
    LABEL = auto()  # after a letter there, which may name a field
    COLON = auto()  # and after a colon behind that letter
    INSIDE = auto()  # nothing is unfinished
    DOT = auto()
    ACCIDENTAL = auto()
    NOTE = auto()  # a note, a rest, or the length of a chord
    DIGITS = auto()  # the number of bars of a Z, the width of a y
    PAREN = auto()
    TUPLET = auto()
    BROKEN = auto()
    BRACKET = auto()
    BRACKET_LETTER = auto()
    INLINE = auto()
    FIELD = auto()
    QUOTE = auto()
    NAMED = auto()  # !trill!
    COMMENT = auto()
    LINE_END = auto()  # nothing but spaces may follow on this line
    HALF_BAR = auto()  # a colon that a bar line must follow
    BAR = auto()
    ENDING = auto()
    TILDE = auto()  # one that opens a line, and may be the first of ~~~
    FENCE = auto()


class Within(IntEnum):
    """Whether notes are those of a chord, or grace notes."""

    NOTHING = auto()
    CHORD = auto()
    GRACE = auto()


class Pending(NamedTuple):
    """A note, rest or chord whose length may still grow."""

    written: Written
    octaves: bool = False
    """Whether an octave mark may follow."""
    sounds: bool = True
    """It is no rest."""


class Music(NamedTuple):
    """A state. Without a gap a bar is at hand; with one, nothing of the next bar has begun."""

    clock: Clock
    gap: Gap | None = Gap()
    mode: Mode = Mode.LINE
    data: Any = None
    within: Within = Within.NOTHING
    first: Ticks = 0
    """In a chord: the length of its first note, 0 if it has none yet."""
    noted: bool = False
    """The tune has a note."""
    words: bool = False
    """`extract_tune` may take the line for prose unless a ``|`` comes."""
    letters: str = ""
    """Letters that the header makes decorations."""

    @property
    def may_end(self) -> bool:
        """Whether this voice may end here: after a bar line, with nothing unfinished or owed."""
        gap = self.gap
        return (
            gap is not None
            and gap.left is not None
            and gap.lines
            and not (gap.ending or gap.opens or self.words)
            and self.mode in (Mode.LINE, Mode.INSIDE, Mode.BAR)
            and self.within is Within.NOTHING
            and self.noted
            and self.clock.settled
            and gap.is_right
        )

    @property
    def owes_nothing(self) -> bool:
        """Whether this is a gap after which the next bar is a full one: a meter may change, a ``Z`` may follow."""
        return self.gap is not None and (self.gap.left is None or (not self.gap.ending and self.gap.is_right))

    @property
    def folds(self) -> bool:
        """Whether characters that mean the same in notes do so here: not in a field, nor in the number of an ending."""
        return self.mode not in (Mode.COLON, Mode.FIELD, Mode.INLINE, Mode.ENDING)

    @property
    def stops(self) -> str | None:
        """Within a text: the characters that do not simply belong to it. None elsewhere, and within a character."""
        if self.mode is Mode.QUOTE:
            return None if self.data else '"' + TEXT_STOPS
        if self.mode is Mode.COMMENT:
            return None if self.data else TEXT_STOPS
        if self.mode is not Mode.FIELD or self.data[0] in READ or self.data[1]:
            return None
        return TEXT_STOPS + "%"


class BarEnd(NamedTuple):
    """The bar at hand is closed by these characters."""

    characters: str
    then: Music


class BarStart(NamedTuple):
    """The next bar begins with these characters, after this gap."""

    characters: str
    then: Music


class Change(NamedTuple):
    """A field has been read; the music goes on as ``then``."""

    name: str
    value: str
    then: Music


class Layer(NamedTuple):
    """An ``&`` goes back to the start of the bar."""

    then: Music


class Reread(NamedTuple):
    """What was being written is complete: the character is to be read by this state."""

    then: Music


class End(Enum):
    """The tune ends here."""

    BLANK = "\n"
    FENCE = "`"
    NUMBER = "X:"


Event = BarEnd | BarStart | Change | Layer | End
Next = Music | Event | None
"""What a character makes of a state; None if it may not come."""
Read = Next | Reread

FOLDED = {**dict.fromkeys("ABDEFGabcdefg", "C"), "'": ","}
"""The one of several characters that mean the same, wherever a state folds."""

READ = CHECKED + "V"
"""Fields of the body whose values count."""

CONTROL = "".join(map(chr, (*range(9), *range(11, 32), 127)))
"""Characters that no tune has."""
LINE_ENDS = "\r\v\f\x1c\x1d\x1e"
"""Those that end a line for Python, the newline excepted."""
TEXT_STOPS = "\n\xc2\xe2" + CONTROL
_SEPARATORS = ("\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9")
"""Line ends outside ASCII: next line, line separator, paragraph separator."""


def text_tail(tail: str, character: str) -> str | None:
    """What must be remembered of a text to find a line end outside ASCII; None where one would be completed."""
    tail += character
    if tail in _SEPARATORS or character in CONTROL:
        return None
    return tail if tail == "\xe2\x80" else character if character in "\xc2\xe2" else ""
