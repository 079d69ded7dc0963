"""MusicXML to scores: parts with their measures, notes, repeats and chord symbols.

Flow: bytes of a file -> ``musicxml_files`` -> `read_melody` or `read_parts` -> `Part` -> ``scores`` writes ABC.

Read are pitches (as spelt, not as a transposing instrument sounds), durations, ties, rests, keys, meters, bar lines,
repeats, endings and harmony. Left out are what the project's ABC leaves out too: grace notes, lyrics, ornaments, slurs,
dynamics, and layout. A part must be of one voice: notes that begin together are a chord, notes that overlap otherwise
are refused, as are percussion and notes between the keys of a piano. Gaps become rests.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from xml.etree.ElementTree import Element

from chatmusician.music.musicxml_files import read_root
from chatmusician.music.musicxml_measures import MeasureReader, text_of
from chatmusician.music.scores import ConversionError, Measure, Part
from chatmusician.music.tunes import parse_meter

MEASURES = 2000
"""Most measures of a part."""


def read_parts(content: bytes, *, names: Collection[str]) -> tuple[Part, ...]:
    """Some parts of a MusicXML file in their order, those that have only rests included.

    Args:
        content: of the file, plain or compressed.
        names: the parts to read, by the first word of their names.

    Raises:
        ConversionError: the file cannot be read, or a part that is read is not of one voice.
    """
    score = _score(content)
    named = _names(score)
    wanted = [part for part in score.findall("part") if named.get(part.get("id", ""), "").partition(" ")[0] in names]
    return tuple(_part(part, named.get(part.get("id", ""), "")) for part in wanted)


def read_melody(content: bytes) -> Part:
    """The only part of a MusicXML file that has notes.

    Raises:
        ConversionError: the file cannot be read, has several parts with notes or none, or its part has several voices.
    """
    score = _score(content)
    sounding = [part for part in score.findall("part") if part.find(".//pitch") is not None]
    if len(sounding) != 1:
        names = ", ".join(repr(name[:20]) for name in list(_names(score).values())[:4])
        raise ConversionError(f"it has {len(sounding)} parts with notes (of {names}); export the melody alone")
    return _part(sounding[0], _names(score).get(sounding[0].get("id", ""), ""))


def _score(content: bytes) -> Element:
    root = read_root(content)
    if root.tag != "score-partwise":
        raise ConversionError(f"its root is {root.tag[:40]!r}; export it as partwise MusicXML")
    return root


def _names(score: Element) -> dict[str, str]:
    """The names of the parts by their ids."""
    return {entry.get("id", ""): text_of(entry, "part-name") for entry in score.iter("score-part")}


def _part(part: Element, name: str) -> Part:
    elements = part.findall("measure")
    if not 0 < len(elements) <= MEASURES:
        raise ConversionError(f"a part has {len(elements)} measures; from 1 to {MEASURES} are read")
    reader = MeasureReader(part)
    measures = []
    for number, element in enumerate(elements, start=1):
        try:
            measures.append(reader.read(element, first=number == 1))
        except ConversionError as error:
            raise ConversionError(f"measure {number}: {error}") from error
    return Part(name=name, measures=tuple(_with_halves_joined(list(_with_ties_that_lead_on(measures)))))


def _with_ties_that_lead_on(measures: Sequence[Measure]) -> Iterator[Measure]:
    """Without the ties to which no note of the same pitch follows."""
    notes = [note for measure in measures for note in measure.notes]
    tied = [replace(note, ties=note.ties & set(after.pitches)) for note, after in pairwise(notes)]
    tied += [replace(note, ties=frozenset()) for note in notes[-1:]]
    for measure in measures:
        yield replace(measure, notes=tuple(tied[: len(measure.notes)]))
        tied = tied[len(measure.notes) :]


def _with_halves_joined(measures: Sequence[Measure]) -> Iterator[Measure]:
    """Without plain bar lines inside a bar: scores split one where a phrase ends, or to break a line there."""
    full: Fraction | None = None
    held: Measure | None = None
    for measure in measures:
        plain = not (measure.key or measure.meter or measure.opening or measure.ending)
        if measure.meter:
            full = parse_meter(measure.meter).bar_length
        if held is not None and plain and held.closing == "|" and held.length + measure.length == full:
            held = replace(held, notes=held.notes + measure.notes, closing=measure.closing)
            continue
        if held is not None:
            yield held
        held = measure
    if held is not None:
        yield held
