import pytest
from asked_models import FIFTH, KEY

from chatmusician.evaluation.choice_questions import (
    ChoiceOutcome,
    ChoiceQuestion,
    group_result,
    option_strings,
    shuffled,
)


def test_zero_shot_strings_to_the_character() -> None:
    text = (
        "Read the following questions from the four options (A, B, C and D) given in each question. "
        "Choose the best option.\n"
        "In which key is this tune?\n"
        "X:1\nK:D\nd2fd Adfd |\n"
        "A. C major\nB. G major\nC. D major\nD. A major\n"
        "Answer: "
    )
    assert option_strings(KEY) == [text + "A", text + "B", text + "C", text + "D"]


def test_examples_stand_between_hint_and_question_with_their_answers() -> None:
    assert option_strings(KEY, [FIFTH])[3] == (
        "Read the following questions from the four options (A, B, C and D) given in each question. "
        "Choose the best option.\n"
        "Which note is a perfect fifth above C?\n"
        "A. F\nB. G\nC. A\nD. B\n"
        "Answer: B\n"
        "In which key is this tune?\n"
        "X:1\nK:D\nd2fd Adfd |\n"
        "A. C major\nB. G major\nC. D major\nD. A major\n"
        "Answer: D"
    )


def test_shuffles_keep_the_right_answer_and_differ() -> None:
    orders = set()
    for number in range(5):
        changed, order = shuffled(KEY, seed=1234, number=number)
        assert changed.options[changed.answer] == "D major"
        assert changed.options == tuple(KEY.options[old] for old in order)
        assert sorted(order) == [0, 1, 2, 3]
        assert (changed, order) == shuffled(KEY, seed=1234, number=number)
        orders.add(order)
    assert len(orders) > 2
    assert orders != {shuffled(KEY, seed=1, number=number)[1] for number in range(5)}


@pytest.mark.parametrize("change", [{"options": ("a", "b", "c")}, {"answer": 4}, {"answer": -1}])
def test_what_is_no_question_is_refused(change: dict[str, object]) -> None:
    fields = {"question_id": "q", "group": "g", "stem": "s", "abc": None, "options": ("a", "b", "c", "d"), "answer": 0}
    with pytest.raises(ValueError, match="four options"):
        ChoiceQuestion(**(fields | change))


def outcome(question_id: str, chosen: int | None, *, answered: bool = True) -> ChoiceOutcome:
    return ChoiceOutcome(question_id=question_id, group="g", answer=0, answered=answered, chosen=chosen)


def test_accuracy_is_the_mean_of_the_questions_own_shares() -> None:
    # q: 1 of 2; r: 1 of 1 answered; s: not answered at all. Mean of 1/2 and 1.
    result = group_result(
        "g",
        [
            outcome("q", 0),
            outcome("q", 2),
            outcome("r", 0),
            outcome("r", None, answered=False),
            outcome("s", None, answered=False),
            outcome("s", None, answered=False),
        ],
    )
    assert (result.questions, result.asked, result.not_answered, result.unreadable) == (3, 6, 3, 0)
    assert result.accuracy is not None
    assert (result.accuracy.low, result.accuracy.estimate, result.accuracy.high) == (0.5, 0.75, 1.0)


def test_a_group_without_answers_has_no_accuracy() -> None:
    result = group_result("g", [outcome("q", None, answered=False)])
    assert result.accuracy is None and result.to_dict()["accuracy"] is None
