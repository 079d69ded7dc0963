"""Scores as MusicXML 4.0, which notation programs read and verovio draws.

Flow: `Score` -> `write_musicxml` -> ``engraving``, and the file for MuseScore, Finale, Dorico and the rest. Titles,
composer, voices, clefs, keys, meters, notes with their signs, words and chord symbols, bar lines, repeats, endings,
line breaks. Pitches are those that sound, and ``<accidental>`` is where the ABC has one or a reader needs one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from xml.etree.ElementTree import Element, tostring

from chatmusician import __version__
from chatmusician.music.keys import LETTERS, Key
from chatmusician.music.notation.directions import (
    add_annotation,
    add_chord_symbol,
    add_heading,
    add_signs,
    add_tempo,
)
from chatmusician.music.notation.elements import add
from chatmusician.music.notation.notes import add_event, beams_of, pieces_of
from chatmusician.music.notation.reading import read_score
from chatmusician.music.notation.score import (
    Change,
    Clef,
    Event,
    Heading,
    KeyChange,
    Measure,
    NotationError,
    Part,
    Score,
    Tempo,
)
from chatmusician.music.tunes import Meter

NOTES_MOST = 20_000
"""Notes and rests of a score; the longest folk tune that music21 ships has 971."""
DIVISIONS_MOST = 2**20
"""Finest division of a quarter note; durations that need a finer one are rounded to it."""

_TYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 '
    'Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_ORDER = "FCGDAEB"  # in which sharps are added to a signature; flats from the other end


@dataclass(frozen=True, kw_only=True)
class Notated:
    """A tune in MusicXML."""

    content: bytes
    """A document, uncompressed, in UTF-8."""
    score: Score
    """What it was written from; to be read only, as it is shared."""


@lru_cache(maxsize=8)
def notate(abc: str) -> Notated:
    """The first tune of a sanitised text in MusicXML.

    Raises:
        NotationError: there is no tune in it, or one that is too large for a score.
    """
    score = read_score(abc)
    return Notated(content=write_musicxml(score), score=score)


def write_musicxml(score: Score) -> bytes:
    """The score as an uncompressed MusicXML document in UTF-8.

    Raises:
        NotationError: it has more than `NOTES_MOST` notes.
    """
    events = [
        item
        for part in score.parts
        for measure in part.measures
        for layer in measure.layers
        for item in layer
        if isinstance(item, Event)
    ]
    lengths = [piece.duration for event in events for piece in pieces_of(event)]
    if len(lengths) > NOTES_MOST:
        raise NotationError(f"the tune has {len(lengths)} notes, more than {NOTES_MOST}; shorten it")
    divisions = _divisions(lengths)
    root = Element("score-partwise", version="4.0")
    _add_head(root, score)
    for number, part in enumerate(score.parts, start=1):
        element = add(root, "part", id=f"P{number}")
        _add_measures(element, part, divisions=divisions)
    return _TYPE.encode() + tostring(root, encoding="utf-8", xml_declaration=False) + b"\n"


def _divisions(lengths: Iterable[Fraction]) -> int:
    """How many parts of a quarter note all lengths, in whole notes, are multiples of."""
    divisions = lcm(*{(4 * length).denominator for length in lengths})
    return divisions if divisions <= DIVISIONS_MOST else DIVISIONS_MOST


def _add_head(root: Element, score: Score) -> None:
    if score.titles:
        add(add(root, "work"), "work-title", score.titles[0])
    if len(score.titles) > 1:
        add(root, "movement-title", ", ".join(score.titles[1:]))
    identification = add(root, "identification")
    if score.composer:
        add(identification, "creator", score.composer, type="composer")
    add(add(identification, "encoding"), "software", f"chatmusician {__version__}")
    if score.fields:
        miscellaneous = add(identification, "miscellaneous")
        for name, value in score.fields:
            add(miscellaneous, "miscellaneous-field", value, name=name)
    names = add(root, "part-list")
    several = len(score.parts) > 1
    if several:
        add(add(names, "part-group", type="start", number="1"), "group-symbol", "bracket")
    for number, part in enumerate(score.parts, start=1):
        add(add(names, "score-part", id=f"P{number}"), "part-name", part.name)
    if several:
        add(names, "part-group", type="stop", number="1")


def _add_measures(element: Element, part: Part, *, divisions: int) -> None:
    label = ""  # of the ending at hand
    for index, measure in enumerate(part.measures):
        written = add(element, "measure", number=measure.number, **({"implicit": "yes"} if measure.upbeat else {}))
        if measure.new_line:
            add(written, "print", new_system="yes")
        if index == 0:
            attributes = add(written, "attributes")
            add(attributes, "divisions", divisions)
            _add_key(attributes, part.key)
            _add_meter(attributes, part.meter)
            _add_clef(attributes, part.clef)
        label = measure.ending or label
        _add_left_bar(written, measure)
        _add_layers(written, measure, divisions=divisions)
        _add_right_bar(written, measure, label=label)


def _add_layers(written: Element, measure: Measure, *, divisions: int) -> None:
    lasted = 0
    for voice, layer in enumerate(measure.layers, start=1):
        if voice > 1 and lasted:
            add(add(written, "backup"), "duration", lasted)
        lasted = 0
        beams = beams_of(layer)
        for item in layer:
            if isinstance(item, Event):
                for text in item.chord_symbols:
                    add_chord_symbol(written, text)
                for text in item.annotations:
                    add_annotation(written, text)
                add_signs(written, item.signs)
                lasted += add_event(written, item, voice=voice, divisions=divisions, beams=beams.get(id(item), ()))
            else:
                _add_change(written, item)


def _add_change(written: Element, change: Change) -> None:
    if isinstance(change, Heading):
        add_heading(written, change)
    elif isinstance(change, Tempo):
        add_tempo(written, change)
    else:
        attributes = add(written, "attributes")
        if isinstance(change, KeyChange):
            _add_key(attributes, change.key, before=change.before)
        elif isinstance(change, Meter):
            _add_meter(attributes, change)
        else:
            _add_clef(attributes, change)


def _add_key(attributes: Element, key: Key, *, before: Key | None = None) -> None:
    """A signature by its number of sharps or flats, one that is not in their order by its letters.

    The one ``before`` is cancelled with naturals.
    """
    element = add(attributes, "key")
    sharps = _sharps(key)
    if sharps is None:
        signature = {letter: alteration for letter, alteration in key.signature.items() if alteration}
        for letter in sorted(signature, key=LETTERS.index):
            add(element, "key-step", letter)
            add(element, "key-alter", signature[letter])
        return
    if before is not None and (cancelled := _sharps(before)):
        add(element, "cancel", cancelled)
    add(element, "fifths", sharps)
    if key.tonic:
        add(element, "mode", key.mode)


def _sharps(key: Key) -> int | None:
    """Sharps, or flats below 0, of a signature; None for one that is not in the order of fifths."""
    signature = {letter: alteration for letter, alteration in key.signature.items() if alteration}
    sharps = sum(signature.values())
    usual = _ORDER[:sharps] if sharps >= 0 else _ORDER[sharps:]
    return sharps if set(signature) == set(usual) and abs(sharps) == len(signature) else None


def _add_meter(attributes: Element, meter: Meter) -> None:
    if meter.beats is None or meter.unit is None:
        add(add(attributes, "time", print_object="no"), "senza-misura")
        return
    symbol = {"C": {"symbol": "common"}, "C|": {"symbol": "cut"}}.get(meter.text, {})
    time = add(attributes, "time", **symbol)
    add(time, "beats", meter.text.rpartition("/")[0].strip(" ()") or meter.beats)
    add(time, "beat-type", meter.unit)


def _add_clef(attributes: Element, clef: Clef) -> None:
    element = add(attributes, "clef")
    add(element, "sign", clef.sign)
    if clef.sign != "percussion":
        add(element, "line", clef.line)
    if clef.octaves:
        add(element, "clef-octave-change", clef.octaves)


def _add_left_bar(written: Element, measure: Measure) -> None:
    if not (measure.repeat_begins or measure.ending):
        return
    bar = add(written, "barline", location="left")
    if measure.repeat_begins:
        add(bar, "bar-style", "heavy-light")
    if measure.ending:
        add(bar, "ending", measure.ending, number=ending_numbers(measure.ending), type="start")
    if measure.repeat_begins:
        add(bar, "repeat", direction="forward")


def _add_right_bar(written: Element, measure: Measure, *, label: str) -> None:
    if measure.bar_line == "regular" and not measure.ending_closes and not measure.repeat_plays:
        return
    bar = add(written, "barline", location="right")
    add(bar, "bar-style", measure.bar_line)
    if measure.ending_closes:
        add(bar, "ending", number=ending_numbers(label), type=measure.ending_closes)
    if measure.repeat_plays:
        times = {"times": str(measure.repeat_plays)} if measure.repeat_plays > 2 else {}
        add(bar, "repeat", direction="backward", **times)


def ending_numbers(label: str) -> str:
    """The plays that an ending is for, as MusicXML lists them: ``1-3`` is ``1, 2, 3``; a blank for words."""
    if re.fullmatch(r"\d{1,3}([,-]\d{1,3})*", label) is None:
        return " "
    numbers: list[int] = []
    for part in label.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), min(int(last.rpartition("-")[2] or first), int(first) + 9) + 1)
    return ", ".join(map(str, numbers)) or " "
