"""Every answer of 5,000 questions against music21, or against plain counting where it has no notion."""

import re

import pytest
from music21 import interval
from music21_readings import KNOWN_TO_MUSIC21, SOUNDS_LOWER, semitones_by_name, sound
from theory_judges import judge

from chatmusician.music.theory.questions import Question, generate


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return list(generate(seed=5, count=5000))


def test_every_answer_is_right_and_every_other_option_wrong(questions: list[Question]) -> None:
    for question in questions:
        is_right = judge(question)
        found = [index for index, option in enumerate(question.options) if is_right(option)]
        assert found == [question.answer], f"{question.facts}\n{question.text}\n{question.answer_text}"


def test_the_instruments_are_those_of_music21() -> None:
    for name, kind in KNOWN_TO_MUSIC21.items():
        distance = interval.Interval(SOUNDS_LOWER[name].lstrip("-"))
        assert kind().transposition.semitones == -distance.semitones, name


NOTE = r"[A-G](?:#{1,2}|b{1,2})?"


def sounds_of(option: str) -> tuple[object, ...]:
    """What notes or a chord or key by name sound like; other options stand for themselves."""
    if re.fullmatch(rf"{NOTE}(?: {NOTE})*", option):
        return tuple(map(sound, option.split()))
    if match := re.fullmatch(rf"({NOTE}) ?([a-z7(].*)", option):
        return sound(match[1]), match[2]
    return (option,)


def test_options_differ_and_sound_different_unless_a_spelling_is_asked_for(questions: list[Question]) -> None:
    for question in questions:
        assert len(set(question.options)) == 4
        if "spell" in question.stem:
            continue
        heard = [sounds_of(option) for option in question.options]
        right = heard[question.answer]
        assert heard.count(right) == 1, question.text
        if question.facts.split()[0] not in ("abc_keys.transpose", "chords.symbol"):
            assert len(set(heard)) == 4, question.text
        sizes = [semitones_by_name().get(option, option) for option in question.options]
        assert sizes.count(sizes[question.answer]) == 1, question.text
