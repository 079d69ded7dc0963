"""Words under the notes: the ``w:`` lines of ABC put to the notes of the line of music before them.

As ABC 2.1 has it in section 5.1: a space or a hyphen ends a syllable, ``_`` holds it over one more note, as does a
second hyphen, ``*`` leaves a note without words, ``~`` is a space and ``\\-`` a hyphen inside a syllable, and ``|``
goes on to the next bar::

    notes   C    D    E    F  | G    A    B    c
    w:      can- ta-  bi_  le | *    al~la    | min-
                      (held)    none
"""

import re
from collections.abc import Sequence

from chatmusician.music.notation.score import Event, Syllable
from chatmusician.music.notation.texts import plain_text

_PIECE = re.compile(r"[_*|]|-+|\s+|(?:\\-|[^\s_*|-])+")


def put_words(words: str, notes: Sequence[Event], *, verse: int, bar_starts: Sequence[int]) -> int:
    """Put a line of words to notes.

    Args:
        words: the value of a ``w:`` field.
        notes: of the line of music, without rests.
        verse: which line of words this is, counted from 1.
        bar_starts: indices of the notes that begin a bar.

    Returns:
        How many syllables found no note.
    """
    place, left_over, attached = 0, 0, False
    last: Syllable | None = None  # to which a hyphen or a hold belongs
    for piece in _PIECE.findall(words):
        if piece == "|":
            place = next((start for start in bar_starts if start >= place), len(notes))
            last = None
        elif piece == "*":
            place, last = place + 1, None
        elif piece == "_":
            place += 1
            if last is not None:
                last.extended = True
        elif piece[0] == "-":
            place += len(piece) - attached
            if last is not None:
                last.hyphenated = True
        elif not piece.isspace():
            continued = last is not None and last.hyphenated
            last = Syllable(text=_syllable(piece), continued=continued)
            if place < len(notes):
                notes[place].syllables[verse] = last
            else:
                left_over += 1
            place += 1
        attached = piece[0] not in "_*|-" and not piece.isspace()
    return left_over


def _syllable(piece: str) -> str:
    return plain_text(piece.replace("\\-", "-").replace("~", " "))
