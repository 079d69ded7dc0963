"""Keys for notes from formats that say less of a key than ABC does.

MusicXML gives sharps or flats and sometimes a mode, MIDI sharps or flats and often those of C major for want of better.
`name_key` finds the tonic by the last note, as folk tunes nearly always end on it (93% of those that music21 ships, by
`chatmusician.evaluation.tonality`); `find_sharps` finds the signature by the notes.
"""

from collections.abc import Mapping

from chatmusician.music.keys import SEMITONES_OF, Key, alteration_of_name

MOST_SHARPS = 6
"""Sharps or flats of the signatures that `find_sharps` tries."""

_FIFTHS = "FCGDAEB"
_PLACES = {"major": 0, "mixolydian": 1, "dorian": 2, "minor": 3, "phrygian": 4, "locrian": 5, "lydian": -1}
"""Fifths from the tonic of the major key with the same signature up to that of the mode, likeliest modes first."""
_GUESSED = ("major", "minor", "dorian", "mixolydian")


def name_key(sharps: int, *, mode: str = "", last: int | None = None) -> str:
    """The value of a ``K:`` field for a signature: ``G``, ``Em``, ``Ador``.

    Args:
        sharps: sharps, or flats as negative number, -7 to 7.
        mode: its name, ``ionian`` and ``aeolian`` among them; where it is none of them, the last note decides.
        last: pitch class of the last note, 0 for C. Major where it is the tonic of no usual mode.

    Raises:
        ValueError: there are more than seven sharps or flats.
    """
    if abs(sharps) > 7:
        raise ValueError(f"a key signature of {sharps} sharps (flats, if negative); the most is 7")
    mode = {"ionian": "major", "aeolian": "minor"}.get(mode, mode)
    if mode not in _PLACES:
        ends = (guess for guess in _GUESSED if last == _pitch_class(_tonic(sharps, guess)))
        mode = next(ends, "major")
    return str(Key(tonic=_tonic(sharps, mode), mode=mode))


def find_sharps(weights: Mapping[int, float], *, last: int) -> int:
    """The signature that suits some notes: the most of them in its scale, then the last one on a usual tonic.

    Args:
        weights: how long each pitch class sounds, by pitch class.
        last: pitch class of the last note.
    """

    def cost(sharps: int) -> tuple[float, int, int]:
        tonics = [_pitch_class(_tonic(sharps, mode)) for mode in _GUESSED]
        rank = tonics.index(last) if last in tonics else len(tonics)
        return foreign(weights, sharps), rank, abs(sharps)

    return min(range(-MOST_SHARPS, MOST_SHARPS + 1), key=cost)


def foreign(weights: Mapping[int, float], sharps: int) -> float:
    """The share of some notes that is not in the scale of a signature."""
    scale = {_pitch_class(_fifth(sharps + place)) for place in range(-1, 6)}
    total = sum(weights.values())
    return sum(weight for pitch_class, weight in weights.items() if pitch_class not in scale) / total if total else 0.0


def spell(pitch: int, sharps: int) -> tuple[str, int, int]:
    """Letter, octave and alteration of a MIDI note in a key: of its spellings the one nearest to the signature.

    >>> spell(66, 1), spell(63, -3), spell(61, 0)
    (('F', 0, 1), ('E', 0, -1), ('C', 0, 1))
    """
    near = min(range(sharps - 5, sharps + 8), key=lambda place: (_sounds_off(place, pitch), abs(place - sharps - 2)))
    name = _fifth(near)
    alteration = alteration_of_name(name)
    return name[0], (pitch - 60 - alteration - SEMITONES_OF[name[0]]) // 12, alteration


def _sounds_off(place: int, pitch: int) -> bool:
    return _pitch_class(_fifth(place)) != pitch % 12


def _tonic(sharps: int, mode: str) -> str:
    return _fifth(sharps + _PLACES[mode])


def _fifth(place: int) -> str:
    """The note so many fifths above C: ``G`` for 1, ``Bb`` for -2."""
    alteration, index = divmod(place + 1, 7)
    return _FIFTHS[index] + ("#" * alteration if alteration > 0 else "b" * -alteration)


def _pitch_class(name: str) -> int:
    return (SEMITONES_OF[name[0]] + alteration_of_name(name)) % 12
