"""What a run of questions promises. Answers are checked in ``test_theory_music21`` and ``test_theory_rules``."""

from collections import Counter
from itertools import islice

import pytest

from chatmusician.errors import UserError
from chatmusician.music.checks import check_tune
from chatmusician.music.theory.questions import TOPICS, Question, generate, side_of

SPLITS = ("train", "validation", "test")
INCOMPLETE = ("abc_rhythm.wrong_bar", "abc_rhythm.missing")
"""Kinds of questions about a bar that does not add up."""


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return list(generate(seed=5, count=5000))


def test_tunes_parse_and_their_bars_are_right(questions: list[Question]) -> None:
    tunes = [question for question in questions if question.abc]
    assert len(tunes) > 1000
    for question in tunes:
        check = check_tune(question.abc or "")
        assert check.parses, check.reason
        if question.facts.startswith("abc_rhythm.wrong_bar"):
            assert len(check.wrong_bars) == 1
        elif not question.facts.startswith(INCOMPLETE):
            assert not check.wrong_bars, question.abc


def test_letters_are_balanced(questions: list[Question]) -> None:
    """Chi-square with three degrees of freedom exceeds 16.3 once in a thousand uniform runs."""
    for topic in (None, *TOPICS):
        letters = Counter(question.answer for question in questions if topic in (None, question.topic))
        expected = letters.total() / 4
        assert sum((letters[letter] - expected) ** 2 / expected for letter in range(4)) < 16.3, topic


def test_topics_and_levels_take_turns(questions: list[Question]) -> None:
    counts = Counter((question.topic, question.level) for question in questions[:330])
    assert set(counts) == {(topic, level) for topic in TOPICS for level in (1, 2, 3)}
    assert set(counts.values()) == {10}


def test_every_topic_has_several_kinds_and_wordings(questions: list[Question]) -> None:
    for topic in TOPICS:
        kinds = {question.facts.split()[0] for question in questions if question.topic == topic}
        assert len(kinds) >= 4 and all(kind.startswith(f"{topic}.") for kind in kinds)
        for kind in kinds:
            stems = {question.stem for question in questions if question.facts.split()[0] == kind}
            assert len(stems) >= 2, kind


def test_questions_are_plain_text(questions: list[Question]) -> None:
    for question in questions:
        text = question.text + question.explanation
        assert text.isascii() and "{" not in text and "  " not in text, text
        assert question.explanation.endswith(".")


def test_no_question_comes_twice(questions: list[Question]) -> None:
    assert len({question.id for question in questions}) == len(questions)


def test_a_run_is_a_function_of_its_arguments() -> None:
    first = list(generate(seed=1, count=300, split="test"))
    assert first == list(generate(seed=1, count=300, split="test"))
    assert first[:100] == list(generate(seed=1, count=100, split="test"))
    assert first[:50] == list(islice(generate(seed=1, count=10**9, split="test"), 50))
    assert first != list(generate(seed=2, count=300, split="test"))


def test_splits_ask_different_things() -> None:
    facts = {
        split: {question.facts for seed in (1, 2) for question in generate(seed=seed, count=600, split=split)}
        for split in SPLITS
    }
    assert not facts["train"] & facts["test"]
    assert not facts["train"] & facts["validation"]
    assert not facts["validation"] & facts["test"]
    assert all(side_of(fact) == split for split, found in facts.items() for fact in found)


def test_wording_seed_and_level_do_not_move_a_question() -> None:
    by_facts: dict[str, set[str]] = {}
    for question in generate(seed=0, count=1500, topics=["key_signatures"], levels=[1]):
        by_facts.setdefault(question.facts, set()).add(question.stem)
    assert max(map(len, by_facts.values())) >= 4
    assert {side_of(facts) for facts in by_facts} == {"train"}


def test_equal_facts_have_equal_answers() -> None:
    answers: dict[str, str] = {}
    for question in generate(seed=0, count=3000, topics=["intervals", "scales", "chords"]):
        answer = question.options[question.answer]
        assert answers.setdefault(question.facts, answer) == answer


def test_held_out_questions_are_asked_once_and_then_end() -> None:
    found = list(generate(seed=0, count=10**6, topics=["key_signatures"], levels=[1], split="test"))
    assert 0 < len(found) < 50
    assert len({question.facts for question in found}) == len(found)


def test_an_exhausted_topic_leaves_its_turn_to_others() -> None:
    found = list(generate(seed=0, count=400, topics=["key_signatures", "abc_pitch"], levels=[1], split="test"))
    counts = Counter(question.topic for question in found)
    assert counts["key_signatures"] < 50
    assert counts.total() == 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topics": ["harmony"]}, "unknown topic 'harmony'; use some of intervals, "),
        ({"topics": []}, "at least one topic"),
        ({"levels": [4]}, "unknown level 4"),
        ({"levels": []}, "at least one topic and one level"),
        ({"split": "dev"}, "unknown split 'dev'; use one of validation, test, train"),
        ({"count": -1}, "count=-1"),
    ],
)
def test_what_is_not_there_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(**{"seed": 0, "count": 1, **arguments})
