from collections import Counter

import pytest

from chatmusician.data.folk import FolkCollections
from chatmusician.music.events import events
from chatmusician.music.key_finding import find_sharps, foreign, name_key, spell
from chatmusician.music.keys import SEMITONES_OF, parse_key
from chatmusician.music.tunes import parse_tune

C_MAJOR = dict.fromkeys((0, 2, 4, 5, 7, 9, 11), 1.0)


@pytest.mark.parametrize(
    ("sharps", "mode", "last", "key"),
    [
        (0, "major", 9, "C"),
        (2, "minor", None, "Bm"),
        (-3, "mixolydian", None, "Bbmix"),
        (1, "lydian", None, "Clyd"),
        (-1, "phrygian", None, "Aphr"),
        (0, "locrian", None, "Bloc"),
        (0, "ionian", None, "C"),
        (0, "aeolian", None, "Am"),
        (1, "", None, "G"),
        (1, "", 0, "G"),
        (7, "major", None, "C#"),
        (-7, "minor", None, "Abm"),
    ],
)
def test_names(sharps: int, mode: str, last: int | None, key: str) -> None:
    assert name_key(sharps, mode=mode, last=last) == key
    assert parse_key(key).sharps == sharps


@pytest.mark.parametrize(
    ("heard", "last", "key"),
    [
        ("G G G D D B A C E F#", "G", "G"),
        ("E E E B B G A C F# D", "E", "Em"),
        ("A A A E E G G C D B F#", "A", "Ador"),
        ("D D D A A F# C C G E B", "D", "Dmix"),
        ("G G G D D B A C E F#", "A", "G"),  # the last note is the only one that speaks for A
        ("G A B C D E F#", "G", "G"),
    ],
)
def test_modes_by_their_notes(heard: str, last: str, key: str) -> None:
    pitch_classes = {"F#": 6, **SEMITONES_OF}
    weights = Counter(pitch_classes[name] for name in heard.split())
    assert name_key(1, weights=weights, last=pitch_classes[last]) == key


@pytest.mark.parametrize("sharps", [8, -8])
def test_more_than_seven_sharps_are_refused(sharps: int) -> None:
    with pytest.raises(ValueError, match=f"a key signature of {sharps} sharps"):
        name_key(sharps)


def test_the_signature_that_suits_the_notes() -> None:
    assert find_sharps(C_MAJOR, last=0) == 0
    assert find_sharps({(pitch + 2) % 12: weight for pitch, weight in C_MAJOR.items()}, last=2) == 2
    assert find_sharps({(pitch - 2) % 12: weight for pitch, weight in C_MAJOR.items()}, last=10) == -2
    # a pentatonic scale is in three signatures: the notes that sound longest decide
    assert find_sharps({0: 1, 2: 1, 4: 1, 7: 3, 9: 1}, last=7) == 1
    assert find_sharps({0: 3, 2: 1, 4: 1, 7: 1, 9: 1}, last=0) == 0


def test_foreign_notes_are_weighed() -> None:
    assert foreign(C_MAJOR, 0) == 0
    assert foreign({0: 3.0, 6: 1.0}, 0) == 0.25
    assert foreign({}, 0) == 0


@pytest.mark.parametrize(
    ("pitch", "sharps", "spelt"),
    [
        (60, 0, ("C", 0, 0)),
        (66, 0, ("F", 0, 1)),
        (70, 0, ("B", 0, -1)),
        (66, 1, ("F", 0, 1)),
        (63, -3, ("E", 0, -1)),
        (61, 4, ("C", 0, 1)),
        (61, -4, ("D", 0, -1)),
        (71, -6, ("C", 1, -1)),
        (72, 6, ("B", 0, 1)),
        (59, 0, ("B", -1, 0)),
    ],
)
def test_spelling(pitch: int, sharps: int, spelt: tuple[str, int, int]) -> None:
    assert spell(pitch, sharps) == spelt
    letter, octave, alteration = spelt
    assert 60 + 12 * octave + SEMITONES_OF[letter] + alteration == pitch


def test_keys_of_folk_tunes_are_found_from_their_notes_and_signatures() -> None:
    right = total = 0
    for folk in FolkCollections().tunes("validation"):
        tune = parse_tune(folk.abc)
        if tune.key.mode not in ("major", "minor", "dorian", "mixolydian"):
            continue
        weights: Counter[int] = Counter()
        notes = [event for event in events(tune) if event.notes]
        for event in notes:
            weights[event.pitches[0] % 12] += float(event.length)
        found = name_key(tune.key.sharps, weights=weights, last=notes[-1].pitches[0] % 12)
        right += parse_key(found) == tune.key
        total += 1
    assert right > 0.9 * total > 0.9 * 200
