import pytest

from chatmusician.music.chord_symbols import chord_names, names_chord, with_chords, without_chords
from chatmusician.music.layout import lay_out
from chatmusician.music.lexer import Kind, Token
from chatmusician.music.transposition import transpose_tune
from chatmusician.music.tunes import parse_tune

NAMES = ["G", "F#", "Bb", "Dm", "Cmaj7", "Am7b5", "Gm7", "E7#9", "Asus4", "A7sus4", "Bdim7", "Caug", "C+", "Ebm(maj7)"]
NAMES += ["C6/9", "Dadd9", "D/F#", "Am/c", "G13", "F°7", "Bbm6", "DM7", "G7alt"]
OTHERS = ["Segno", "D.C.", "4", "End", "Fine", "A minor", "H", "DANCE", "crescendo", "", "g", "Gb#"]


def tune(body: str):
    return parse_tune(f"X:1\nL:1/8\nM:4/4\nK:C\n{body}\n")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_chords_survive_the_layout(name: str) -> None:
    body = f'"{name}"C4 E2G2 | c8 |]\n'
    assert lay_out(tune(body)) == f"X:1\nL:1/8\nM:4/4\nK:C\n{body}"
    assert chord_names(tune(body)) == (name,)


@pytest.mark.parametrize("text", OTHERS)
def test_other_texts_are_no_chords(text: str) -> None:
    assert not names_chord(Token(Kind.CHORD_SYMBOL, f'"{text}"', 1, 1))
    assert lay_out(tune(f'"{text}"C8 |]')) == "X:1\nL:1/8\nM:4/4\nK:C\nC8 |]\n"


def test_an_annotation_is_no_chord() -> None:
    assert chord_names(tune('"^G"C4 "_Am"E4 "C7"z8 |]')) == ("C7",)


def test_chords_are_taken_out_and_put_in() -> None:
    whole = tune('"C"C4 "4"E2"G7"(3GAB | "C"c8 |]')
    plain = tune(without_chords(whole).rstrip("\n"))
    assert plain.body == 'C4 "4"E2(3GAB | c8 |]\n'
    at = {plain.tokens.index(token): token.text for token in plain.tokens if token.text in ("C4", "(3", "c8")}
    names = {index: {"C4": "C", "(3": "G7", "c8": "C"}[text] for index, text in at.items()}
    assert with_chords(plain, names) == whole.body


@pytest.mark.parametrize("name", NAMES)
def test_every_chord_is_transposed(name: str) -> None:
    moved = transpose_tune(f'X:1\nL:1/8\nM:4/4\nK:C\n"{name}"C8 |]\n', semitones=0)
    assert f'"{name}"' in moved
    up = transpose_tune(f'X:1\nL:1/8\nM:4/4\nK:C\n"{name}"C8 |]\n', tonic="D")
    assert f'"{name}"' not in up


def test_a_long_run_of_digits_takes_no_time() -> None:
    """Matched with backtracking it would take as many steps as there are ways to divide the digits."""
    assert not names_chord(Token(Kind.CHORD_SYMBOL, '"C' + "1" * 5000 + '!"', 1, 1))
