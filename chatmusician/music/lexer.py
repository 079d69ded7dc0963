r"""The body of an ABC tune as tokens: the first step of everything that reads music here.

Flow: ``tunes`` splits and reads headers -> **lexer** -> ``bars``, ``pitches``, ``form``, ``motif``, ``transposition``.

The tokens cover the text: ``"".join(token.text for token in tokenize(body)) == body``, always, so that a tune can be
changed at one token and kept byte for byte elsewhere. What ABC 2.1 does not know becomes a token of kind ``UNKNOWN``
(one character) instead of an error; whether a tune with such tokens is accepted is the business of ``checks``.
For example ``|:"G"G2 (3ABc|`` is

====  ============  ====  =====  ======  ====  ====  ====  ===
|:    "G"           G2    space  (3      A     B     c     |
BAR   CHORD_SYMBOL  NOTE  SPACE  TUPLET  NOTE  NOTE  NOTE  BAR
====  ============  ====  =====  ======  ====  ====  ====  ===

A chord ``[CEG]2``, grace notes ``{gf}``, a field and a comment are one token each; `read_note`, `read_chord` and
`read_grace` look inside. These readers are cached on the text: a corpus of 4,400 tunes has about 500,000 tokens but
only some thousand different notes. Section numbers below are those of the ABC standard 2.1.
"""

import re
from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Kind(Enum):
    """What a token is. The section of ABC 2.1 is in brackets."""

    NOTE = "note"  # [4.1] accidental, letter, octave marks, length
    REST = "rest"  # [4.5] z, x; Z and X rest for whole bars
    CHORD = "chord"  # [4.17] notes that sound together
    GRACE = "grace"  # [4.12] {...}, takes no time
    BAR = "bar line"  # [4.8]
    ENDING = "ending"  # [4.9] the number of a first or second ending
    TUPLET = "tuplet"  # [4.13] (p:q:r
    BROKEN = "broken rhythm"  # [4.4] > or <
    TIE = "tie"  # [4.11]
    SLUR = "slur"  # [4.11] ( or )
    CHORD_SYMBOL = "chord symbol"  # [4.18]
    ANNOTATION = "annotation"  # [4.19] "^text"
    DECORATION = "decoration"  # [4.14]
    INLINE_FIELD = "inline field"  # [3.2] [M:3/4]
    FIELD = "field"  # [3.2] a line of the body such as M:3/4 or w:words
    OVERLAY = "overlay"  # [7.4] &
    SPACER = "spacer"  # [6.1.2] y, takes no time
    BACKTICK = "backtick"  # [4.7] legibility only
    CONTINUATION = "continuation"  # [6.1.1] \ at the end of a line
    LINE_BREAK = "line break"  # [9.2] $, the ! of abc2win, the * of ABC 1.6: a new staff
    COMMENT = "comment"  # % and directives %%
    SPACE = "space"
    NEWLINE = "newline"
    UNKNOWN = "unknown"


class Token(NamedTuple):
    """A piece of the body. ``line`` and ``column`` count from 1; ``line`` is that of the file where it is known."""

    kind: Kind
    text: str
    line: int
    column: int


class Note(NamedTuple):
    """A written note. ``accidental`` is ``^^ ^ = _ __`` or empty; ``octave`` 0 is C to B, 1 is c to b, 2 is c' to b'.

    ``length`` is in unit note lengths, before tuplets and broken rhythm.
    """

    accidental: str
    letter: str
    octave: int
    length: Fraction


class Chord(NamedTuple):
    """Notes that sound together, for ``length`` unit note lengths: that of the first note times the one outside."""

    notes: tuple[Note, ...]
    length: Fraction


DECORATION_LETTERS = ".~HJLMOPRSTkuvt"
"""Letters that decorate a note without a ``U:`` field: those of ABC 2.1 and the J, R, k, t of older programs.

Other capitals H to W are taken directly before a note, as ABC 1.6 has it; small letters h to w need a ``U:`` field.
Taking them all, as some programs do, would read any English sentence as music."""

_NUMBER = r"[1-9]\d{0,3}"  # no musical number has five digits, and int() of thousands of digits is slow
_LENGTH = rf"(?:{_NUMBER})?(?:/{_NUMBER}|/{{0,6}})"
_NOTE = rf"(?:\^\^?|__?|=)?[A-Ga-g][,']*{_LENGTH}"
_QUOTED = r'"[^"\n]*"'
_NAMED_DECORATION = r"![^!|\s\"\[\]]{1,30}!|\+[^+|\s\"\[\]]{1,30}\+"
_ENDING = rf"{_NUMBER}(?:[,-]{_NUMBER})*"
_FIELD_NAMES = "A-IK-Zmrsw+"


def _pattern(letters: str) -> re.Pattern[str]:
    decoration = rf"{_NAMED_DECORATION}|[{re.escape(letters)}]|[H-W](?=[\^_=A-Ga-g({{\[\".~uv])"
    # Possessive (*+): an unclosed bracket or brace costs one scan of its line, not one for each way to divide it.
    around = rf"{_QUOTED}|{decoration}|[-()` ]"
    alternatives = {
        # A field is looked for before a note: "A:" opens one. "A:|" and "A::" are a note and a repeat.
        "FIELD": rf"^[{_FIELD_NAMES}]:(?![|:])[^%\n]*",
        "NOTE": _NOTE,
        "SPACE": r"[ \t\r\f\v]+",
        # The last alternative, a colon that opens a line, is the rest of a |: whose bar line ends the line before.
        "BAR": r"\.?(?::*\[?\|(?:[|:]|\](?!\d))*(?:\[\|[|:\]]*)?|::+\]?|:\]|^:)",
        "REST": rf"[zx]{_LENGTH}|[ZX](?:{_NUMBER})?",
        "NEWLINE": r"\n",
        "TUPLET": r"\([1-9]\d?(?::\d{0,2}){0,2}",
        "CHORD": rf"\[(?:{around})*+{_NOTE}(?:{_NOTE}|z{_LENGTH}|{around})*+\]{_LENGTH}",
        "INLINE_FIELD": rf"\[[{_FIELD_NAMES}]:[^\]\n]{{0,200}}\]",
        "ENDING": rf"(?<=[|:\]]){_ENDING}|\[(?:{_ENDING}|{_QUOTED})",
        "BROKEN": r">{1,3}|<{1,3}",
        "TIE": r"\.?-",
        "SLUR": r"\.?\(|\)",
        "ANNOTATION": r'"[\^_<>@][^"\n]*"',
        "CHORD_SYMBOL": _QUOTED,
        "GRACE": rf"\{{/?(?:{_NOTE}|{_NAMED_DECORATION}|[-()` ><\[\]{re.escape(letters)}])*+\}}",
        "DECORATION": decoration,
        "BACKTICK": "`+",
        # The last alternative is a line break of quoted-printable mail, left in 17 tunes of Ryan's Mammoth Collection.
        "CONTINUATION": r"\\(?=[ \t\r]*(?:%|$))|=(?:20)?$",
        "COMMENT": r"%[^\n]*",
        "LINE_BREAK": r"\$|!|\*+(?=[ \t\r]*$)",
        "OVERLAY": "&+",
        "SPACER": rf"y(?:{_NUMBER})?",
        "UNKNOWN": r".",
    }
    return re.compile("|".join(f"(?P<{name}>{regex})" for name, regex in alternatives.items()), re.MULTILINE)


@lru_cache(maxsize=64)
def _matcher(letters: str) -> re.Pattern[str]:
    return _pattern("".join(sorted(set(DECORATION_LETTERS + letters))))


def tokenize(body: str, *, line: int = 1, user_letters: str = "") -> list[Token]:
    """Cut the body of a tune into tokens that cover it.

    Args:
        body: music and the fields between it: what follows the header's ``K:`` line.
        line: number of the body's first line, counted from 1.
        user_letters: letters that the header's ``U:`` fields define as decorations.
    """
    kinds = Kind.__members__
    tokens = []
    line_start = 0
    for match in _matcher(user_letters).finditer(body):
        kind = kinds[match.lastgroup or "UNKNOWN"]
        tokens.append(Token(kind, match.group(), line, match.start() - line_start + 1))
        if kind is Kind.NEWLINE:
            line += 1
            line_start = match.end()
    return tokens


_NOTE_PARTS = re.compile(rf"(\^\^?|__?|=)?([A-Ga-g])([,']*)({_LENGTH})")
_LENGTH_PARTS = re.compile(r"(\d*)(?:/(\d+)|(/*))$")


@lru_cache(maxsize=4096)
def read_length(text: str) -> Fraction:
    """The unit note lengths that a length stands for: empty 1, ``3`` 3, ``/`` 1/2, ``//`` 1/4, ``3/2`` 3/2."""
    match = _LENGTH_PARTS.match(text)
    assert match, text
    above, below, slashes = match.groups()
    return Fraction(int(above or 1), int(below) if below else 2 ** len(slashes or ""))


def _note(match: re.Match[str]) -> Note:
    accidental, letter, marks, length = match.groups()
    octave = int(letter.islower()) + marks.count("'") - marks.count(",")
    return Note(accidental or "", letter.upper(), octave, read_length(length))


@lru_cache(maxsize=16384)
def read_note(text: str) -> Note:
    """The note that a token of kind NOTE holds: ``^f'3/2`` is F sharp, octave 2, of 3/2 unit note lengths."""
    match = _NOTE_PARTS.fullmatch(text)
    assert match, text
    return _note(match)


_NOT_NOTES = re.compile(rf"{_QUOTED}|{_NAMED_DECORATION}")
_NOTES_AND_TEXTS = re.compile(rf"{_NOTE_PARTS.pattern}|{_NOT_NOTES.pattern}")


@lru_cache(maxsize=4096)
def read_chord(text: str) -> Chord:
    """The chord that a token of kind CHORD holds: ``[C2E2G2]3/2`` has three notes and lasts 3 unit note lengths."""
    end = text.rindex("]")
    notes = tuple(_note(match) for match in _NOTE_PARTS.finditer(_NOT_NOTES.sub("", text[1:end])))
    return Chord(notes, notes[0].length * read_length(text[end + 1 :]))


@lru_cache(maxsize=4096)
def read_grace(text: str) -> tuple[Note, ...]:
    """The notes that a token of kind GRACE holds: ``{gf}`` has two."""
    return tuple(_note(match) for match in _NOTE_PARTS.finditer(_NOT_NOTES.sub("", text)))


def rewrite_notes(text: str, rewrite: Callable[[Note], str]) -> str:
    """A NOTE, CHORD or GRACE token with accidental, letter and octave of each note written anew; the rest stays."""

    def replaced(match: re.Match[str]) -> str:
        return match[0] if match[2] is None else rewrite(_note(match)) + match[4]

    return _NOTES_AND_TEXTS.sub(replaced, text)


@lru_cache(maxsize=4096)
def read_rest(text: str) -> Fraction:
    """Length of a rest ``z`` or ``x`` in unit note lengths, or of ``Z`` or ``X`` in whole bars."""
    return read_length(text[1:])


class Tuplet(NamedTuple):
    """``p`` notes in the time of ``q``, for the next ``r`` notes; ``q`` is None where the meter decides [4.13]."""

    p: int
    q: int | None
    r: int


_TIME_OF = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


@lru_cache(maxsize=256)
def read_tuplet(text: str) -> Tuplet:
    """The tuplet mark that a token of kind TUPLET holds: ``(3`` is 3 in the time of 2, for 3 notes."""
    p, q, r = [*(int(part or 0) for part in text[1:].split(":")), 0, 0][:3]
    return Tuplet(p, q or _TIME_OF.get(p), r or p)


@lru_cache(maxsize=4096)
def read_field(text: str) -> tuple[str, str]:
    """Name and value of an inline field or a field line: ``[M:3/4]`` is ``("M", "3/4")``."""
    if text.startswith("["):
        text = text[1:-1]
    return text[0], text[2:].strip()
