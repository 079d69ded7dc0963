"""Ties and slurs of a voice, while they wait for their other ends."""

from chatmusician.music.notation.score import Event

SLURS_MOST = 16
"""Slurs that may be open at once: as many as MusicXML tells apart. Those beyond are left out."""


class Curves:
    """What is open at the note at hand. Slurs close in the reverse order; ties belong to a layer."""

    def __init__(self) -> None:
        self._slurs: list[tuple[Event, int]] = []
        self._waiting = 0  # slurs that begin at the next note
        self._ties: dict[int, Event] = {}

    def open_slur(self) -> None:
        """Begin a slur at the next note."""
        self._waiting += 1

    def close_slur(self, last: Event | None) -> None:
        """End the innermost slur at the last note; one over a single note, or without a start, is none."""
        if self._slurs:
            start, number = self._slurs.pop()
            if last is not None and start is not last:
                _draw(start, last, number)

    def open_tie(self, last: Event | None, *, layer: int) -> None:
        """Begin a tie at the last note."""
        if last is not None and last.pitches:
            self._ties[layer] = last

    def drop_tie(self, layer: int) -> None:
        """Forget a tie: a rest came instead of its other end."""
        self._ties.pop(layer, None)

    def held(self, layer: int) -> set[tuple[str, int]]:
        """Letters and octaves of the notes whose tie waits."""
        tied = self._ties.get(layer)
        return {(pitch.letter, pitch.octave) for pitch in tied.pitches} if tied else set()

    def reach(self, event: Event, *, layer: int) -> None:
        """Come to a note: end the tie that waits for it, and begin the slurs.

        A tie whose notes have no pitch in common was meant for a slur.
        """
        start = self._ties.pop(layer, None)
        if start is not None and not _tie(start, event):
            _draw(start, event, len(self._slurs) + 1)
        for _ in range(self._waiting):
            self._slurs.append((event, len(self._slurs) + 1))
        self._waiting = 0


def _tie(start: Event, event: Event) -> bool:
    """Tie the notes that two events have in common; whether there are any."""
    here = {(pitch.letter, pitch.octave, pitch.alteration): pitch for pitch in event.pitches}
    found = False
    for pitch in start.pitches:
        if other := here.get((pitch.letter, pitch.octave, pitch.alteration)):
            pitch.tie_from = other.tie_to = found = True
    return found


def _draw(start: Event, end: Event, number: int) -> None:
    if number <= SLURS_MOST:
        start.slurs.append(("start", number))
        end.slurs.append(("stop", number))
