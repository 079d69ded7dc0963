"""What stands above and below the notes, as MusicXML: chord symbols, words, tempos, dynamics, segno and coda."""

import re
from xml.etree.ElementTree import Element

from chatmusician.music.notation.elements import add
from chatmusician.music.notation.note_values import TYPES, note_values
from chatmusician.music.notation.score import Heading, Tempo
from chatmusician.music.notation.signs import DYNAMICS, JUMPS, WEDGES

_CHORD = re.compile(r"([A-G])([#b♯♭]?)((?:maj|min|dim|aug|sus|add|alt|[mM+°ø()-]|[#b]?\d{1,2})*)(?:/([A-G])([#b♯♭]?))?")
_KINDS = {
    "": "major",
    "maj": "major",
    "M": "major",
    "m": "minor",
    "min": "minor",
    "-": "minor",
    "7": "dominant",
    "maj7": "major-seventh",
    "M7": "major-seventh",
    "m7": "minor-seventh",
    "min7": "minor-seventh",
    "dim": "diminished",
    "°": "diminished",
    "dim7": "diminished-seventh",
    "aug": "augmented",
    "+": "augmented",
    "aug7": "augmented-seventh",
    "m7b5": "half-diminished",
    "6": "major-sixth",
    "m6": "minor-sixth",
    "9": "dominant-ninth",
    "maj9": "major-ninth",
    "m9": "minor-ninth",
    "11": "dominant-11th",
    "13": "dominant-13th",
    "sus": "suspended-fourth",
    "sus4": "suspended-fourth",
    "sus2": "suspended-second",
    "5": "power",
}
_ALTER = {"#": 1, "♯": 1, "b": -1, "♭": -1}
_ABOVE, _BELOW = "above", "below"


def add_chord_symbol(measure: Element, text: str) -> None:
    """A chord symbol; what names no chord becomes words."""
    match = _CHORD.fullmatch(text.strip())
    if match is None:
        add_words(measure, text)
        return
    root, root_sign, kind, bass, bass_sign = match.groups()
    harmony = add(measure, "harmony")
    _add_step(harmony, "root", root, root_sign)
    add(harmony, "kind", _KINDS.get(kind, "other")).set("text", kind)
    if bass:
        _add_step(harmony, "bass", bass, bass_sign)


def _add_step(harmony: Element, tag: str, letter: str, sign: str) -> None:
    step = add(harmony, tag)
    add(step, f"{tag}-step", letter)
    if sign:
        add(step, f"{tag}-alter", _ALTER[sign])


def add_annotation(measure: Element, text: str) -> None:
    """Words where their first character puts them (ABC 2.1, section 4.19)."""
    add_words(measure, text[1:], placement=_BELOW if text.startswith("_") else _ABOVE)


def add_words(measure: Element, text: str, *, placement: str = _ABOVE) -> None:
    """Words above or below the staff."""
    if text.strip():
        add(_direction_type(measure, placement), "words", text.strip())


def add_heading(measure: Element, heading: Heading) -> None:
    """The name of a part in a box, or a title inside the tune."""
    if heading.boxed:
        add(_direction_type(measure, _ABOVE), "rehearsal", heading.text)
    else:
        add_words(measure, heading.text)


def add_tempo(measure: Element, tempo: Tempo) -> None:
    """A tempo: its words, then a metronome mark, and how many quarters a minute that is."""
    direction = add(measure, "direction", placement=_ABOVE)
    if tempo.text:
        add(add(direction, "direction-type"), "words", tempo.text)
    if tempo.beats_a_minute is not None:
        value = note_values(tempo.beat) if tempo.beat else ()
        if len(value) == 1 and value[0].length >= min(TYPES):
            metronome = add(add(direction, "direction-type"), "metronome")
            add(metronome, "beat-unit", value[0].type)
            for _ in range(value[0].dots):
                add(metronome, "beat-unit-dot")
            add(metronome, "per-minute", tempo.beats_a_minute)
        else:
            add(add(direction, "direction-type"), "words", tempo.beats_a_minute)
        if tempo.beat:
            quarters = tempo.beats_a_minute * tempo.beat * 4
            add(direction, "sound", tempo=f"{float(quarters):g}")
    if not len(direction):
        measure.remove(direction)


def add_signs(measure: Element, signs: tuple[str, ...]) -> None:
    """Those decorations of a note that stand apart from it: dynamics, wedges, segno, coda, and where to go on."""
    for sign in signs:
        if sign in DYNAMICS:
            add(add(_direction_type(measure, _BELOW), "dynamics"), sign)
        elif sign in WEDGES:
            add(_direction_type(measure, _BELOW), "wedge", type=WEDGES[sign])
        elif sign in ("segno", "coda"):
            add(_direction_type(measure, _ABOVE), sign)
        elif sign in JUMPS:
            add_words(measure, JUMPS[sign])


def _direction_type(measure: Element, placement: str) -> Element:
    return add(add(measure, "direction", placement=placement), "direction-type")
