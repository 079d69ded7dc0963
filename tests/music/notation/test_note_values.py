from fractions import Fraction

import pytest

from chatmusician.music.notation.note_values import SHORTEST, TYPES, note_values, split_odd


@pytest.mark.parametrize(
    ("length", "looks"),
    [
        (Fraction(1, 4), [("quarter", 0)]),
        (Fraction(3, 8), [("quarter", 1)]),
        (Fraction(7, 16), [("quarter", 2)]),
        (Fraction(5, 8), [("half", 0), ("eighth", 0)]),
        (Fraction(9, 8), [("whole", 0), ("eighth", 0)]),
        (Fraction(13, 16), [("half", 1), ("16th", 0)]),
        (Fraction(3), [("breve", 1)]),
        (Fraction(5), [("breve", 1), ("breve", 0)]),
        (Fraction(1, 1024), [("1024th", 0)]),
        (Fraction(1, 4096), [("1024th", 0)]),
    ],
)
def test_lengths_as_notes(length: Fraction, looks: list[tuple[str, int]]) -> None:
    values = note_values(length)
    assert [(value.type, value.dots) for value in values] == looks
    assert sum(value.length for value in values) == length


def test_every_length_is_kept_by_few_notes() -> None:
    for number in range(1, 600):
        values = note_values(number * SHORTEST)
        assert sum(value.length for value in values) == number * SHORTEST
        assert len(values) <= 6


def test_types_are_halves_of_one_another() -> None:
    names = [TYPES[length] for length in sorted(TYPES, reverse=True)]
    assert names == [
        "breve",
        "whole",
        "half",
        "quarter",
        "eighth",
        "16th",
        "32nd",
        "64th",
        "128th",
        "256th",
        "512th",
        "1024th",
    ]


@pytest.mark.parametrize(("kind", "flags"), [("half", 0), ("quarter", 0), ("eighth", 1), ("16th", 2), ("1024th", 8)])
def test_flags(kind: str, flags: int) -> None:
    (length,) = [length for length, name in TYPES.items() if name == kind]
    assert note_values(length)[0].flags == flags


@pytest.mark.parametrize(
    ("length", "split"),
    [
        (Fraction(1, 8), (Fraction(1, 8), 1, 1)),
        (Fraction(1, 12), (Fraction(1, 8), 3, 2)),
        (Fraction(2, 5), (Fraction(1, 2), 5, 4)),
        (Fraction(1, 7), (Fraction(1, 4), 7, 4)),
    ],
)
def test_odd_lengths_are_notes_of_a_tuplet(length: Fraction, split: tuple[Fraction, int, int]) -> None:
    assert split_odd(length) == split
    shown, actual, normal = split
    assert shown * normal / actual == length
