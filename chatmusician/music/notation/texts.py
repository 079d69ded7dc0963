"""Texts of ABC as they are printed: accents, and tempos."""

import re
import unicodedata
from fractions import Fraction

from chatmusician.music.notation.score import Tempo

_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "c": "\u0327"}
_ACCENTED = re.compile(r"\\(['`^\"~]|c(?=[cC]))([A-Za-z])")
_OTHER_ESCAPE = re.compile(r"\\([\\&%])")
_TEMPO = re.compile(r"(?P<beats>(?:\d{1,3}/\d{1,3}\s*)+|C(?P<units>\d{0,2}))?\s*(?:^|=)\s*(?P<tempo>\d{1,4})\s*$")


def plain_text(value: str) -> str:
    r"""A text string of ABC with its accents composed: ``Caf\'e`` is ``Café`` (ABC 2.1, section 8.2).

    >>> plain_text(r" Caf\'e ")
    'Café'
    """
    composed = _ACCENTED.sub(lambda match: match[2] + _ACCENTS[match[1]], value)
    return unicodedata.normalize("NFC", _OTHER_ESCAPE.sub(r"\1", composed)).strip()


def read_tempo(value: str, *, unit: Fraction) -> Tempo:
    """The value of a ``Q:`` field, such as ``"Allegro" 1/4=120`` (ABC 2.1, section 3.1.8).

    ``unit`` is the unit note length, which ``C=120`` and ``C3=120`` of older tunes count in.

    >>> read_tempo('3/8=100 "Jig"', unit=Fraction(1, 8))
    Tempo(text='Jig', beat=Fraction(3, 8), beats_a_minute=100)
    """
    words = " ".join(plain_text(text) for text in re.findall(r'"([^"]*)"', value))
    match = _TEMPO.match(re.sub(r'"[^"]*"?', "", value).strip())
    if match is None:
        return Tempo(text=words, beat=None, beats_a_minute=None)
    beats = match["beats"]
    if beats is None:
        beat = None
    elif beats.startswith("C"):
        beat = unit * int(match["units"] or 1)
    else:
        beat = sum((_fraction(part) for part in beats.split()), Fraction(0))
    return Tempo(text=words, beat=beat or None, beats_a_minute=int(match["tempo"]))


def _fraction(text: str) -> Fraction:
    above, below = map(int, text.split("/"))
    return Fraction(above, below) if below else Fraction(0)
