"""The forms' questions are those of training, to the character."""

import pytest

from chatmusician.data.instructions import TASKS
from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.errors import UserError
from chatmusician.webapp.forms import FORMS, ask_for_chords, ask_for_description, ask_for_form, ask_for_harmony

TUNE = (
    "X:1\nL:1/8\nM:6/8\nK:G\n"
    '"G"G2B d2B | "C"c2e "D7"d2c | "G"B2d "D7"A2F | "G"G3 G3 ::\n"Em"g2e e2f | "C"g2e c2e | "D"d2f a2f | "G"g3 g3 :|\n'
)


def trained(task: str, tune: LabelledTune) -> tuple[str, str]:
    """The instruction in its first wording, and the input, as training writes them."""
    question = TASKS[task].build(tune)
    assert question is not None
    return TASKS[task].instructions[0], question.material


def test_each_form_writes_the_question_of_its_task() -> None:
    tune = LabelledTune(TUNE, rhythm="Jig")
    header = {"meter": "6/8", "unit_note_length": "1/8", "key": "G"}
    motifs = "\n".join(tune.motifs)
    assert tune.letters == "AB"
    assert ask_for_chords("G C D7 G, D7 | G Em C D G") == "\n".join(trained("chords_to_music", tune))
    assert ask_for_description(rhythm="Jig", **header) == "\n".join(trained("text_to_score", tune))
    assert ask_for_harmony(TUNE) == "\n".join(trained("harmonisation", tune))
    assert ask_for_form(form="AB", motifs=motifs, **header) == "\n".join(trained("letters_and_motif_to_music", tune))
    terms = "Binary, Sectional: Verse/Chorus"
    assert terms in FORMS
    assert ask_for_form(form=terms, motifs=motifs, **header) == "\n".join(trained("terms_and_motif_to_music", tune))
    assert ask_for_form(form=terms, motifs="", **header) == "\n".join(trained("form_to_music", tune))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"form": "AABA", "motifs": ""}, "the letters AABA come with motifs"),
        ({"form": "", "motifs": ""}, "the form has 0 characters"),
        ({"form": "AB", "motifs": "C\n" * 21}, "21 motifs were given: write at most 20"),
        ({"form": "AB", "motifs": "CD", "meter": "6/7"}, "the meter: '6/7' is not a meter"),
        ({"form": "AB", "motifs": "CD", "unit_note_length": "1/0"}, "the unit note length: '1/0'"),
        ({"form": "AB", "motifs": "CD", "key": "H"}, "the key: 'H'"),
    ],
)
def test_what_a_field_cannot_hold_is_named(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        ask_for_form(**{"meter": "6/8", "unit_note_length": "1/8", "key": "G", **fields})


@pytest.mark.parametrize(
    ("chords", "reason"),
    [("", "0 chords were given"), ("G " * 201, "201 chords were given"), ("G H7", "'H7' is not the name of a chord")],
)
def test_chords_are_read(chords: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        ask_for_chords(chords)


@pytest.mark.parametrize(
    ("melody", "reason"),
    [
        (" ", "there is no melody"),
        ("C" * 30_001, "characters: the most is 30000"),
        ("CDE", "not a field"),
    ],
)
def test_a_melody_is_read(melody: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        ask_for_harmony(melody)
