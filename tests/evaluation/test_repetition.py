import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation.repetition import RepeatedBars, RepeatSigns


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("C8 :|", 1),
        ("|: C8 :: D8 :|", 1),
        ("|: C8 |1 D8 :|2 E8 |]", 1),
        ("|: C8 | D8 |]", 0),  # opens a repeat and never closes it
        ("C8 || D8 |]", 0),
    ],
)
def test_repeat_signs(body: str, value: float) -> None:
    assert RepeatSigns().value(answer(body)) == value


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("GABc d4 | d8 | GA Bc d4 |]", 2 / 3),
        ('GABc d4 | "G"GABc (d4) | {e}GABc d4 |]', 1),
        ("GABc d4 | GABc d4- | GABc d3z | gabc' d'4 |]", 0),
        ("C8 | C8 | D8 | D8 | E8 |]", 4 / 5),
        ("z8 | z8 | C8 |]", 0),
    ],
)
def test_repeated_bars(body: str, value: float) -> None:
    assert RepeatedBars().value(answer(body)) == pytest.approx(value)


@pytest.mark.parametrize("text", NO_TUNE)
def test_without_a_tune(text: str) -> None:
    assert RepeatSigns().value(text_answer(text)) == 0
    assert RepeatedBars().value(text_answer(text)) is None
