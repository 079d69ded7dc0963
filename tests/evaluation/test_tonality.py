import math

import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation.tonality import EndsOnTonic, InKey, PitchClassEntropy


@pytest.mark.parametrize(
    ("body", "key", "value"),
    [
        ("CDEF GABc |]", "C", 1),
        ("CDE^F GABc |]", "C", 7 / 8),
        ("_B4 A4 |]", "Dm", 1),
        ("_B4 A4 |]", "Ddor", 1 / 2),
        ("^C4 D4 |]", "Dm", 1 / 2),  # the raised seventh is not in the signature
        ("C4 [K:D] C4 | =C4 D4 |]", "C", 3 / 4),
        ("[C^F]4 G4 |]", "C", 2 / 3),
        ("^F4-|F4 C4 |]", "C", 1 / 2),
        ("C8 |]", "none", None),
    ],
)
def test_in_key(body: str, key: str, value: float | None) -> None:
    assert InKey().value(answer(body, key=key)) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("body", "key", "value"),
    [
        ("D4 G4 z4 |]", "G", 1),
        ("G4 D4 |]", "G", 0),
        ("D4 [GBd]4 |]", "G", 1),
        ("B4 |]", "Bb", 1),
        ("B4 |]", "Bdor", 1),
        ("G4 |]", "Ab", 0),
        ("V:1\nG4 |]\nV:2\nD4 |]", "G", 1),
        ("G4 |]", "none", None),
    ],
)
def test_ends_on_tonic(body: str, key: str, value: float | None) -> None:
    assert EndsOnTonic().value(answer(body, key=key)) == value


def test_another_signature_does_not_put_notes_out_of_key() -> None:
    tune = "GABc d^cde |]"
    assert InKey().value(answer(tune, key="G")) == InKey().value(answer(tune, key="F")) == 7 / 8


@pytest.mark.parametrize(
    ("body", "bits"),
    [
        ("C2c2 C,2c'2 |]", 0),
        ("CDCD CDCD |]", 1),
        ("C2C2 D2E2 |]", 1.5),
        ("CDEF GABz |]", math.log2(7)),
        ("C^CD^D E=F^F=G | ^G=A^A=B |]", math.log2(12)),
    ],
)
def test_pitch_class_entropy(body: str, bits: float) -> None:
    assert PitchClassEntropy().value(answer(body)) == pytest.approx(bits)


@pytest.mark.parametrize("text", NO_TUNE)
def test_without_a_tune(text: str) -> None:
    assert InKey().value(text_answer(text)) is None
    assert EndsOnTonic().value(text_answer(text)) is None
    assert PitchClassEntropy().value(text_answer(text)) is None
