r"""Chord symbols: which texts in quotation marks name a chord, and tunes with and without them.

Flow: ``layout`` keeps them, ``transposition`` moves them, ``harmony`` chooses them for tunes that have none, and the
chord tasks of `chatmusician.data.questions` ask for them. Quotation marks hold fingerings, dynamics and "Segno" too:
of the 4,423 folk tunes whose headers can be read, 719 have some text in quotation marks and two have chords.

A name is a root, what is stacked on it, and perhaps a bass (ABC 2.1, section 4.18): ``G``, ``F#m7``, ``Bbmaj7``,
``Am7b5``, ``C6/9``, ``D/f#``.
"""

import re
from collections.abc import Mapping

from chatmusician.music.lexer import Kind, Token
from chatmusician.music.tunes import Tune

# The kind is matched possessively (*+): a long run of digits costs one scan and not one for each way to divide it.
CHORD_NAME = re.compile(
    r"([A-G][#b]?)((?:maj|min|dim|aug|sus|add|alt|m|M|\+|-|o|°|/?[#b]?\d{1,2}|\(|\)|,)*+)(?:/([A-Ga-g][#b]?))?"
)
"""A name without its quotation marks: root, kind, bass."""


def names_chord(token: Token) -> bool:
    """True for a chord symbol, false for other texts in quotation marks."""
    return token.kind is Kind.CHORD_SYMBOL and CHORD_NAME.fullmatch(token.text[1:-1]) is not None


def chord_names(tune: Tune) -> tuple[str, ...]:
    """The names of a tune's chords in the order written; repeats are not unfolded."""
    return tuple(token.text[1:-1] for token in tune.tokens if names_chord(token))


def without_chords(tune: Tune) -> str:
    """The body of a tune without its chord symbols, all else byte for byte."""
    return "".join(token.text for token in tune.tokens if not names_chord(token))


def with_chords(tune: Tune, names: Mapping[int, str]) -> str:
    """The body of a tune with a chord symbol directly before some tokens, by their index in ``tune.tokens``."""
    written = ((f'"{names[index]}"' if index in names else "") + token.text for index, token in enumerate(tune.tokens))
    return "".join(written)
