"""Notes and rests, tuplets and broken rhythm, character by character: what fits the bar at hand."""

import re

from chatmusician.generation.constraint.clock import Written
from chatmusician.generation.constraint.states import Mode, Music, Next, Pending, Read, Reread, Within
from chatmusician.music.lexer import read_tuplet

NOTES = "ABCDEFGabcdefg"
ACCIDENTALS = "^_="
_TUPLET = re.compile(r"\([1-9]\d?(?::\d{0,2}){0,2}")
_ENDS_OF_TUPLETS = ("", "1", "2", ":1", ":2", "::1", "1:1", "2:1", ":1:1", ":2:1")
"""What may make a tuplet of the start of a mark."""


def begin_note(m: Music, c: str) -> Music | None:
    """After an accidental, or the letter of a note or rest."""
    if c in ACCIDENTALS:
        after = m._replace(mode=Mode.ACCIDENTAL, data=c, clock=m.clock._replace(last=0))
        return after if m.clock.fits(Written(m.clock.unit)) else None
    pending = Pending(Written(m.clock.unit), octaves=c in NOTES, sounds=c in NOTES)
    return _if_it_fits(m._replace(mode=Mode.NOTE, data=pending, clock=m.clock._replace(last=0)))


def after_accidental(m: Music, c: str) -> Next:
    """After ``^ _ =``: the note that it is of, or the second of two."""
    if c in NOTES:
        return begin_note(m, c)
    return m._replace(data="") if c == m.data and c in "^_" else None


def on_note(m: Music, c: str) -> Read:
    """While a note, a rest or a chord's length is written."""
    pending: Pending = m.data
    if pending.octaves and c in ",'":
        return m
    longer = pending.written.extend(c)
    if longer is not None:
        return _if_it_fits(m._replace(data=pending._replace(written=longer, octaves=False)))
    settled = _settle(m, pending)
    return Reread(settled) if settled is not None else None


def _if_it_fits(m: Music) -> Music | None:
    """The state, unless the note that is being written is too long already."""
    heeded = m.within is Within.NOTHING or (m.within is Within.CHORD and not m.first)
    return m if not heeded or m.clock.fits(m.data.written) else None


def _settle(m: Music, pending: Pending) -> Music | None:
    """After a note that is complete; None if it does not fit."""
    if m.within is Within.GRACE:
        return m._replace(mode=Mode.INSIDE, data=None)
    noted = m.noted or pending.sounds
    if m.within is Within.CHORD:
        first = m.first or pending.written.ticks
        fits = m.first or m.clock.play(first) is not None
        return m._replace(mode=Mode.INSIDE, data=None, noted=noted, first=first) if fits else None
    clock = m.clock.play(pending.written.ticks)
    return m._replace(mode=Mode.INSIDE, data=None, noted=noted, clock=clock) if clock is not None else None


def tuplet_mark(m: Music, mark: str) -> Music | None:
    """After the start of a tuplet's mark, unless nothing that fits can come of it."""
    marks = (mark + rest for rest in _ENDS_OF_TUPLETS if _TUPLET.fullmatch(mark + rest))
    fits = any(m.clock.begin_tuplet(*read_tuplet(whole)) is not None for whole in marks)
    return m._replace(mode=Mode.TUPLET, data=mark) if fits else None


def on_tuplet(m: Music, c: str) -> Read:
    """While the mark of a tuplet is written."""
    if _TUPLET.fullmatch(m.data + c):
        return tuplet_mark(m, m.data + c)
    clock = m.clock.begin_tuplet(*read_tuplet(m.data))
    return Reread(m._replace(mode=Mode.INSIDE, data=None, clock=clock)) if clock is not None else None


def begin_broken(m: Music, c: str) -> Next:
    """After one more ``>`` or ``<``."""
    signs = (m.data if m.mode is Mode.BROKEN else "") + c
    return m._replace(mode=Mode.BROKEN, data=signs) if m.clock.break_rhythm(signs) is not None else None


def on_broken(m: Music, c: str) -> Read:
    """After ``>`` or ``<``, of which there may be three."""
    if c == m.data[0]:
        return begin_broken(m, c) if len(m.data) < 3 else None
    clock = m.clock.break_rhythm(m.data)
    return Reread(m._replace(mode=Mode.INSIDE, data=None, clock=clock)) if clock is not None else None
