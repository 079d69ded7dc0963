"""Played notes to written ones: each onset on the grid of its beat, each note as long as it is meant.

Flow: ``midi_events`` -> `quantise` -> ``midi_melodies``. Times are in quarter notes. A quarter whose onsets all lie
within `TOLERANCE` of sixteenths is in sixteenths, else if they do of triplets, in triplets; else each of its halves
takes the first of sixteenths, thirty-seconds and triplets of either on which its onsets lie within `FINE_TOLERANCE`,
since these are so fine that a player's unevenness is always near one of them. What fits none counts as off the grid.
Folk tunes whose onsets were moved at random by 0.02 quarters (standard deviation) come out with 99.8% of their notes in
place; by 0.05 quarters, 98% of the tunes are refused.

Players and programs end notes early, so a note lasts to the next one unless a rest of an eighth or more would be left.
Of notes that fall on one place, which are an ornament and the note that it leads to, the last stays::

    played    0.01-0.45  0.52-0.95  1.02-1.30  1.35-1.60  1.66-1.95  2.00-2.40  3.00-3.80
    written   0          1/2        1          4/3        5/3        2          3
    lasting   1/2        1/2        1/3        1/3        1/3        1/2, rest  1
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from chatmusician.music.midi_events import PlayedNote
from chatmusician.music.scores import ConversionError

QUARTER_GRIDS, HALF_GRIDS = (4, 3), (4, 8, 6, 12)
"""Parts of a quarter, in the order tried: for a whole one, and for half of one."""
TOLERANCE = 0.075
"""Quarter notes that an onset may be off its grid: 37 ms at 120 quarters a minute."""
FINE_TOLERANCE = 0.0125
"""The same on the grids of half a quarter: what programs lose by rounding to the parts that they count in."""
OFF_GRID = 0.05
"""Share of onsets that may be off the grid."""
LEAST_REST = Fraction(1, 2)
"""Quarter notes; a shorter gap belongs to the note before it."""
OVERLAP = 0.5
"""Share of the shorter of two notes from which they sound together and not one after the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenNote:
    """A note on the grid. Times are in quarter notes from the beginning."""

    start: Fraction
    length: Fraction
    pitch: int
    velocity: int


def sounds_together(notes: Sequence[PlayedNote]) -> PlayedNote | None:
    """The first note that sounds together with the next one; None where they sound one after the other."""
    for note, following in pairwise(notes):
        shorter = min(note.end - note.start, following.end - following.start)
        if note.end - following.start > OVERLAP * shorter:
            return note
    return None


def quantise(notes: Sequence[PlayedNote]) -> list[WrittenNote]:
    """The notes of a melody as they would be written.

    Raises:
        ConversionError: too many of them are off every grid.
    """
    quarters: dict[int, list[Fraction]] = defaultdict(list)
    for note in notes:
        quarters[_window(note.start, 1)].append(note.start)
    places: dict[Fraction, Fraction] = {}
    off = 0
    for onsets in quarters.values():
        parts = next((parts for parts in QUARTER_GRIDS if _error(onsets, parts) <= TOLERANCE), None)
        if parts is not None:
            places |= {onset: _nearest(onset, parts) for onset in onsets}
            continue
        of_quarter = _placed_by_halves(onsets)
        places |= of_quarter
        off += sum(abs(place - onset) > FINE_TOLERANCE for onset, place in of_quarter.items())
    if off > OFF_GRID * len(places):
        raise ConversionError(
            f"{off} of its {len(places)} notes begin off the beat's parts; quantise it in your editor"
        )
    return _written(notes, places)


def _window(time: Fraction, parts: int) -> int:
    """The quarter, or the part of one, that an onset belongs to; a little early it belongs to what it anticipates."""
    return int((time + Fraction(TOLERANCE)) * parts // 1)


def _placed_by_halves(onsets: Sequence[Fraction]) -> dict[Fraction, Fraction]:
    """Where the onsets of a quarter are written that is no plain one."""
    halves: dict[int, list[Fraction]] = defaultdict(list)
    for onset in onsets:
        halves[_window(onset, 2)].append(onset)
    places: dict[Fraction, Fraction] = {}
    for half in halves.values():
        fitting = (parts for parts in HALF_GRIDS if _error(half, parts) <= FINE_TOLERANCE)
        parts = next(fitting, HALF_GRIDS[0])
        places |= {onset: _nearest(onset, parts) for onset in half}
    return places


def _error(onsets: Sequence[Fraction], parts: int) -> Fraction:
    return max(abs(_nearest(onset, parts) - onset) for onset in onsets)


def _nearest(time: Fraction, parts: int) -> Fraction:
    return Fraction(round(time * parts), parts)


def _written(notes: Sequence[PlayedNote], places: dict[Fraction, Fraction]) -> list[WrittenNote]:
    written = []
    for note, following in zip(notes, [*notes[1:], None], strict=True):
        start = places[note.start]
        if following is None:
            length = max(_nearest(note.end - note.start, 4), Fraction(1, 4))
        elif places[following.start] - note.end < LEAST_REST:
            length = places[following.start] - start
        else:
            length = max(_nearest(note.end, 4) - start, Fraction(1, 4))
        if length > 0:
            written.append(WrittenNote(start=start, length=length, pitch=note.pitch, velocity=note.velocity))
    return written
