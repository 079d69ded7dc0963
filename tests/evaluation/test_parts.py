from chatmusician.data.instructions import Example
from chatmusician.evaluation.parts import identify


def test_ids_are_those_of_the_questions_and_all_different() -> None:
    questions = ["Set a chorale.", "Compose a chorale.", "Set a chorale.", "Set a chorale."]
    examples = [Example(task="bach_style", question=text, answer="X:1", source="bach_style") for text in questions]
    first, second, third, fourth = identify(examples)
    assert first.startswith("bach_style/")
    assert (third, fourth) == (f"{first}/2", f"{first}/3")
    assert second not in (first, third, fourth)
    assert identify(examples[1:2]) == [second]
