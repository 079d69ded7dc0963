"""Notes, chords and rests as MusicXML.

An event of a score becomes as many notes as it takes to show its length, tied; of a chord all but the first carry
``<chord/>``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from xml.etree.ElementTree import Element

from chatmusician.music.notation.elements import add
from chatmusician.music.notation.note_values import NoteValue, note_values, split_odd
from chatmusician.music.notation.score import Change, Event, Grace, Pitch, Syllable
from chatmusician.music.notation.signs import ARTICULATIONS, FINGERS, ORNAMENTS, TECHNICAL

_ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One of the notes that an event is shown by."""

    value: NoteValue
    tuplet: tuple[int, int]
    """So many in the time of so many, those of the event and of its length together."""
    first: bool
    last: bool

    @property
    def duration(self) -> Fraction:
        """In whole notes."""
        return self.value.length * self.tuplet[1] / self.tuplet[0]


def pieces_of(event: Event) -> list[Piece]:
    """The notes that an event is shown by."""
    if event.whole_measure:
        value = NoteValue(type="", dots=0, length=event.length, flags=0)
        return [Piece(value=value, tuplet=(1, 1), first=True, last=True)]
    length, actual, normal = split_odd(event.length)
    values = note_values(length)
    tuplet = event.tuplet[0] * actual, event.tuplet[1] * normal
    return [
        Piece(value=value, tuplet=tuplet, first=index == 0, last=index + 1 == len(values))
        for index, value in enumerate(values)
    ]


def beams_of(layer: Sequence[Event | Change]) -> dict[int, tuple[str, ...]]:
    """By the ids of events: begin, continue, end, forward hook or backward hook, of the first beam, the second, ...

    Notes with flags share beams where each is written without a space after the one before. ``C/D/E F`` has one
    group; of its beams the first is begin, continue, end, and the second begin, end.
    """
    groups: list[list[Event]] = [[]]
    for item in layer:
        if not isinstance(item, Event) or not item.pitches or not _flags(item):
            groups.append([])
        elif item.joined:
            groups[-1].append(item)
        else:
            groups.append([item])
    return {id(event): beams for group in groups for event, beams in zip(group, _beams(group), strict=True)}


def _flags(event: Event) -> int:
    pieces = pieces_of(event)
    return pieces[0].value.flags if len(pieces) == 1 else 0


def _beams(group: Sequence[Event]) -> Iterator[tuple[str, ...]]:
    flags = [_flags(event) for event in group]
    for place, count in enumerate(flags):
        before = flags[place - 1] if place else 0
        after = flags[place + 1] if place + 1 < len(flags) else 0
        if not before and not after:
            yield ()
            continue
        names = {
            (True, True): "continue",
            (True, False): "end",
            (False, True): "begin",
            (False, False): "backward hook" if place else "forward hook",
        }
        yield tuple(names[level <= before, level <= after] for level in range(1, count + 1))


def add_event(measure: Element, event: Event, *, voice: int, divisions: int, beams: tuple[str, ...]) -> int:
    """Write an event, its grace notes first.

    Returns:
        How many divisions of a quarter note it lasts.
    """
    _add_graces(measure, event.graces, voice=voice)
    total = 0
    for piece in pieces_of(event):
        duration = round(piece.duration * 4 * divisions)
        total += duration
        for index, pitch in enumerate(event.pitches or (None,)):
            note = add(measure, "note", **({} if event.visible else {"print_object": "no"}))
            if index:
                add(note, "chord")
            _add_pitch(note, pitch, whole_measure=event.whole_measure)
            add(note, "duration", duration)
            ties = _ties(pitch, piece)
            for kind in ties:
                add(note, "tie", type=kind)
            add(note, "voice", voice)
            _add_looks(note, pitch, piece)
            if index == 0:
                for level, kind in enumerate(beams, start=1):
                    add(note, "beam", kind, number=str(level))
            _add_notations(note, event, piece, ties=ties, leads=index == 0)
            if index == 0 and piece.first:
                for verse, syllable in sorted(event.syllables.items()):
                    _add_syllable(note, verse, syllable)
    return total


def _add_pitch(note: Element, pitch: Pitch | None, *, whole_measure: bool = False) -> None:
    if pitch is None:
        add(note, "rest", **({"measure": "yes"} if whole_measure else {}))
        return
    written = add(note, "pitch")
    add(written, "step", pitch.letter)
    if pitch.alteration:
        add(written, "alter", pitch.alteration)
    add(written, "octave", pitch.octave + 4)


def _ties(pitch: Pitch | None, piece: Piece) -> list[str]:
    """``stop`` and ``start``, as far as the note is tied to one before and one after."""
    if pitch is None:
        return []
    stops, starts = pitch.tie_to or not piece.first, pitch.tie_from or not piece.last
    return ["stop"] * stops + ["start"] * starts


def _add_looks(note: Element, pitch: Pitch | None, piece: Piece) -> None:
    if piece.value.type:
        add(note, "type", piece.value.type)
    for _ in range(piece.value.dots):
        add(note, "dot")
    if pitch is not None and pitch.printed and piece.first:
        add(note, "accidental", _ACCIDENTALS[pitch.alteration])
    if piece.tuplet != (1, 1):
        ratio = add(note, "time-modification")
        add(ratio, "actual-notes", piece.tuplet[0])
        add(ratio, "normal-notes", piece.tuplet[1])


def _add_notations(note: Element, event: Event, piece: Piece, *, ties: Sequence[str], leads: bool) -> None:
    """Ties, and at the first note of a chord slurs, tuplets and signs."""
    notations = Element("notations")
    for kind in ties:
        add(notations, "tied", type=kind)
    if leads:
        for kind, number in event.slurs:
            if piece.first if kind == "start" else piece.last:
                add(notations, "slur", type=kind, number=str(number))
        if event.tuplet_begins != event.tuplet_ends or not (piece.first and piece.last):  # one note is no tuplet
            if event.tuplet_begins and piece.first:
                add(notations, "tuplet", type="start", number="1")
            if event.tuplet_ends and piece.last:
                add(notations, "tuplet", type="stop", number="1")
        if piece.first:
            _add_signs(notations, event.signs)
    if len(notations):
        note.append(notations)


def _add_signs(notations: Element, signs: Sequence[str]) -> None:
    for group, names in (("ornaments", ORNAMENTS), ("technical", TECHNICAL), ("articulations", ARTICULATIONS)):
        found = [names[sign] for sign in signs if sign in names]
        if found:
            parent = add(notations, group)
            for name in found:
                add(parent, name)
    for finger in [sign for sign in signs if sign in FINGERS]:
        add(add(notations, "technical"), "fingering", finger)
    if "fermata" in signs or "invertedfermata" in signs:
        add(notations, "fermata", type="upright" if "fermata" in signs else "inverted")
    if "arpeggio" in signs:
        add(notations, "arpeggiate")


def _add_graces(measure: Element, graces: Sequence[Grace], *, voice: int) -> None:
    beams = 2 if len(graces) > 1 else 0
    for place, grace in enumerate(graces):
        note = add(measure, "note")
        add(note, "grace", **({"slash": "yes"} if grace.slashed else {}))
        _add_pitch(note, grace.pitch)
        add(note, "voice", voice)
        add(note, "type", "16th" if beams else "eighth")
        if grace.pitch.printed:
            add(note, "accidental", _ACCIDENTALS[grace.pitch.alteration])
        kind = "begin" if place == 0 else "end" if place + 1 == len(graces) else "continue"
        for level in range(1, beams + 1):
            add(note, "beam", kind, number=str(level))


def _add_syllable(note: Element, verse: int, syllable: Syllable) -> None:
    kinds = {(False, False): "single", (False, True): "begin", (True, True): "middle", (True, False): "end"}
    lyric = add(note, "lyric", number=str(verse))
    add(lyric, "syllabic", kinds[syllable.continued, syllable.hyphenated])
    add(lyric, "text", syllable.text)
    if syllable.extended:
        add(lyric, "extend")
