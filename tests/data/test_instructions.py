import pytest

from chatmusician.data.instructions import TASKS, LabelledTune, find_tasks
from chatmusician.errors import UserError

TUNE = """X:1
L:1/8
M:4/4
K:G
|: G2BG dGBG | G2BG dGBd ::
c2ec gcec | c2ec gcea :|
"""
HARMONISED = TUNE.replace("|: G2BG", '|: "G"G2BG').replace("c2ec gcec", '"C"c2ec gcec')
HEADER = "X:1\nL:1/8\nM:4/4\nK:G"
TERMS = "Binary, Sectional: Verse/Chorus"
MOTIFS = "['G2BG dGB', 'c2ec gce']"  # of six notes, they come twice; of seven none does


EXTRACTIONS = {"motif_extraction", "form_extraction"}
CHORALE = """X:1
L:1/8
M:4/4
V:S clef=treble
V:A clef=treble
V:T clef=bass
V:B clef=bass
K:G
[V:S] d4 d4 | d8 |]
[V:A] B4 A4 | B8 |]
[V:T] G4 F4 | G8 |]
[V:B] G,4 D4 | G,8 |]
"""


def labelled(abc: str) -> LabelledTune:
    return LabelledTune(abc, rhythm="Reel ")


def ask(name: str, tune: LabelledTune) -> tuple[str, str]:
    """The input of the question, below its instruction, and the answer."""
    example = TASKS[name].example(tune)
    assert example is not None
    assert example.task == name
    instruction, material = example.question.split("\n", 1)
    assert instruction in TASKS[name].instructions
    return material, example.answer


@pytest.mark.parametrize(
    ("name", "material", "answer"),
    [
        ("text_to_score", "Meter 4/4\nKey G\nNote Length 1/8\nRhythm reel", TUNE),
        ("form_to_music", TERMS, TUNE),
        ("letters_and_motif_to_music", f"'AB';{HEADER}\n{MOTIFS}", TUNE),
        ("terms_and_motif_to_music", f"['Binary', 'Sectional: Verse/Chorus'];{HEADER}\n{MOTIFS}", TUNE),
        ("motif_extraction", TUNE, MOTIFS),
        ("form_extraction", TUNE, TERMS),
        ("chords_to_music", "'G', 'C'", HARMONISED),
        ("harmonisation", TUNE, HARMONISED),
        ("key_identification", TUNE.replace("K:G", "K:none"), "G"),
        ("meter_identification", TUNE.replace("M:4/4\n", ""), "4/4"),
        ("rhythm_identification", TUNE, "reel"),
    ],
)
def test_each_task_on_one_tune(name: str, material: str, answer: str) -> None:
    assert ask(name, labelled(TUNE)) == (material, answer)


def test_a_tune_without_rhythm_does_not_name_one() -> None:
    material, _ = ask("text_to_score", LabelledTune(TUNE))
    assert material == "Meter 4/4\nKey G\nNote Length 1/8"


def test_a_tune_without_motif_is_not_asked_for_one() -> None:
    """One note and one rest a bar: there are no two notes in a row."""
    tune = labelled("X:1\nL:1/1\nM:4/4\nK:C\nC |]\n")
    names = {name for name, task in TASKS.items() if task.example(tune) is not None}
    one_voice = set(TASKS) - {"bach_style"}
    assert names == one_voice - {name for name in TASKS if "motif" in name}


def test_the_wording_is_a_function_of_the_tune() -> None:
    example = TASKS["text_to_score"].example
    assert example(labelled(TUNE)) == example(labelled(TUNE))
    keys = [TUNE.replace("K:G", f"K:{key}") for key in ("A", "Bb", "C", "D", "E", "F", "Am", "Dm", "Em", "Gm")]
    questions = [example(labelled(abc)) for abc in keys]
    assert len({question.question.split("\n")[0] for question in questions if question is not None}) > 1


def test_every_task_has_several_wordings() -> None:
    wordings = [wording for task in TASKS.values() for wording in task.instructions]
    old = {"form_to_music", "letters_and_motif_to_music", "terms_and_motif_to_music"} | EXTRACTIONS
    assert all(len(task.instructions) >= (4 if name in old else 5) for name, task in TASKS.items())
    assert len(set(wordings)) == len(wordings)


def test_tasks_are_found_by_name() -> None:
    assert [task.name for task in find_tasks(["form_extraction", "text_to_score"])] == [
        "form_extraction",
        "text_to_score",
    ]
    with pytest.raises(UserError, match="unknown instruction task 'chords'; use one of text_to_score, "):
        find_tasks(["text_to_score", "chords"])


def test_a_chorale_is_asked_for_without_any_material() -> None:
    example = TASKS["bach_style"].example(labelled(CHORALE))
    assert example is not None
    assert example.question in TASKS["bach_style"].instructions
    assert example.answer == CHORALE
    assert TASKS["bach_style"].example(labelled(TUNE)) is None
    others = ("harmonisation", "chords_to_music", "key_identification")
    assert [TASKS[name].example(labelled(CHORALE)) for name in others] == [None] * 3


@pytest.mark.parametrize(
    ("body", "chords", "synthetic"),
    [
        ('"Em"G2BG dGBG | "C7"G2BG dGBd |]', "'Em', 'C7'", False),  # as the source has them
        ('"Em"G2BG dGBG | G2BG dGBd | gdBG g4 | G2BG dGBd | gdBG g4 |]', "'G'", True),  # one chord in five bars: stray
        ("G2BG dGBG | G2BG dGBd |]", "'G'", True),
    ],
)
def test_chords_are_those_of_the_source_or_counted_apart(body: str, chords: str, synthetic: bool) -> None:
    tune = labelled(f"X:1\nL:1/8\nM:4/4\nK:G\n{body}\n")
    source = "{}_synthetic" if synthetic else "{}"
    example = TASKS["chords_to_music"].example(tune)
    assert example is not None
    assert example.question.split("\n", 1)[1] == chords
    assert example.source == source.format("chords_to_music")
    example = TASKS["harmonisation"].example(tune)
    assert example is not None
    assert '"' not in example.question
    assert example.source == source.format("harmonisation")


@pytest.mark.parametrize(
    ("task", "header", "body", "answer"),
    [
        ("key_identification", "M:4/4\nK:Ador", "A2 f2 e4 |]", "Ador"),
        ("key_identification", "M:4/4\nK:HP", "A2 f2 e4 |]", None),
        ("key_identification", "M:4/4\nK:none", "A2 f2 e4 |]", None),
        ("key_identification", "M:4/4\nK:D", "A2 f2 e4 | [K:G] G8 |]", None),
        ("meter_identification", "M:C\nK:D", "A8 |]", "4/4"),
        ("meter_identification", "M:2+3/8\nK:D", "A5 |]", "5/8"),
        ("meter_identification", "M:C|\nK:D", "A8 |]", None),  # the notes do not tell it from 4/4
        ("meter_identification", "M:none\nK:D", "A8 |]", None),
        ("meter_identification", "M:4/4\nK:D", "A8 | A7 | A8 |]", None),  # a bar is too short
        ("meter_identification", "M:4/4\nK:D", "A8 | [M:3/4] A6 |]", None),
        ("chords_to_music", "M:4/4\nK:D", "A8 | A7 | A8 |]", None),
        ("harmonisation", "M:4/4\nK:HP", "A8 | A8 |]", None),
    ],
)
def test_tunes_that_leave_a_doubt_are_not_asked(task: str, header: str, body: str, answer: str | None) -> None:
    example = TASKS[task].example(labelled(f"X:1\nL:1/8\n{header}\n{body}\n"))
    assert (example and example.answer) == answer


@pytest.mark.parametrize(
    ("rhythm", "answer"),
    [("Reel", "reel"), (" Slip  Jig", "slip jig"), ("slipjig", "slip jig"), ("", None), (None, None), ("x" * 31, None)],
)
def test_kinds_of_tunes(rhythm: str | None, answer: str | None) -> None:
    example = TASKS["rhythm_identification"].example(LabelledTune(TUNE, rhythm=rhythm))
    assert (example and example.answer) == answer


@pytest.mark.parametrize("task", ["key_identification", "meter_identification", "rhythm_identification"])
def test_the_wording_tells_nothing_of_a_short_answer(task: str) -> None:
    """All these tunes have the same answer; were the wording chosen by it, it would be one wording."""
    tunes = [labelled(TUNE.replace("gcea", f"gc{a}{b}")) for a in "abcde" for b in "abcd"]
    examples = [TASKS[task].example(tune) for tune in tunes]
    assert len({example.answer for example in examples if example}) == 1
    assert len({example.question.split("\n")[0] for example in examples if example}) >= 4
