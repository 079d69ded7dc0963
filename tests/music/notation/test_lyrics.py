import pytest

from chatmusician.music.notation.lyrics import put_words
from chatmusician.music.notation.score import Event


def sung(words: str, *, notes: int = 6, bar_starts: tuple[int, ...] = (0,)) -> tuple[list[str], int]:
    """What stands under each note, ``-`` where the word goes on, ``_`` where it is held; and what is left over."""
    events = [Event(pitches=(), length=1) for _ in range(notes)]
    left_over = put_words(words, events, verse=1, bar_starts=bar_starts)
    texts = []
    for event in events:
        syllable = event.syllables.get(1)
        marks = "" if syllable is None else "-" * syllable.hyphenated + "_" * syllable.extended
        texts.append("" if syllable is None else syllable.text + marks)
    return texts, left_over


@pytest.mark.parametrize(
    ("words", "under"),
    [
        ("one two", ["one", "two", "", "", "", ""]),
        ("syl-la-ble two", ["syl-", "la-", "ble", "two", "", ""]),
        ("time__ is", ["time_", "", "", "is", "", ""]),
        ("of-- the", ["of-", "", "the", "", "", ""]),
        ("of - the", ["of-", "", "the", "", "", ""]),
        ("* two * four", ["", "two", "", "four", "", ""]),
        ("in~one a\\-b", ["in one", "a-b", "", "", "", ""]),
        (r"Caf\'e", ["Café", "", "", "", "", ""]),
        ("", [""] * 6),
        ("_ - x", ["", "", "x", "", "", ""]),
    ],
)
def test_syllables_and_notes(words: str, under: list[str]) -> None:
    assert sung(words) == (under, 0)


def test_a_bar_line_goes_on_to_the_next_bar() -> None:
    assert sung("one | two three | four", bar_starts=(0, 2, 4))[0] == ["one", "", "two", "three", "four", ""]


def test_syllables_without_a_note_are_counted() -> None:
    assert sung("a b c d", notes=2) == (["a", "b"], 2)
    assert sung("a | b | c", notes=2, bar_starts=(0,)) == (["a", ""], 2)


def test_words_continue_across_their_syllables() -> None:
    events = [Event(pitches=(), length=1) for _ in range(3)]
    put_words("hap-py you", events, verse=2, bar_starts=(0,))
    assert [(event.syllables[2].continued, event.syllables[2].hyphenated) for event in events] == [
        (False, True),
        (True, False),
        (False, False),
    ]
