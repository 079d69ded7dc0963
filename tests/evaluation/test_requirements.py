from fractions import Fraction

import pytest

from chatmusician.data.folk import FolkTasks
from chatmusician.data.instructions import TASKS
from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.errors import UserError
from chatmusician.evaluation.requirements import (
    COMPOSITION_TASKS,
    IDENTIFICATION_TASKS,
    LABEL_TASKS,
    Requirements,
    read_requirements,
)
from chatmusician.music.chord_symbols import chord_names, without_chords
from chatmusician.music.keys import parse_key
from chatmusician.music.layout import write_length
from chatmusician.music.tunes import parse_tune

TUNE = "X:1\nL:1/8\nM:4/4\nK:G\n|: G2BG dGBG | G2BG dGBd ::\nc2ec gcec | c2ec gcea :|\n"


def asked(task: str, material: str) -> Requirements:
    return read_requirements(task, f"Do as the text below says.\n{material}")


def test_text_to_score() -> None:
    found = asked("text_to_score", "Meter C|\nNotes ABc\nKey Ador\nNote Length 1/16\nRhythm reel")
    assert found.meter is not None
    assert (found.meter.text, found.key, found.unit_note_length) == ("C|", parse_key("Ador"), Fraction(1, 16))
    assert (found.letters, found.terms, found.motifs, found.chords) == (None, (), (), ())


def test_form_to_music() -> None:
    terms = ("Ternary", "Sectional: Verse/Chorus/Bridge")
    assert asked("form_to_music", "Ternary, Sectional: Verse/Chorus/Bridge").terms == terms


@pytest.mark.parametrize("letters", ["A", "ABCA", "AA'", "AA''B'A"])
def test_letters_and_motif(letters: str) -> None:
    material = f"'{letters}';X:1\nL:1/16\nM:2/4\nK:A\n['E2GB d2c2 B2A2', 'c''2 (3ABc', 'A,, d'']"
    found = asked("letters_and_motif_to_music", material)
    assert found.letters == letters
    assert found.key == parse_key("A")
    assert found.unit_note_length == Fraction(1, 16)
    assert [len(motif) for motif in found.motifs] == [7, 4, 2]
    assert [event.notes[0].octave for motif in found.motifs[1:] for event in motif] == [3, 0, 0, 1, -2, 2]
    assert [event.units for event in found.motifs[1]] == [2, Fraction(2, 3), Fraction(2, 3), Fraction(2, 3)]


def test_terms_and_motif() -> None:
    material = "['Binary', 'Sectional: Verse/Chorus'];X:1\nL:1/16\nM:2/4\nK:G\n['G2BG A2cA B2dB', '(gf)(ge) (ed)(cB)']"
    found = asked("terms_and_motif_to_music", material)
    assert found.terms == ("Binary", "Sectional: Verse/Chorus")
    assert [len(motif) for motif in found.motifs] == [9, 8]


def test_chords_to_music() -> None:
    assert asked("chords_to_music", "'Dm', 'C', 'F#m7', 'G/B'").chords == ("Dm", "C", "F#m7", "G/B")


def test_harmonisation() -> None:
    score = asked("harmonisation", TUNE).score
    assert score is not None
    assert score.body == TUNE.split("K:G\n")[1].rstrip("\n")


@pytest.mark.parametrize(
    ("task", "solution"),
    [("motif_extraction", "['G2BG dGB', 'c2ec gce']"), ("form_extraction", "Binary, Sectional: Verse/Chorus")],
)
def test_labels_come_from_the_tune(task: str, solution: str) -> None:
    assert asked(task, TUNE).solution == solution


@pytest.mark.parametrize(
    ("task", "material", "reason"),
    [
        ("text_to_score", "Meter 4/4\nKey G", "it has 0 lines that begin with 'Note Length'"),
        ("text_to_score", "Meter 4/4\nKey Q\nNote Length 1/8", "'Q' is not a key"),
        ("form_to_music", "", "it names no form"),
        ("letters_and_motif_to_music", "'AB';X:1\nK:G", "it has no form, header and list of motifs"),
        ("letters_and_motif_to_music", "AB;X:1\nK:G\n['AB']", "'AB' is not a form in letters"),
        ("letters_and_motif_to_music", "'AB';X:1\nK:G\n['AB', 'h']", "one of its motifs has no note"),
        ("letters_and_motif_to_music", "'AB';X:1\nK:Q\n['AB']", "'Q' is not a key"),
        ("chords_to_music", "Dm, C", "'Dm, C' is not a list"),
        ("chords_to_music", "'Dm', '', 'C'", "one of its items in quotation marks is empty"),
        ("harmonisation", "a tune, please", "it has no tune"),
        ("form_extraction", "nothing", "it has no tune"),
    ],
)
def test_other_questions_are_refused(task: str, material: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"is not a question of {task}: .*{reason}"):
        asked(task, material)


def test_bach_style_asks_for_four_voices() -> None:
    assert read_requirements("bach_style", "Set a chorale for choir.").voices == 4


@pytest.mark.parametrize("task", IDENTIFICATION_TASKS)
def test_what_is_to_be_identified_is_not_in_the_question(task: str) -> None:
    question = f"What is it?\n{TUNE.replace('K:G', 'K:none')}"
    assert read_requirements(task, question, expected="G").solution == "G"
    with pytest.raises(UserError, match=f"the right answer to 'What is it.* of {task} is not in the question"):
        read_requirements(task, question)
    with pytest.raises(UserError, match=f"is not a question of {task}: it has no tune"):
        read_requirements(task, "What is it?\nNo tune.", expected="G")


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(UserError, match="unknown task 'dance' to evaluate; use one of text_to_score, "):
        asked("dance", "")


def test_every_task_of_the_data_can_be_read() -> None:
    assert set(TASKS) == {*COMPOSITION_TASKS, *LABEL_TASKS}


def test_questions_of_real_tunes_ask_for_what_the_tunes_are() -> None:
    for example in FolkTasks(tasks=["letters_and_motif_to_music", "text_to_score"]).examples("validation"):
        found = read_requirements(example.task, example.question)
        label = LabelledTune(example.answer)
        assert found.unit_note_length is not None
        assert found.key == label.tune.key
        assert found.meter == label.tune.meter
        assert write_length(found.unit_note_length) == write_length(label.tune.unit_note_length)
        if found.letters is not None:
            assert found.letters == label.letters
            assert len(found.motifs) == len(label.motifs)


def test_chords_asked_for_are_those_of_the_answer() -> None:
    tasks = ["chords_to_music", "harmonisation"]
    for example in list(FolkTasks(tasks=tasks, collections=["miscFolk"], held_out=0.2).examples("validation"))[:40]:
        found = read_requirements(example.task, example.question)
        answer = parse_tune(example.answer)
        if example.task == "chords_to_music":
            assert found.chords == chord_names(answer)
        else:
            assert found.score is not None
            assert not chord_names(found.score)
            assert without_chords(answer).rstrip("\n") == found.score.body
