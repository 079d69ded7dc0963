import random
from fractions import Fraction

import pytest

from chatmusician.music.midi_events import PlayedNote
from chatmusician.music.quantising import WrittenNote, quantise, sounds_together
from chatmusician.music.scores import ConversionError


def played(*times: tuple[float, float]) -> list[PlayedNote]:
    """Notes that begin and end at these quarters."""
    return [
        PlayedNote(
            start=Fraction(start).limit_denominator(480),
            end=Fraction(end).limit_denominator(480),
            pitch=60 + index,
            velocity=80,
        )
        for index, (start, end) in enumerate(times)
    ]


def written(notes: list[WrittenNote]) -> list[tuple[str, str]]:
    return [(str(note.start), str(note.length)) for note in notes]


def test_the_example_of_the_docstring() -> None:
    notes = played(
        (0.01, 0.45), (0.52, 0.95), (1.02, 1.30), (1.35, 1.60), (1.66, 1.95), (2.00, 2.40), (3.00, 3.80)
    )  # fmt: skip
    assert written(quantise(notes)) == [
        ("0", "1/2"),
        ("1/2", "1/2"),
        ("1", "1/3"),
        ("4/3", "1/3"),
        ("5/3", "1/3"),
        ("2", "1/2"),
        ("3", "3/4"),
    ]


@pytest.mark.parametrize(
    ("times", "starts"),
    [
        ([0, 0.25, 0.5, 0.75, 1], ["0", "1/4", "1/2", "3/4", "1"]),
        ([0, 0.125, 0.25, 0.5, 1], ["0", "1/8", "1/4", "1/2", "1"]),
        ([0, 1 / 3, 2 / 3, 1], ["0", "1/3", "2/3", "1"]),
        ([0, 1 / 6, 1 / 3, 0.5, 0.75, 1], ["0", "1/6", "1/3", "1/2", "3/4", "1"]),
        ([0, 1 / 12, 1 / 6, 0.25, 0.5, 1], ["0", "1/12", "1/6", "1/4", "1/2", "1"]),
        ([0, 0.5, 0.97, 1.5], ["0", "1/2", "1", "3/2"]),  # one comes a little early
        ([0.5, 5 / 6, 7 / 6, 1.5], ["1/2", "5/6", "7/6", "3/2"]),  # a triplet across two quarters
    ],
)
def test_grids(times: list[float], starts: list[str]) -> None:
    notes = played(*((time, time + 0.05) for time in times))
    assert [str(note.start) for note in quantise(notes)] == starts


@pytest.mark.parametrize(
    ("end", "length"),
    [(0.5, "1/2"), (0.51, "1"), (0.95, "1"), (1.0, "1"), (1.02, "1"), (0.49, "1/2"), (0.3, "1/4"), (0.02, "1/4")],
)
def test_a_note_lasts_to_the_next_unless_a_rest_of_an_eighth_is_left(end: float, length: str) -> None:
    assert written(quantise(played((0, end), (1, 2)))) == [("0", length), ("1", "1")]


def test_an_ornament_gives_way_to_its_note() -> None:
    notes = quantise(played((0, 0.9), (1.0, 1.04), (1.05, 1.9), (2, 3)))
    assert [(str(note.start), str(note.length), note.pitch) for note in notes] == [
        ("0", "1", 60),
        ("1", "1", 62),
        ("2", "1", 63),
    ]


def test_a_performance_without_a_beat_is_refused() -> None:
    draw = random.Random(0)
    starts = sorted(draw.uniform(0, 60) for _ in range(100))
    with pytest.raises(ConversionError, match=r"\d+ of its 100 notes begin off the beat's parts; quantise it"):
        quantise(played(*((start, start + 0.1) for start in starts)))


@pytest.mark.parametrize(
    ("times", "together"),
    [
        ([(0, 1), (1, 2)], None),
        ([(0, 1.1), (1, 2)], None),  # legato
        ([(0, 2), (1, 2)], 60),
        ([(0, 1), (0, 1)], 60),
        ([(0, 1), (1, 1.1), (1.04, 2)], 61),
    ],
)
def test_voices_that_sound_together(times: list[tuple[float, float]], together: int | None) -> None:
    found = sounds_together(played(*times))
    assert (found and found.pitch) == together
