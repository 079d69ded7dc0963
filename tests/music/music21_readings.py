"""What music21 makes of the names that questions use, and of their tunes; plain counting where it has no notion."""

import re
from fractions import Fraction
from functools import cache

from music21 import converter, duration, instrument, interval, key, pitch, roman, scale

CHORDS = {
    "major": "M3 P5",
    "minor": "m3 P5",
    "diminished": "m3 d5",
    "augmented": "M3 a5",
    "dominant seventh": "M3 P5 m7",
    "major seventh": "M3 P5 M7",
    "minor seventh": "m3 P5 m7",
    "half-diminished seventh": "m3 d5 m7",
    "diminished seventh": "m3 d5 d7",
    "minor-major seventh": "m3 P5 M7",
}
SUFFIXES = dict(zip(("", "m", "dim", "aug", "7", "maj7", "m7", "m7b5", "dim7", "m(maj7)"), CHORDS, strict=True))
SCALES = {
    "major": scale.MajorScale,
    "natural minor": scale.MinorScale,
    "harmonic minor": scale.HarmonicMinorScale,
    "melodic minor": scale.MelodicMinorScale,
    "dorian": scale.DorianScale,
    "phrygian": scale.PhrygianScale,
    "lydian": scale.LydianScale,
    "mixolydian": scale.MixolydianScale,
    "locrian": scale.LocrianScale,
    "whole tone": scale.WholeToneScale,
}
SOUNDS_LOWER = {
    "clarinet in Bb": "-M2",
    "clarinet in A": "-m3",
    "clarinet in Eb": "m3",
    "trumpet in Bb": "-M2",
    "trumpet in D": "M2",
    "horn in F": "-P5",
    "English horn": "-P5",
    "alto flute": "-P4",
    "soprano saxophone in Bb": "-M2",
    "alto saxophone in Eb": "-M6",
    "tenor saxophone in Bb": "-M9",
    "baritone saxophone in Eb": "-M13",
}
KNOWN_TO_MUSIC21 = {
    "clarinet in Bb": instrument.Clarinet,
    "trumpet in Bb": instrument.Trumpet,
    "horn in F": instrument.Horn,
    "English horn": instrument.EnglishHorn,
    "soprano saxophone in Bb": instrument.SopranoSaxophone,
    "alto saxophone in Eb": instrument.AltoSaxophone,
    "tenor saxophone in Bb": instrument.TenorSaxophone,
    "baritone saxophone in Eb": instrument.BaritoneSaxophone,
}


def m21(name: str) -> str:
    return name[0] + name[1:].replace("b", "-")


def plain(name: str) -> str:
    return name.replace("-", "b")


@cache
def move(name: str, distance: str) -> str:
    """The name of the note an interval away; down with a minus sign."""
    sign = -1 if distance.startswith("-") else 1
    step = interval.Interval(distance.lstrip("-"))
    if sign < 0:
        step = step.reverse()
    return plain(step.transposePitch(pitch.Pitch(m21(name) + "4")).name)


@cache
def interval_name(low: str, high: str) -> str:
    """Between two notes with octaves, or the next higher ``high`` where they have none."""
    if not low[-1].isdigit():
        one, other = pitch.Pitch(m21(low) + "4"), pitch.Pitch(m21(high) + "4")
        if other.diatonicNoteNum < one.diatonicNoteNum:
            other.octave = 5
    else:
        one, other = pitch.Pitch(m21(low)), pitch.Pitch(m21(high))
    return nice(interval.Interval(one, other))


def nice(found: interval.Interval) -> str:
    return found.niceName.lower().replace("double-octave", "double octave")


@cache
def semitones_by_name() -> dict[str, int]:
    shorts = [f"{quality}{number}" for number in range(1, 16) for quality in "PMmdA" if good(quality, number)]
    return {nice(interval.Interval(short)): interval.Interval(short).semitones for short in shorts}


def good(quality: str, number: int) -> bool:
    perfect = number % 7 in (1, 4, 5)
    return quality in ("PdA" if perfect else "MmdA") and not (quality == "d" and number == 1)


@cache
def notes_of_chord(root: str, kind: str) -> tuple[str, ...]:
    return (root, *(move(root, distance.replace("a", "A")) for distance in CHORDS[kind].split()))


def chord_named(text: str) -> tuple[str, ...]:
    root, kind = text.split(" ", 1)
    return notes_of_chord(root, kind.replace("_", " ").removesuffix(" triad").removesuffix(" chord"))


def chord_of_symbol(text: str) -> tuple[str, ...]:
    match = re.fullmatch(r"([A-G](?:##|bb|#|b(?!b))?)(.*)", text)
    assert match
    return notes_of_chord(match[1], SUFFIXES[match[2]])


@cache
def notes_of_scale(tonic: str, name: str) -> tuple[str, ...]:
    if name == "major pentatonic":
        return tuple(notes_of_scale(tonic, "major")[degree - 1] for degree in (1, 2, 3, 5, 6))
    if name in ("minor pentatonic", "blues"):
        first, _, third, fourth, fifth, _, seventh = notes_of_scale(tonic, "natural minor")
        return (first, third, fourth, *([move(tonic, "d5")] if name == "blues" else []), fifth, seventh)
    found = SCALES[name](m21(tonic)).getPitches(m21(tonic) + "4", m21(tonic) + "5", direction=scale.Direction.ASCENDING)
    return tuple(plain(one.name) for one in found[:-1])


def scale_named(text: str) -> tuple[str, ...]:
    tonic, name = text.split(" ", 1)
    name = name.replace("_", " ").replace("-", " ").removeprefix("ascending ")
    return notes_of_scale(tonic, {"minor blues": "blues", "minor": "natural minor"}.get(name, name))


@cache
def key_of(text: str) -> key.Key:
    tonic, mode = text.replace("_", " ").split(" ", 1)
    return key.Key(m21(tonic), mode.removeprefix("natural "))


def sharps_of(text: str) -> int:
    if text == "no sharps or flats":
        return 0
    number, kind = text.split()
    return int(number) * (1 if kind.startswith("sharp") else -1)


def sound(name: str) -> int:
    return pitch.Pitch(m21(name)).pitchClass


@cache
def length(name: str) -> Fraction:
    """A value such as ``dotted quarter note`` in whole notes."""
    words = name.removesuffix(" note").removesuffix(" rest")
    dots = 2 if words.startswith("double dotted") else int(words.startswith("dotted"))
    kind = words.removeprefix("double ").removeprefix("dotted ")
    kind = {"sixteenth": "16th", "thirty-second": "32nd"}.get(kind, kind)
    return Fraction(duration.Duration(type=kind, dots=dots).quarterLength) / 4


def row_length(text: str) -> Fraction:
    return sum((length(f"{word} note") for word in text.split(", ")), Fraction(0))


@cache
def numeral_notes(numeral: str, tonic: str, mode: str) -> tuple[str, ...]:
    figures = numeral.replace(" ", "").replace("6/4", "64").replace("6/5", "65").replace("4/3", "43")
    found = roman.RomanNumeral(figures.replace("4/2", "42"), key.Key(m21(tonic), mode))
    return tuple(plain(one.name) for one in found.pitches)


class Heard:
    """The notes of a tune in ABC as music21 hears them, bar by bar."""

    def __init__(self, abc: str) -> None:
        stream = converter.parse("%abc-2.1\n" + abc.replace("|:", "|").replace(":|", "|"), format="abc")
        self.notes = [note for note in stream.recurse().notes if not note.isChord]
        self.chords = [note for note in stream.recurse().notes if note.isChord]
        self.counts = [len(re.findall(r"[A-Ga-g]", bar)) for bar in body_of(abc).split("|") if bar.strip(" ]")]

    def at(self, bar: int, number: int) -> pitch.Pitch:
        return self.notes[sum(self.counts[: bar - 1]) + number - 1].pitch

    def lengths(self, bar: int) -> list[Fraction]:
        start = sum(self.counts[: bar - 1])
        found = self.notes[start : start + self.counts[bar - 1]]
        return [Fraction(note.quarterLength).limit_denominator(96) / 4 for note in found]


def body_of(abc: str) -> str:
    return abc.rsplit("\n", 1)[1]


def header(abc: str, name: str) -> str:
    return re.search(rf"^{name}:(.*)$", abc, re.MULTILINE)[1]  # type: ignore[index] # the field is there


def heard(abc: str, signature: str) -> tuple[int, ...]:
    stream = converter.parse(f"%abc-2.1\nX:1\nM:4/4\nL:1/8\nK:{signature}\n{abc}", format="abc")
    return tuple(note.pitch.midi for note in stream.recurse().notes)


def abc_length(note: str) -> Fraction:
    text = re.sub(r"[A-Ga-g,']", "", note)
    return Fraction(1) if not text else Fraction(f"1{text}" if text.startswith("/") else text)


def bars_played(body: str) -> int:
    """Bars as they are played, by walking along the bar lines."""
    parts = re.findall(r"\|:|::|:\|2|:\||\|1|\|\]|\||[^|:\]]+", body)
    played = section = ending = 0
    for part in (part.strip() for part in parts):
        if part in ("|:", "|", "|]", ""):
            section, ending = (0, 0) if part == "|:" else (section, ending)
        elif part == "|1":
            ending = section
        elif part == ":|2":
            played, section, ending = played + ending, 0, 0
        elif part in (":|", "::"):
            played, section = played + section, 0
        elif part.strip():
            played, section = played + 1, section + 1
    return played
