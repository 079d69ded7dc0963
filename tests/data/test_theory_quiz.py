import json
import re
from pathlib import Path

import pytest
import yaml

from chatmusician.data.theory_quiz import INSTRUCTION, TheoryQuiz
from chatmusician.errors import UserError
from chatmusician.music.theory.questions import ALL

SPLITS = ("train", "validation", "test")
CHAT = re.compile(
    re.escape(f"Human: {INSTRUCTION}\n")
    + r"(?P<stem>.+\n)(?P<abc>X:1\n(?:.+\n)+?)?A\. (.+)\nB\. (.+)\nC\. (.+)\nD\. (.+) </s> "
    r"Assistant: (?:(?P<reason>.+)\n)?(?P<letter>[ABCD])\. (?P<answer>.+) </s> "
)


def quiz(**changes: object) -> TheoryQuiz:
    return TheoryQuiz(**{"questions": 200, "held_out": 60, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("explain", [True, False])
def test_documents_are_questions_with_options_and_the_answer(explain: bool) -> None:
    corpus = quiz(explain=explain)
    pairs = list(zip(corpus.documents("train"), corpus.questions("train"), strict=True))
    assert len(pairs) == 200
    for document, question in pairs:
        match = CHAT.fullmatch(document.text)
        assert match, document.text
        assert match.group(3, 4, 5, 6) == question.options
        assert question.options["ABCD".index(match["letter"])] == match["answer"]
        assert match["reason"] == (question.explanation if explain else None)
        assert (match["abc"] or "").rstrip("\n") == (question.abc or "")
        assert document.source == question.topic
        assert document.origin == f"question {question.id}"


def test_the_loss_is_on_reasoning_and_answer() -> None:
    document = next(quiz(topics=["chords"], levels=[1]).documents("train"))
    ((start, end),) = document.trained
    assert document.text[:start].endswith(" </s> ")
    assert document.text[start:end].startswith("Assistant: ")
    assert end == len(document.text)


def test_each_split_has_its_size_and_its_own_questions() -> None:
    corpus = quiz()
    texts = {split: [document.text for document in corpus.documents(split)] for split in SPLITS}
    assert [len(texts[split]) for split in SPLITS] == [200, 60, 60]
    facts = {split: {question.facts for question in corpus.questions(split)} for split in SPLITS}
    assert not facts["train"] & facts["test"] and not facts["validation"] & facts["test"]
    assert texts["test"] == [document.text for document in quiz().documents("test")]
    assert not corpus.rejections()


def test_what_decides_the_documents_is_described() -> None:
    described = quiz().describe()
    assert json.loads(json.dumps(described)) == described
    assert described == quiz().describe()
    for change in ({"questions": 9}, {"held_out": 9}, {"topics": ["scales"]}, {"levels": [1]}, {"seed": 3}):
        assert quiz(**change).describe() != described
    assert quiz(explain=False).describe() != described


def test_only_topics_and_levels_asked_for_come() -> None:
    found = list(quiz(topics=["meters", "scales"], levels=[2]).questions("validation"))
    assert {(question.topic, question.level) for question in found} == {("meters", 2), ("scales", 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": 0}, "corpus.questions=0: use at least 1 question"),
        ({"held_out": -1}, "corpus.held_out=-1: use at least 1 question"),
        ({"topics": ["harmony"]}, "unknown topic 'harmony'"),
        ({"levels": [0]}, "unknown level 0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        quiz(**change)


def test_the_configuration_names_every_topic() -> None:
    path = Path(__file__).resolve().parents[2] / "conf/corpus/theory_quiz.yaml"
    assert yaml.safe_load(path.read_text())["topics"] == list(ALL)
