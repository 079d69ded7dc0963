import pytest
from made_answers import answer, text_answer

from chatmusician.evaluation.labelling import LabelDistance, LabelExact
from chatmusician.evaluation.requirements import Requirements

ASKED = Requirements(solution="['GABc', 'dedB']")


@pytest.mark.parametrize(
    ("text", "exact", "distance"),
    [
        ("['GABc', 'dedB']", 1, 0),
        (" ['GABc', 'dedB']\n", 1, 0),
        ("['GABd', 'dedB']", 0, 1),
        ("['GABc']", 0, 8),
        ("The motifs: ['GABc', 'dedB']", 0, 12),
        ("", 0, 16),
    ],
)
def test_labels(text: str, exact: float, distance: float) -> None:
    read = text_answer(text, asked=ASKED)
    assert (LabelExact().value(read), LabelDistance().value(read)) == (exact, distance)


def test_questions_for_tunes_are_left_out() -> None:
    assert (LabelExact().value(answer("C8 |]")), LabelDistance().value(answer("C8 |]"))) == (None, None)
