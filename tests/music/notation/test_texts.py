from fractions import Fraction

import pytest

from chatmusician.music.notation.score import Tempo
from chatmusician.music.notation.texts import plain_text, read_tempo


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" Plain ", "Plain"),
        (r"Ni\~na", "Niña"),
        (r"\"Ubung", "Übung"),
        (r"Fran\ccais", "Français"),
        (r"rock \& roll 100\%", "rock & roll 100%"),
    ],
)
def test_accents_are_composed(value: str, text: str) -> None:
    assert plain_text(value) == text


@pytest.mark.parametrize(
    ("value", "text", "beat", "tempo"),
    [
        ("1/4=120", "", Fraction(1, 4), 120),
        ('"Allegro" 3/8 = 90', "Allegro", Fraction(3, 8), 90),
        ('1/2=60 "Slow"', "Slow", Fraction(1, 2), 60),
        ("1/4 3/8=40", "", Fraction(5, 8), 40),
        ("120", "", None, 120),
        ("C=100", "", Fraction(1, 8), 100),
        ("C3=40", "", Fraction(3, 8), 40),
        ('"Andante"', "Andante", None, None),
        ('"unclosed', "", None, None),
        ("1/0=60", "", None, 60),
        ("", "", None, None),
    ],
)
def test_tempos(value: str, text: str, beat: Fraction | None, tempo: int | None) -> None:
    assert read_tempo(value, unit=Fraction(1, 8)) == Tempo(text=text, beat=beat, beats_a_minute=tempo)
