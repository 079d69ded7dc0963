import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation import controllability as control
from chatmusician.evaluation.answers import AnswerMean
from chatmusician.evaluation.requirements import Requirements, read_requirements

HEADER = "X:1\nL:1/8\nM:4/4\nK:C\n"
SCORE = "cdec A2G2 | E2G2 c4 |]"
FACTS = read_requirements("text_to_score", "Write.\nMeter C\nKey Ador\nNote Length 1/8")
FORM = read_requirements("form_to_music", "Write.\nBinary, Sectional: Verse/Chorus")
MOTIFS = read_requirements("letters_and_motif_to_music", "Write.\n'AB';X:1\nL:1/8\nM:4/4\nK:C\n['GA Bc2', '(3cde z c']")
CHORDS = read_requirements("chords_to_music", "Write.\n'C', 'Am', 'G'")
CHORALE = read_requirements("bach_style", "Compose a chorale.")
HARMONY = read_requirements("harmonisation", f"Harmonise.\n{HEADER}{SCORE}\n")


@pytest.mark.parametrize(
    ("key", "meter", "unit", "obeyed"),
    [
        ("Ador", "C", "1/8", (1, 1, 1)),
        ("A dorian", "4/4", "1/8", (1, 1, 1)),
        ("Am", "C|", "1/16", (0, 0, 0)),
        ("G", "2/4", "1/8", (0, 0, 1)),
    ],
)
def test_header(key: str, meter: str, unit: str, obeyed: tuple[float, ...]) -> None:
    read = answer("A8 |]", key=key, meter=meter, unit=unit, asked=FACTS)
    metrics = (control.KeyObeyed(), control.MeterObeyed(), control.UnitNoteLengthObeyed())
    assert tuple(metric.value(read) for metric in metrics) == obeyed


@pytest.mark.parametrize(
    ("body", "letters", "met", "missing"),
    [
        ("C8 | D8 :: gfed cega | a8 :|", 1, 1, 0),  # AB
        ("C8 | D8 :: C8 | D8 :|", 0, 0, 2),  # AA: only one section
        ("C8 | D8 :: gfed cega | a8 :: z2E2 F4 | ^G4 _B4 :|", 0, 0, 2),  # ABC: ternary, verse, chorus and bridge
    ],
)
def test_form(body: str, letters: float, met: float, missing: float) -> None:
    assert control.LettersEqual().value(answer(body, asked=MOTIFS)) == letters
    assert control.TermsMet().value(answer(body, asked=FORM)) == met
    assert control.TermsMissing().value(answer(body, asked=FORM)) == missing


@pytest.mark.parametrize(
    ("body", "present", "common"),
    [
        ("GABc2 z3 | (3cdezc z4 |]", 1, 9),
        ("(GA | B)c2 z3 (3cde z c |]", 1, 9),  # up to spaces, slurs and bar lines
        ("GABc2 z3 | (3cdez2c z3 |]", 0, 8),  # a longer rest
        ("GABc2 z3 | cdezc z3 |]", 0, 6),  # no triplet: only rest and last note agree
        ("GAdB c2 z2 | (3cdezc z4 |]", 0, 9),  # a note between
        ("GABc2-c z2 | (3cdezc z4 |]", 0, 8),  # tied on
    ],
)
def test_motifs(body: str, present: float, common: float) -> None:
    read = answer(body, asked=MOTIFS)
    assert control.MotifsPresent().value(read) == present
    assert control.MotifSubsequence().value(read) == common
    assert control.MotifSubsequenceShare().value(read) == pytest.approx(common / 9)


@pytest.mark.parametrize(
    ("body", "equal", "distance"),
    [
        ('"C"C4 "Am"A4 | "G"G8 |]', 1, 0),
        ('"C"C4 "A"A4 | "G"G8 |]', 0, 1),
        ('"C"C4 "Am"A4 | "G"G4 "^loud"G4 | "C"C8 |]', 0, 1),  # an annotation is no chord
        ("C4 A4 | G8 |]", 0, 3),
    ],
)
def test_chords(body: str, equal: float, distance: float) -> None:
    read = answer(body, asked=CHORDS)
    assert (control.ChordsEqual().value(read), control.ChordsDistance().value(read)) == (equal, distance)


@pytest.mark.parametrize(
    ("body", "key", "preserved", "distance", "added"),
    [
        ('"C"cdec "F"A2G2|"C"E2G2 c4|]', "C", 1, 0, 1),
        (SCORE, "C", 1, 0, 0),
        ('"C"cded A2G2 | E2G2 c4 |]', "C", 0, 1, 1),
        ('"C"cdec A2G2 |]', "C", 0, 4, 1),
        ('"G"cdec A2G2 | E2G2 c4 |]', "G", 0, 0, 1),
    ],
)
def test_harmonisation(body: str, key: str, preserved: float, distance: float, added: float) -> None:
    read = answer(body, key=key, asked=HARMONY)
    assert control.MelodyPreserved().value(read) == preserved
    assert control.MelodyDistance().value(read) == distance
    assert control.ChordsAdded().value(read) == added


@pytest.mark.parametrize(
    ("voices", "together"),
    [
        ("V:S\nc8 |\nV:A\nG8 |\nV:T\nE4 E4 |\nV:B\nC8 |", 1),
        ("[V:S] c8 |\n[V:A] G8 |\n[V:T] E8 |\n[V:B] C8 |\n[V:S] c8 |\n[V:A] G8 |\n[V:T] E8 |\n[V:B] Z |", 1),
        ("[V:S] c8 |\n[V:A] G8 |\n[V:T] E8 |\n[V:B] C7 |", 0),  # one voice ends early
        ("[V:S] c8 |\n[V:A] G8 |\n[V:B] C8 |", 0),
        ("c8 |", 0),
    ],
)
def test_voices(voices: str, together: float) -> None:
    assert control.VoicesTogether().value(answer(voices, asked=CHORALE)) == together


EVERY_METRIC: list[tuple[type[AnswerMean], Requirements, float]] = [
    (control.KeyObeyed, FACTS, 0),
    (control.MeterObeyed, FACTS, 0),
    (control.UnitNoteLengthObeyed, FACTS, 0),
    (control.LettersEqual, MOTIFS, 0),
    (control.TermsMet, FORM, 0),
    (control.TermsMissing, FORM, 2),
    (control.MotifsPresent, MOTIFS, 0),
    (control.MotifSubsequence, MOTIFS, 0),
    (control.MotifSubsequenceShare, MOTIFS, 0),
    (control.ChordsEqual, CHORDS, 0),
    (control.ChordsDistance, CHORDS, 3),
    (control.MelodyPreserved, HARMONY, 0),
    (control.MelodyDistance, HARMONY, 11),  # 9 notes and 2 bar lines
    (control.ChordsAdded, HARMONY, 0),
    (control.VoicesTogether, CHORALE, 0),
]


@pytest.mark.parametrize(("metric", "asked", "value"), EVERY_METRIC)
def test_without_a_tune_nothing_is_met(metric: type[AnswerMean], asked: Requirements, value: float) -> None:
    assert [metric().value(text_answer(text, asked=asked)) for text in NO_TUNE] == [value] * 3


@pytest.mark.parametrize(("metric", "asked", "value"), EVERY_METRIC)
def test_what_was_not_asked_is_left_out(metric: type[AnswerMean], asked: Requirements, value: float) -> None:  # noqa: ARG001 -- one table
    assert metric().value(answer("C8 |]")) is None
