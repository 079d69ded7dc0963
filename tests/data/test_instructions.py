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
HEADER = "X:1\nL:1/8\nM:4/4\nK:G"
TERMS = "Binary, Sectional: Verse/Chorus"
MOTIFS = "['G2BG dGB', 'c2ec gce']"  # of six notes, they come twice; of seven none does


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
    assert names == {"text_to_score", "form_to_music", "form_extraction"}


def test_the_wording_is_a_function_of_the_tune() -> None:
    example = TASKS["text_to_score"].example
    assert example(labelled(TUNE)) == example(labelled(TUNE))
    keys = [TUNE.replace("K:G", f"K:{key}") for key in ("A", "Bb", "C", "D", "E", "F", "Am", "Dm", "Em", "Gm")]
    questions = [example(labelled(abc)) for abc in keys]
    assert len({question.question.split("\n")[0] for question in questions if question is not None}) > 1


def test_every_task_has_several_wordings() -> None:
    wordings = [wording for task in TASKS.values() for wording in task.instructions]
    assert all(len(task.instructions) >= 4 for task in TASKS.values())
    assert len(set(wordings)) == len(wordings)


def test_tasks_are_found_by_name() -> None:
    assert [task.name for task in find_tasks(["form_extraction", "text_to_score"])] == [
        "form_extraction",
        "text_to_score",
    ]
    with pytest.raises(UserError, match="unknown instruction task 'chords'; use one of text_to_score, "):
        find_tasks(["text_to_score", "chords"])
