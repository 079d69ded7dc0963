"""The measures of a MusicXML part, one after the other.

Flow: ``musicxml`` -> `MeasureReader` -> `Measure`. What is read and what is left out stands there.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from xml.etree.ElementTree import Element

from chatmusician.music.key_finding import name_key
from chatmusician.music.keys import LETTERS, SEMITONES_OF
from chatmusician.music.scores import ConversionError, Measure, Pitch, ScoreNote
from chatmusician.music.tunes import parse_meter

CHORD_KINDS = {
    "major": "",
    "minor": "m",
    "augmented": "aug",
    "diminished": "dim",
    "dominant": "7",
    "major-seventh": "maj7",
    "minor-seventh": "m7",
    "diminished-seventh": "dim7",
    "augmented-seventh": "aug7",
    "half-diminished": "m7b5",
    "major-minor": "m(maj7)",
    "major-sixth": "6",
    "minor-sixth": "m6",
    "dominant-ninth": "9",
    "major-ninth": "maj9",
    "minor-ninth": "m9",
    "dominant-11th": "11",
    "major-11th": "maj11",
    "minor-11th": "m11",
    "dominant-13th": "13",
    "major-13th": "maj13",
    "minor-13th": "m13",
    "suspended-second": "sus2",
    "suspended-fourth": "sus4",
    "power": "5",
}
"""What a chord symbol has after its root, by MusicXML's kind of harmony."""

_STYLES = {"light-light": "||", "light-heavy": "|]", "heavy-heavy": "|]", "heavy": "|]", "none": ""}


def text_of(element: Element, path: str) -> str:
    """The text of an element inside another, its white space as single spaces; empty where there is none."""
    return " ".join((element.findtext(path) or "").split())


def _integer(element: Element, path: str) -> int:
    text = text_of(element, path)
    if not re.fullmatch(r"[+-]?\d{1,9}(?:\.0+)?", text):
        raise ConversionError(f"{text[:40]!r} is no whole number for {element.tag}/{path}; export it again")
    return int(text.partition(".")[0])


@dataclass(slots=True)
class _Sounding:
    """A note, or notes that begin together, where it stands in a measure. Times are in whole notes."""

    onset: Fraction
    length: Fraction
    pitches: list[Pitch]
    ties: set[Pitch] = field(default_factory=set)


@dataclass(slots=True)
class _Content:
    """What has been read of a measure."""

    position: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    sounding: list[_Sounding] = field(default_factory=list)
    chords: list[tuple[Fraction, str]] = field(default_factory=list)
    """Onsets and names of chord symbols."""
    marks: dict[str, str] = field(default_factory=dict)
    """Of the fields of `Measure`: key, meter, opening, closing, ending."""


class MeasureReader:
    """Reads the measures of a part in their order: divisions, key and meter hold from one to the next."""

    def __init__(self, part: Element) -> None:
        self._part = part
        self._divisions = 1  # of a quarter note
        self._meter = "none"
        heard = list(_heard(part))
        self._heard = Counter(heard)
        self._last = heard[-1] if heard else None

    def read(self, element: Element, *, first: bool) -> Measure:
        """One measure; the first has key and meter.

        Raises:
            ConversionError: it cannot be read, or is not of one voice.
        """
        content = _Content(marks={"key": name_key(0), "meter": "none"} if first else {})
        for child in element:
            if child.tag == "note":
                self._note(child, content)
            elif child.tag in ("backup", "forward"):
                length = self._length(child)
                content.position += length if child.tag == "forward" else -length
                if content.position < 0:
                    raise ConversionError("it goes back beyond its beginning; export it again")
                content.end = max(content.end, content.position)
            elif child.tag == "attributes":
                self._attributes(child, content)
            elif child.tag == "barline":
                _bar_line(child, content)
            elif child.tag == "harmony":
                content.chords.append((content.position, _chord_name(child)))
        if content.end == 0:
            content.end = parse_meter(self._meter).bar_length or Fraction(0)
            if content.end == 0:
                raise ConversionError("it has neither notes nor a meter")
        return Measure(notes=tuple(_in_order(content)), **content.marks)

    def _length(self, element: Element) -> Fraction:
        length = Fraction(_integer(element, "duration"), 4 * self._divisions)
        if length < 0:
            raise ConversionError("a duration is negative")
        return length

    def _note(self, note: Element, content: _Content) -> None:
        if note.find("grace") is not None or note.find("cue") is not None:
            return
        length = self._length(note)
        if note.find("chord") is not None and content.sounding:
            together = content.sounding[-1]
        else:
            together = _Sounding(onset=content.position, length=length, pitches=[])
            content.position += length
            content.end = max(content.end, content.position)
        if note.find("unpitched") is not None:
            raise ConversionError("it has percussion; use a part with pitches")
        if note.find("rest") is not None or length == 0:
            return
        if together.length != length:
            raise ConversionError("notes that begin together last differently; write one voice a part")
        pitch = _pitch(note)
        if not together.pitches:
            content.sounding.append(together)
        together.pitches.append(pitch)
        if any(tie.get("type") == "start" for tie in note.findall("tie")):
            together.ties.add(pitch)

    def _attributes(self, attributes: Element, content: _Content) -> None:
        if attributes.find("divisions") is not None:
            self._divisions = _integer(attributes, "divisions")
            if self._divisions < 1:
                raise ConversionError(f"{self._divisions} divisions of a quarter note; there must be some")
        key, time = attributes.find("key"), attributes.find("time")
        late = content.position > 0
        if late and (key is not None or time is not None):
            raise ConversionError("key or meter change within it; put the change at a bar line")
        if key is not None:
            mode = text_of(key, "mode").lower()
            try:
                content.marks["key"] = name_key(
                    _integer(key, "fifths"), mode=mode, weights=self._heard, last=self._last
                )
            except ValueError as error:
                raise ConversionError(str(error)) from error
        if time is not None:
            content.marks["meter"] = self._meter = _meter(time)


def _heard(part: Element) -> Iterator[int]:
    """The pitch classes of a part's notes; those that cannot be read are told of in their measure."""
    for note in part.iter("note"):
        if note.find("pitch") is not None:
            with suppress(ConversionError):
                yield _pitch_class(_pitch(note))


def _meter(time: Element) -> str:
    if time.find("senza-misura") is not None:
        return "none"
    beats = [" ".join((beat.text or "").split()) for beat in time.findall("beats")]
    units = {" ".join((unit.text or "").split()) for unit in time.findall("beat-type")}
    text = f"{'+'.join(beats)}/{'/'.join(sorted(units))}"
    try:
        return parse_meter(text).text
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _pitch(note: Element) -> Pitch:
    letter, octave = text_of(note, "pitch/step"), _integer(note, "pitch/octave")
    alteration = _integer(note, "pitch/alter") if note.find("pitch/alter") is not None else 0
    if letter not in LETTERS or not letter or abs(alteration) > 2 or not 0 <= octave <= 9:
        raise ConversionError(f"{letter[:9]}{octave} altered by {alteration} semitones is no note that ABC can write")
    return Pitch(letter, octave - 4, alteration)


def _pitch_class(pitch: Pitch) -> int:
    return (SEMITONES_OF[pitch.letter] + pitch.alteration) % 12


def _bar_line(element: Element, content: _Content) -> None:
    repeat, ending = element.find("repeat"), element.find("ending")
    direction = "" if repeat is None else repeat.get("direction", "")
    if ending is not None and ending.get("type") == "start":
        numbers = re.findall(r"\d{1,2}", ending.get("number", ""))
        content.marks["ending"] = ",".join(numbers) or "1"
    if element.get("location") == "left":
        content.marks["opening"] = "|:" if direction == "forward" else ""
    elif element.get("location", "right") == "right":
        closing = _STYLES.get(text_of(element, "bar-style"), "|")
        content.marks["closing"] = ":|" if direction == "backward" else closing


def _chord_name(harmony: Element) -> str:
    kind = text_of(harmony, "kind")
    if kind == "none":
        return ""
    if kind not in CHORD_KINDS or harmony.find("root") is None:
        raise ConversionError(f"a chord of the kind {kind[:40]!r} has no usual symbol; write another kind")
    return _root(harmony, "root") + CHORD_KINDS[kind] + (f"/{_root(harmony, 'bass')}" if _has_bass(harmony) else "")


def _has_bass(harmony: Element) -> bool:
    return harmony.find("bass/bass-step") is not None


def _root(harmony: Element, name: str) -> str:
    letter = text_of(harmony, f"{name}/{name}-step")
    alter = f"{name}/{name}-alter"
    alteration = _integer(harmony, alter) if harmony.find(alter) is not None else 0
    if letter not in LETTERS or not letter or abs(alteration) > 1:
        raise ConversionError(f"a chord on {letter[:9]!r} altered by {alteration} semitones has no usual symbol")
    return letter + ("b", "", "#")[alteration + 1]


def _in_order(content: _Content) -> Iterator[ScoreNote]:
    """The notes of a measure, rests between them, chord symbols at the first note or rest not before them."""
    position = Fraction(0)
    chords = [chord for chord in content.chords if chord[1]]
    notes: list[tuple[Fraction, ScoreNote]] = []
    for sounding in sorted(content.sounding, key=lambda sounding: sounding.onset):
        if sounding.onset < position:
            raise ConversionError("notes overlap in one part; write one voice a part")
        if sounding.onset > position:
            notes.append((position, ScoreNote(pitches=(), length=sounding.onset - position)))
        note = ScoreNote(
            pitches=tuple(dict.fromkeys(sounding.pitches)), length=sounding.length, ties=frozenset(sounding.ties)
        )
        notes.append((sounding.onset, note))
        position = sounding.onset + sounding.length
    if position < content.end:
        notes.append((position, ScoreNote(pitches=(), length=content.end - position)))
    for index, (onset, note) in enumerate(notes):
        due = [name for at, name in chords if at <= onset or index == len(notes) - 1]
        chords = chords[len(due) :]
        yield replace(note, chord=due[-1]) if due else note
