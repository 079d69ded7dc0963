"""Transposition: the same tune higher or lower, for training data in all keys.

Flow: text of a one-voice tune -> `transpose_tune` -> text. Letters move by the interval between the tonics, and
accidentals are written where the new key needs them, so that every pitch moves by the same number of semitones and
is spelt as the new key would. A note with an accidental keeps one even where it could do without. Chord symbols move
too; annotations, fingerings and words do not; all else stays byte for byte (line ends become
newlines). G major up two semitones::

    K:G   |"G"GA=fg|"D7"^c2 f2|    ->    K:A   |"A"AB=ga|"E7"^d2 g2|

A tune without a tonic (``K:none``, ``K:HP``) keeps its ``K:`` and gets accidentals at the notes.
"""

import re
from dataclasses import dataclass

from chatmusician.errors import UserError
from chatmusician.music.keys import LETTERS, SEMITONES_OF, Key, alteration_of_name, parse_key, rewrite_key
from chatmusician.music.lexer import Kind, Note, read_field, rewrite_notes
from chatmusician.music.pitches import BarAccidentals, follow, midi_pitch, notes_of
from chatmusician.music.tunes import AbcError, Tune, parse_tune

_CHORD_SYMBOL = re.compile(
    r"([A-G][#b]?)((?:maj|min|dim|aug|sus|add|m|M|\+|-|o|°|[#b]?\d+|\(|\)|,)*)(?:/([A-Ga-g][#b]?))?"
)


_LINE_ENDS = re.compile(r"\r\n?")


@dataclass(frozen=True, kw_only=True)
class _Interval:
    """How far notes move: letters and semitones, both counted from C, both signed."""

    letters: int
    semitones: int

    def name(self, name: str) -> str:
        """A note name without octave, such as ``F#`` or ``Bb``, moved; with at most one sharp or flat."""
        start = SEMITONES_OF[name[0].upper()] + alteration_of_name(name) + self.semitones
        index = LETTERS.index(name[0].upper()) + self.letters
        choices = [index, index + 1, index - 1]
        letter, alteration = next(
            (letter, alteration)
            for letter in (LETTERS[choice % 7] for choice in choices)
            if abs(alteration := (start - SEMITONES_OF[letter] + 6) % 12 - 6) <= 1
        )
        return (letter if name[0].isupper() else letter.lower()) + ("b", "", "#")[alteration + 1]

    def note(self, letter: str, octave: int, alteration: int) -> tuple[str, int, int]:
        """Letter, octave and semitones of a note, moved; with at most two sharps or flats."""
        pitch = 12 * octave + SEMITONES_OF[letter] + alteration + self.semitones
        index = 7 * octave + LETTERS.index(letter) + self.letters
        if abs(pitch - _natural(index)) > 2:
            index += 1 if pitch > _natural(index) else -1
        return LETTERS[index % 7], index // 7, pitch - _natural(index)


def _natural(index: int) -> int:
    return 12 * (index // 7) + SEMITONES_OF[LETTERS[index % 7]]


def transpose_tune(text: str, *, semitones: int | None = None, tonic: str | None = None) -> str:
    """Transpose a tune by some semitones, or to the nearest place on another tonic (up six, down five at most).

    Args:
        text: one tune of one voice.
        semitones: up if positive. The new key is spelt with the fewest accidentals.
        tonic: ``A`` to ``G`` with ``#`` or ``b``, taken as spelt. Either this or semitones is given.

    Raises:
        AbcError: the tune's header, or a key in its body, cannot be read.
        UserError: both or neither of the two are given; the tonic is no note or needs more than seven accidentals; the
            tune has several voices; a note would leave the range of MIDI, 0 to 127.
    """
    if (semitones is None) == (tonic is None):
        raise UserError(f"transposition by semitones={semitones} and to tonic={tonic!r}: give exactly one of the two")
    tune = parse_tune(text)
    _check_one_voice(tune)
    key = tune.key if tune.key.tonic else parse_key("C")
    if tonic is not None:
        target = _on_tonic(key, tonic)
        semitones = (_pitch_class(tonic) - _pitch_class(key.tonic) + 5) % 12 - 5
    else:
        assert semitones is not None
        target = key.transpose(semitones)
    interval = _between(key, target, semitones)
    lines = _LINE_ENDS.sub("\n", text).split("\n")
    at = tune.fields[-1].line - 1
    if tune.key.tonic:
        value = tune.fields[-1].value
        lines[at] = lines[at].replace(value, rewrite_key(value, target), 1)
    return "\n".join([*lines[: at + 1], *([_transpose_body(tune, interval)] if lines[at + 1 :] else [])])


def _check_one_voice(tune: Tune) -> None:
    named = [field.value for field in tune.fields if field.name == "V"]
    named += [read_field(token.text)[1] for token in tune.tokens if token.text.startswith(("V:", "[V:"))]
    voices = {value.split()[0] for value in named if value}
    if len(voices) > 1:
        raise UserError(f"X:{tune.number} has the voices {', '.join(sorted(voices))}: transpose one voice at a time")


def _on_tonic(key: Key, tonic: str) -> Key:
    try:
        parse_key(f"{tonic} {key.mode}")
    except ValueError as error:
        raise UserError(f"transposition to tonic={tonic!r}: {error}") from None
    return key.on(tonic)


def _pitch_class(tonic: str) -> int:
    return (SEMITONES_OF[tonic[0]] + alteration_of_name(tonic)) % 12


def _between(key: Key, target: Key, semitones: int) -> _Interval:
    span = SEMITONES_OF[target.tonic[0]] + alteration_of_name(target.tonic)
    span -= SEMITONES_OF[key.tonic[0]] + alteration_of_name(key.tonic)
    octaves = (semitones - span) // 12
    letters = LETTERS.index(target.tonic[0]) - LETTERS.index(key.tonic[0]) + 7 * octaves
    return _Interval(letters=letters, semitones=semitones)


def _transpose_body(tune: Tune, interval: _Interval) -> str:
    """Read accidentals in the old key and write them in the new one, side by side."""
    old = BarAccidentals(signature=tune.key.signature)
    moved_key, step = _move_key(tune.key, interval)
    new = BarAccidentals(signature=moved_key.signature)

    def move(note: Note) -> str:
        letter, octave, alteration = step.note(note.letter, note.octave, old.read(note))
        pitch = midi_pitch(Note("", letter, octave, note.length), alteration)
        if not 0 <= pitch <= 127:
            raise UserError(
                f"X:{tune.number} moved by {step.semitones} semitones has the MIDI note {pitch}: move it less"
            )
        accidental = new.write(letter, octave, alteration, always=bool(note.accidental))
        marks = "'" * (octave - 1) if octave > 0 else "," * -octave
        return accidental + (letter.lower() if octave > 0 else letter) + marks

    pieces = []
    for token in tune.tokens:
        text = token.text
        if notes_of(token):
            old.next_token()
            new.next_token()
            text = rewrite_notes(text, move)
        elif token.kind is Kind.CHORD_SYMBOL and (match := _CHORD_SYMBOL.fullmatch(text[1:-1])):
            bass = f"/{step.name(match[3])}" if match[3] else ""
            text = f'"{step.name(match[1])}{match[2]}{bass}"'
        elif token.kind in (Kind.FIELD, Kind.INLINE_FIELD) and read_field(text)[0] == "K":
            value = read_field(text)[1]
            try:
                key = parse_key(value)
            except ValueError as error:
                raise AbcError(str(error), line=token.line, column=token.column, source=tune.source) from None
            moved_key, step = _move_key(key, interval)
            old.change_key(key.signature)
            new.change_key(moved_key.signature)
            text = text.replace(value, rewrite_key(value, moved_key), 1) if value else text
        follow(old, token)
        follow(new, token)
        pieces.append(text)
    return "".join(pieces)


def _move_key(key: Key, interval: _Interval) -> tuple[Key, _Interval]:
    """A key moved by the tune's interval, spelt otherwise where that would need more than seven accidentals."""
    if not key.tonic:
        return key, interval
    tonic = interval.name(key.tonic)
    try:
        parse_key(f"{tonic} {key.mode}")
        target = key.on(tonic)
    except ValueError:
        target = key.transpose(interval.semitones)
    return target, _between(key, target, interval.semitones)
