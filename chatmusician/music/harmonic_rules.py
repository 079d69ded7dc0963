"""The rules by which ``harmony`` weighs chords: which ones a key offers, how they suit notes, and what follows what.

Chords are triads on the seven letters of the key, altered as the music alters them: F sharp in C major makes D major of
D minor, G sharp in A minor E major of E minor. So a key needs no list of its borrowed chords, the spelling is that of
the notes (B flat, not A sharp), and a tune on another tonic gets the same chords on the other tonic. A major triad
whose minor seventh is in the scale may carry it, as dominant: V7, and what leads to other degrees in the same way.

How much each degree is liked depends on the mode: the flat seventh degree of dorian and mixolydian tunes is their
second pole as the dominant is that of major ones. The weights are in one unit: 1 is what a slot gains whose notes
are all the root of its chord. They were set by hand from common practice, and judged as `harmony` says.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from chatmusician.music.keys import LETTERS, SEMITONES_OF, Key

MEMBERS = (1.0, 0.95, 0.85, 0.6)
"""What a note gains as root, third, fifth or seventh of the chord."""
FOREIGN = -0.9
"""What it gains as none of them."""

MOST_OF_PASSING = 0.2
"""Which part of its weight counts of a foreign note that is reached and left by step, off the beat."""

CHROMATIC = -0.3
"""Liking of a chord that has a note outside the scale."""
WITH_SEVENTH = -0.12
"""What a seventh takes away from the liking of its triad."""

_LIKING = MappingProxyType(
    {  # of the degrees from the first to the seventh
        "major": (0.5, -0.05, -0.3, 0.2, 0.35, 0.05, -0.8),
        "lydian": (0.5, 0.15, -0.2, -0.8, 0.2, 0.0, -0.1),
        "mixolydian": (0.5, -0.15, -0.8, 0.2, 0.05, -0.1, 0.3),
        "dorian": (0.5, -0.2, 0.05, 0.15, 0.05, -0.8, 0.3),
        "minor": (0.5, -0.6, 0.05, 0.15, 0.1, 0.05, 0.2),
        "phrygian": (0.5, 0.25, 0.0, 0.1, -0.8, 0.0, 0.15),
        "locrian": (0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    }
)
_DOMINANT_OF_MINOR = 0.3
"""Liking of the major triad on the fifth degree of minor."""

_KINDS = MappingProxyType({(4, 7): "", (3, 7): "m", (3, 6): "dim"})
"""Third and fifth in semitones above the root, and what the symbol has for them. Augmented triads are not chosen."""

STAY = 0.1
"""Gain of the chord of the slot before, at the beginning of a bar."""
CHANGE_IN_BAR = -0.35
"""Gain of a change within a bar."""
_MOTION = MappingProxyType(
    {5: 0.2, 7: 0.05, 2: 0.05, 10: 0.05, 9: 0.05, 8: 0.0, 3: 0.0, 4: 0.0, 11: 0.0, 1: 0.0, 6: -0.3}
)
"""Gain of a change by the semitones that the root goes up: 5 is a falling fifth."""
DOMINANT_TO_TONIC = 0.15
"""Further gain where the chord of the cadence leads to the tonic."""

OPENS_WITH_TONIC = 0.5
CLOSES_WITH_TONIC, CLOSES_HALF = 0.7, 0.3
"""Gains of the last slot of a section: on the tonic, or open, on the chord that leads to it."""
BEFORE_CLOSE = 0.5
"""Gain of the chord that leads to the tonic in the slot before the last."""


class Weight(NamedTuple):
    """How much a pitch class counts in a slot: as a note of the chord, and as one foreign to it."""

    member: float
    foreign: float


class Candidate(NamedTuple):
    """A chord that a slot may take."""

    symbol: str
    root: int
    """Pitch class, 0 for C."""
    tones: tuple[int, ...]
    """Pitch classes from the root up: triad, perhaps seventh."""
    degree: int
    """Of its letter in the key, 0 for that of the tonic."""
    liking: float
    leads: bool
    """True for the chords that lead to the tonic at a cadence."""


def candidates(key: Key, altered: Mapping[str, int], *, natural_seventh: bool) -> tuple[Candidate, ...]:
    """The chords that a key offers to a slot, best liked degrees not first: in the order of the scale.

    Args:
        key: one with a tonic.
        altered: letters whose notes in the slot differ from the key signature, with the semitones they have.
        natural_seventh: the slot has the seventh degree as the signature has it, so that no chord of minor raises it.
    """
    return _candidates(key, tuple(sorted(altered.items())), natural_seventh)


@lru_cache(maxsize=4096)
def _candidates(key: Key, altered: tuple[tuple[str, int], ...], natural_seventh: bool) -> tuple[Candidate, ...]:
    scale = dict(key.signature)
    found = _triads(key, scale, diatonic=scale)
    if key.mode == "minor" and not natural_seventh:
        seventh = _letter(key, 6)
        raised = _triads(key, scale | {seventh: scale[seventh] + 1}, diatonic=scale)
        found += [chord._replace(liking=_dominant_liking(chord)) for chord in raised if chord.degree == 4]
    for letter, alteration in altered:
        found += _triads(key, scale | {letter: alteration}, diatonic=scale)
    if altered:
        found += _triads(key, scale | dict(altered), diatonic=scale)
    named: dict[str, Candidate] = {}
    for chord in found:
        named.setdefault(chord.symbol, chord)
    return tuple(named.values())


def _dominant_liking(chord: Candidate) -> float:
    return _DOMINANT_OF_MINOR + (WITH_SEVENTH if len(chord.tones) > 3 else 0)


def _triads(key: Key, scale: Mapping[str, int], *, diatonic: Mapping[str, int]) -> list[Candidate]:
    """The triads of a scale, and the dominant sevenths; those that have only notes of the diatonic scale by degree."""
    found = []
    for degree in range(7):
        letters = [_letter(key, degree + steps) for steps in (0, 2, 4, 6)]
        tones = [SEMITONES_OF[letter] + scale[letter] for letter in letters]
        third, fifth, seventh = ((tone - tones[0]) % 12 for tone in tones[1:])
        kind = _KINDS.get((third, fifth))
        if kind is None or abs(scale[letters[0]]) > 1:
            continue
        inside = all(scale[letter] == diatonic[letter] for letter in letters[:3])
        symbol = letters[0] + ("b", "", "#")[scale[letters[0]] + 1] + kind
        chord = Candidate(
            symbol=symbol,
            root=tones[0] % 12,
            tones=tuple(tone % 12 for tone in tones[:3]),
            degree=degree,
            liking=_LIKING[key.mode][degree] if inside else CHROMATIC,
            leads=_leads(key, degree, kind),
        )
        found.append(chord)
        if kind == "" and seventh == 10 and (degree == 4 or not inside):
            found.append(
                chord._replace(
                    symbol=symbol + "7",
                    tones=(*chord.tones, tones[3] % 12),
                    liking=chord.liking + WITH_SEVENTH,
                )
            )
    return found


def _leads(key: Key, degree: int, kind: str) -> bool:
    if key.mode in ("dorian", "mixolydian", "minor") and degree == 6:
        return kind == ""
    if key.mode == "phrygian":
        return degree in (1, 6)
    return degree == 4 and (kind == "" or key.mode in ("dorian", "mixolydian", "minor"))


def _letter(key: Key, steps: int) -> str:
    """The letter so many steps above the tonic's."""
    return LETTERS[(LETTERS.index(key.tonic[0]) + steps) % 7]


def suits(chord: Candidate, heard: Mapping[int, Weight]) -> float:
    """What the notes of a slot gain under a chord, by their pitch classes."""
    gain = 0.0
    for pitch_class, weight in heard.items():
        if pitch_class in chord.tones:
            gain += MEMBERS[chord.tones.index(pitch_class)] * weight.member
        else:
            gain += FOREIGN * weight.foreign
    return gain


def follows(before: Candidate, chord: Candidate, *, in_bar: bool) -> float:
    """What one chord gains after another, at the beginning of a bar or within it."""
    if before.symbol == chord.symbol:
        return 0.0 if in_bar else STAY
    gain = CHANGE_IN_BAR if in_bar else 0.0
    if before.root == chord.root:
        return gain
    gain += _MOTION[(chord.root - before.root) % 12]
    return gain + DOMINANT_TO_TONIC if before.leads and chord.degree == 0 else gain
