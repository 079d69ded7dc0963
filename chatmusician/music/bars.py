"""Bars: how long each one lasts, and whether it adds up to the meter.

Flow: ``durations`` measures -> `bars` judges -> ``checks`` and whoever asks whether a generated tune is in time.

When a bar adds up
------------------
A *piece* is what lies between two bar lines or ending marks that have notes or rests between them. A *border* is a
double or thick bar line, a repeat sign, or the start or end of the tune. A *section* runs from one border to the next;
a border with an ending number (``:|2``) does not end the section. A piece adds up if it is

1. full: as long as the meter in force says; or in free meter;
2. a pickup: shorter, and the first piece of the tune, or of a section that goes on after it with a plain bar line;
3. half of a bar that a border or an ending mark cuts: shorter, and full together with another short piece that can be
   played next to it. After a piece at a border that is the next piece, or, since one goes back there, the pickup of
   its own section or of the tune. Before a piece it is the previous one; before every ending, the one that the first
   ending follows (the two may then want a pickup as well: ``d3 [1 e2 :|`` and the pickup ``c``).

Everything else is wrong: what is too long anywhere, what is short inside a section, and what is short at a border
without a piece that completes it. In 6/8 with the unit 1/8, where a bar lasts 6::

    B | c2B A2D | G3 G2 :|: d | e2d cBA |1 G3 E2 :|2 G3 G3 || c2 | B6 | A4 |]
    1     6        5        1     6         5          6      2    6    4      durations
    a     b        c        d     e         f          g      h    i    j

    b e g i  are full (1)
    a d h    are pickups (2)
    c        is full with its section's pickup a, played on the repeat: 5 + 1 (3); with d too
    f        is full with the pickup d that its repeat goes back to: 5 + 1 (3)
    j        is full with the pickup h of its section: 4 + 2 (3)

Had j been ``A3 |]`` (3 + 2, 3 + 1), it would be wrong; so would a short i, whatever stands at the borders.

Of 81,314 bars in the 4,397 folk tunes of music21 that parse, 99.1% add up (``tests/music/test_real_tunes.py``). Most
of the rest are slips of the transcriber; about 190 are short last bars that nothing completes, which are left wrong.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from chatmusician.music.durations import Bar, has_ending, measure
from chatmusician.music.tunes import Tune


def bars(tune: Tune) -> list[Bar]:
    """All bars of a tune, voice by voice in the order in which the voices appear.

    Raises:
        AbcError: a tuplet lacks notes, broken rhythm lacks a note, or a field of the body has no valid value.
    """
    return [bar for voice in measure(tune) for bar in judge(voice)]


def judge(pieces: Sequence[Bar]) -> list[Bar]:
    """The pieces of one voice, short ones judged by the company they keep: rules 2 and 3 of the module's docstring."""
    judged = list(pieces)
    section = 0  # index of the first piece of the section
    stem: int | None = None  # index of the piece that the first ending of the section follows
    for index, piece in enumerate(pieces):
        if has_ending(piece.opening):
            stem = index - 1 if stem is None else stem
        elif piece.opens_at_border:
            section, stem = index, None
        if piece.short and (index == 0 or _is_pickup(piece) or _is_completed(pieces, index, section, stem)):
            judged[index] = replace(piece, adds_up=True)
    return judged


def _is_pickup(piece: Bar) -> bool:
    plain_after = not piece.closes_at_border and not has_ending(piece.closing)
    return piece.opens_at_border and not has_ending(piece.opening) and plain_after


def _is_completed(pieces: Sequence[Bar], index: int, section: int, stem: int | None) -> bool:
    """True if short pieces played next to this one make it full."""
    piece = pieces[index]
    if piece.expected is None:
        return False

    def fills(partner: int, missing: Fraction) -> bool:
        if partner == index or not 0 <= partner < len(pieces):
            return False
        return pieces[partner].short and pieces[partner].duration == missing

    if has_ending(piece.closing) and not piece.closes_at_border:  # it is the stem: go by the first ending
        return index + 1 < len(pieces) and (
            fills(index + 1, piece.expected - piece.duration) or _is_completed(pieces, index + 1, section, index)
        )
    missing = piece.expected - piece.duration
    if has_ending(piece.opening) and stem is not None and pieces[stem].short:
        missing -= pieces[stem].duration
    elif piece.opens_at_border and fills(index - 1, missing):
        return True
    follows = {0, section} if has_ending(piece.closing) else {0, section, index + 1}
    return missing == 0 or (piece.closes_at_border and any(fills(partner, missing) for partner in follows))
