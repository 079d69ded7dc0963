"""Note values and meters: names of lengths, given in whole notes, and what a bar holds.

Names are the American ones (half, quarter, eighth). Compound meters are those whose upper number is 6, 9 or 12: their
beat is a dotted note (6/8 has two dotted quarters).
"""

from collections.abc import Iterable
from fractions import Fraction

PLAIN = {
    Fraction(1): "whole note",
    Fraction(1, 2): "half note",
    Fraction(1, 4): "quarter note",
    Fraction(1, 8): "eighth note",
    Fraction(1, 16): "sixteenth note",
    Fraction(1, 32): "thirty-second note",
}
DOTTED = {length * Fraction(3, 2): f"dotted {name}" for length, name in PLAIN.items() if length > Fraction(1, 32)}
DOUBLE_DOTTED = {
    length * Fraction(7, 4): f"double dotted {name}" for length, name in PLAIN.items() if length > Fraction(1, 16)
}
VALUES = PLAIN | DOTTED | DOUBLE_DOTTED
"""Names of the lengths that one note can have."""

COUNTS = ("duple", "triple", "quadruple")
METERS = tuple(
    (beats, unit)
    for unit in (2, 4, 8, 16)
    for beats in (2, 3, 4, 6, 9, 12)
    if Fraction(beats, unit) <= 2 and (beats, unit) not in ((9, 2), (12, 2), (6, 2), (12, 4), (9, 4), (3, 8), (3, 16))
)
"""The meters asked about, as upper and lower number; 3/8 and 3/16, counted in three or in one, are left out."""


def compound(beats: int) -> bool:
    """True for an upper number whose beats go by three."""
    return beats in (6, 9, 12)


def beats_of(meter: tuple[int, int]) -> int:
    """Beats in a bar: 2 in 6/8, 3 in 3/4."""
    return meter[0] // 3 if compound(meter[0]) else meter[0]


def beat_of(meter: tuple[int, int]) -> Fraction:
    """Length of a beat in whole notes: 3/8 in 6/8."""
    return Fraction(3 if compound(meter[0]) else 1, meter[1])


def kind_of(meter: tuple[int, int]) -> str:
    """``simple triple``, ``compound duple`` and the like."""
    return f"{'compound' if compound(meter[0]) else 'simple'} {COUNTS[beats_of(meter) - 2]}"


def written(meter: tuple[int, int]) -> str:
    """The meter as written: ``6/8``."""
    return f"{meter[0]}/{meter[1]}"


def length_of(meter: tuple[int, int]) -> Fraction:
    """Length of a bar in whole notes."""
    return Fraction(*meter)


def listed(lengths: Iterable[Fraction]) -> str:
    """Names of lengths in a row: ``quarter, dotted eighth, sixteenth``; all are notes."""
    return ", ".join(VALUES[length].removesuffix(" note") for length in lengths)
