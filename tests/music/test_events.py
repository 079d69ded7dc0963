from fractions import Fraction

import pytest

from chatmusician.data.folk import FolkCollections
from chatmusician.music.durations import measure
from chatmusician.music.events import events, melodic_intervals, scale_of, sounding
from chatmusician.music.keys import parse_key
from chatmusician.music.tunes import parse_tune


def tune(body: str, *, key: str = "C", meter: str = "4/4"):
    return parse_tune(f"X:1\nL:1/8\nM:{meter}\nK:{key}\n{body}\n")


@pytest.mark.parametrize(
    ("body", "lengths"),
    [
        ("(3FGA B>c d4 |", ["1/12", "1/12", "1/12", "3/16", "1/16", "1/2"]),
        ("A<<B [CE]2 z/ |", ["1/32", "7/32", "1/4", "1/16"]),
        ("A [L:1/4] A (5ABcde |", ["1/8", "1/4"] + ["1/10"] * 5),
        ("{gf}A2 [M:6/8] (5ABcde |", ["1/4"] + ["3/40"] * 5),
        ("Z2 | Z |", ["2", "1"]),
    ],
)
def test_lengths(body: str, lengths: list[str]) -> None:
    assert [event.length for event in events(tune(body))] == [Fraction(length) for length in lengths]


def test_pitches_follow_key_and_accidentals() -> None:
    found = events(tune("F ^c | c [FA] [K:F] B", key="G"))
    assert [event.pitches for event in found] == [(66,), (73,), (72,), (66, 69), (70,)]
    assert [event.bar for event in found] == [0, 0, 1, 1, 1]


def test_tied_notes_are_one() -> None:
    sounds = sounding(events(tune("C2- | C2 z2 C- D [CE]-[CE]")))
    assert [(sound.pitches, sound.length * 8) for sound in sounds] == [
        ((60,), 4),
        ((60,), 1),
        ((62,), 1),
        ((60, 64), 2),
    ]


def test_intervals_stay_within_a_voice() -> None:
    found = sounding(events(tune("V:1\nC E G z c |\nV:2\nc [Gc] | C & E\n")))
    assert list(melodic_intervals(found)) == [4, 3, 5, -5, -7]


@pytest.mark.parametrize(
    ("key", "scale"),
    [
        ("C", {0, 2, 4, 5, 7, 9, 11}),
        ("Ddor", {0, 2, 4, 5, 7, 9, 11}),
        ("Dm", {0, 2, 4, 5, 7, 9, 10}),
        ("Amix", {1, 2, 4, 6, 7, 9, 11}),
        ("Dphr ^f", {0, 2, 3, 6, 7, 9, 10}),
        ("none", None),
        ("HP", None),
    ],
)
def test_scales_go_by_mode(key: str, scale: set[int] | None) -> None:
    assert scale_of(parse_key(key)) == scale


def test_what_is_written_the_same_compares_equal() -> None:
    one, other = events(tune('(AB) c2- | "G"c'))[:3], events(tune("A B c2-"))
    assert [event.written for event in one] == [event.written for event in other]
    assert events(tune("c2"))[0].written != one[2].written


def test_bars_of_real_tunes_last_what_durations_says() -> None:
    for folk_tune in FolkCollections().tunes("validation"):
        parsed = parse_tune(folk_tune.abc)
        bars: dict[tuple[str, int], Fraction] = {}
        for event in events(parsed):
            bars[event.voice, event.bar] = bars.get((event.voice, event.bar), Fraction(0)) + event.length
        assert list(bars.values()) == [bar.duration for voice in measure(parsed) for bar in voice]
