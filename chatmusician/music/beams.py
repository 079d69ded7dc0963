"""Beams: where to put the spaces between notes, so that groups are beats.

In ABC notes without a space between them share a beam. Transcribers differ in how they group, and a model that has to
keep time is helped by groups that begin with the beats: in ``GABc dedB | (3GABcd e>fg2`` each is half a bar. Beats are
dotted in compound meters, half a whole note in common and cut time, else a quarter note. Notes that begin in one beat
are one group; triplets and broken rhythm are never cut. Pickups are counted from their end::

    6/8   d | G3 GAB | c2B A2G |        4/4   AB | cdef gfed | c4 c2        3/4   A3 B c2 | d6 |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from chatmusician.music.lexer import Kind, Token, read_chord, read_note, read_rest, read_tuplet
from chatmusician.music.tunes import Meter


@dataclass(slots=True)
class _Figure:
    """Notes that are never parted, with their duration in unit note lengths."""

    text: str = ""
    duration: Fraction = Fraction(0)


def group_length(meter: Meter) -> Fraction:
    """How long a group lasts, in whole notes."""
    if meter.compound and meter.unit:
        return Fraction(3, meter.unit)
    if meter.bar_length == 1:
        return Fraction(1, 2)
    return Fraction(1, 4)


def beam(tokens: Sequence[Token], *, unit: Fraction, meter: Meter, pickup: bool) -> list[str]:
    """The music of one bar in groups.

    Args:
        tokens: notes, rests, chords, ties, tuplet and broken rhythm marks, chord symbols, inline fields.
        unit: the unit note length in whole notes.
        meter: the meter in force.
        pickup: the bar is counted from its end.
    """
    figures = _figures(tokens, compound=meter.compound)
    group = group_length(meter) / unit
    onset = -sum((figure.duration for figure in figures), Fraction(0)) % group if pickup else Fraction(0)
    groups: list[str] = []
    began = -1
    for figure in figures:
        beat = onset // group
        if beat == began:
            groups[-1] += figure.text
        else:
            groups.append(figure.text)
            began = beat
        onset += figure.duration
    return groups


def _figures(tokens: Sequence[Token], *, compound: bool) -> list[_Figure]:
    figures: list[_Figure] = []
    prefix = ""  # marks before a note to come
    joined = False  # the next note belongs to the last figure, by broken rhythm
    last = Fraction(0)  # duration of the last note
    factor = Fraction(1)  # what broken rhythm does to the next note, if it is joined
    tuplet, left = Fraction(1), 0
    inside = False  # the next note belongs to the last figure, by its tuplet
    note = Kind.NOTE  # most tokens; a member of an Enum is slow to look up
    for token in tokens:
        if token.kind is note or token.kind in (Kind.REST, Kind.CHORD):
            last = _written(token)
            if left:
                last *= tuplet
            if joined:
                last *= factor
            if (joined or inside) and figures:
                figures[-1].text += prefix + _text(token)
                figures[-1].duration += last
            else:
                figures.append(_Figure(text=prefix + _text(token), duration=last))
            left = max(0, left - 1)
            prefix, joined, inside = "", False, left > 0
        elif token.kind is Kind.BROKEN and figures:
            part = Fraction(1, 2 ** len(token.text))
            before, factor = (2 - part, part) if token.text[0] == ">" else (part, 2 - part)
            figures[-1].duration += last * (before - 1)
            figures[-1].text += token.text
            joined = True
        elif token.kind is Kind.TIE and figures:
            figures[-1].text += token.text
        elif token.kind is Kind.TUPLET:
            mark = read_tuplet(token.text)
            tuplet, left = Fraction(mark.q or (3 if compound else 2), mark.p), mark.r
            prefix += token.text
            inside = False
        else:
            prefix += token.text
    if prefix:
        figures.append(_Figure(text=prefix))
    return figures


def _written(token: Token) -> Fraction:
    """The written length of a note, rest or chord in unit note lengths; multi-bar rests fill their bar alone."""
    if token.kind is Kind.CHORD:
        return read_chord(token.text).length
    return read_rest(token.text) if token.kind is Kind.REST else read_note(token.text).length


def _text(token: Token) -> str:
    return token.text.replace(" ", "") if token.kind is Kind.CHORD else token.text
