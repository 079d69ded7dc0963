from fractions import Fraction

import pytest

from chatmusician.music.keys import parse_key
from chatmusician.music.notation.reading import TOLD_MOST, VOICES_MOST, first_tune, read_clef, read_score
from chatmusician.music.notation.score import (
    Clef,
    Event,
    Heading,
    KeyChange,
    Measure,
    NotationError,
    Score,
    Tempo,
)
from chatmusician.music.notation.voices import MEASURES_MOST
from chatmusician.music.tunes import parse_meter

HEADER = "X:1\nM:4/4\nL:1/4\nK:C\n"


def events(score: Score, *, part: int = 0) -> list[Event]:
    measures = score.parts[part].measures
    return [item for measure in measures for layer in measure.layers for item in layer if isinstance(item, Event)]


def note_names(score: Score, *, part: int = 0) -> list[str]:
    """Pitches as letter, alteration, octave; chords with ``+``, rests as ``z``; ``!`` for a printed accidental."""
    return [
        "+".join(
            f"{pitch.letter}{'b' * -pitch.alteration}{'#' * pitch.alteration}{pitch.octave}{'!' * pitch.printed}"
            for pitch in event.pitches
        )
        or "z"
        for event in events(score, part=part)
    ]


def shape(measure: Measure) -> str:
    """The borders of a measure in short: ``|:`` opens a repeat, ``:|2`` closes one, ``[1`` and ``]`` an ending."""
    opens = f"{'|:' * measure.repeat_begins}{'[' + measure.ending if measure.ending else ''}"
    closes = f"{']' * bool(measure.ending_closes)}{':|' + str(measure.repeat_plays) if measure.repeat_plays else ''}"
    return f"{opens} {measure.bar_line} {closes}".strip()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("C,Cc c'", ["C-1", "C0", "C1", "C2"]),
        ("^C_D=E ^^F|__G", ["C#0!", "Db0!", "E0!", "F##0!", "Gbb0!"]),
        # An accidental holds in the bar, in other octaves too, where a reader of the staff needs it printed.
        ("^FFf F,|F", ["F#0!", "F#0", "F#1!", "F#-1!", "F0"]),
        ("^F2-F2-|F2 F2", ["F#0!", "F#0", "F#0", "F0"]),
        ("[K:D]FC=F F|F", ["F#0", "C#0", "F0!", "F0", "F#0"]),
        ("[CE_G]2 z2", ["C0+E0+Gb0!", "z"]),
        ("C4&^F2F2|F4", ["C0", "F#0!", "F#0", "F0"]),
    ],
)
def test_pitches_and_printed_accidentals(body: str, names: list[str]) -> None:
    assert note_names(read_score(HEADER + body + "|\n")) == names


@pytest.mark.parametrize(
    ("body", "durations"),
    [
        ("C2 D/ E// F3/2", ["1/2", "1/8", "1/16", "3/8"]),
        ("C>D E<F G>>A", ["3/8", "1/8", "1/8", "3/8", "7/16", "1/16"]),
        ("(3CDE (3:2:2F2G (2AB", ["1/6", "1/6", "1/6", "1/3", "1/6", "3/8", "3/8"]),
        ("[M:6/8](2CD (5CDEFG", ["3/8", "3/8", *["3/20"] * 5]),
        ("[C2E]3 [CE]/", ["3/2", "1/8"]),
        ("C/3D/3E/3", ["1/12"] * 3),
        ("[L:1/8]C [L:1/16]D", ["1/8", "1/16"]),
        ("Z2|z3 C", ["1", "1", "3/4", "1/4"]),
        ("C>|D", ["3/8", "1/8"]),
        ("(3CD|EF", ["1/6", "1/6", "1/6", "1/4"]),
        ("C y {g}D", ["1/4", "1/4"]),
    ],
)
def test_durations(body: str, durations: list[str]) -> None:
    assert [event.duration for event in events(read_score(HEADER + body + "|\n"))] == list(map(Fraction, durations))


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ("C4|D4||E4|]", ["regular", "light-light", "light-heavy"]),
        ("|:C4:|D4|", ["|: light-heavy :|2", "regular"]),
        ("|:C4::D4:|", ["|: light-heavy :|2", "|: light-heavy :|2"]),
        ("C4:||:D4:||", ["light-heavy :|2", "|: light-heavy :|2"]),
        ("C4:|\n|:D4:|", ["light-heavy :|2", "|: light-heavy :|2"]),
        ("C4:\n|D4|", ["regular", "regular"]),
        ("C4|\n:D4:|", ["regular", "|: light-heavy :|2"]),
        ("|::C4::|", ["|: light-heavy :|3"]),
        ("C4.|D4[|E4[|]", ["dotted", "heavy-light", "none"]),
        ("C4[|]:|", ["light-heavy :|2"]),
        ("|:C4|1D4:|2E4||F4|", ["|: regular", "[1 light-heavy ]:|2", "[2 light-light ]", "regular"]),
        ("|:C4|[1,3D4:|[2E4:|F4|", ["|: regular", "[1,3 light-heavy ]:|2", "[2 light-light ]", "regular"]),
        ("C2[1D2:|2E2|]", ["none", "[1 light-heavy ]:|2", "[2 light-heavy ]"]),
        ('C4["last time"D4|E4|', ["none", "[last time regular", "regular ]"]),
        # A section that is repeated without a sign at its start begins after the one before, or a double bar.
        ("C4|D4:|E4|F4:|", ["regular", "light-heavy :|2", "|: regular", "light-heavy :|2"]),
        ("C4:|D4||E4|F4:|", ["light-heavy :|2", "light-light", "|: regular", "light-heavy :|2"]),
        ("C4||D4:|", ["light-light", "light-heavy :|2"]),
    ],
)
def test_bar_lines_repeats_and_endings(body: str, shapes: list[str]) -> None:
    (part,) = read_score(HEADER + body + "\n").parts
    assert [shape(measure) for measure in part.measures] == shapes


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ("C4|D4|E4|", ["1", "2", "3"]),
        ("C|D4|E3:|F|G4|A3|]", ["0", "1", "2", "X1", "3", "4"]),
        ("C|D4|", ["0", "1"]),
    ],
)
def test_upbeats_are_not_counted(body: str, numbers: list[str]) -> None:
    (part,) = read_score(HEADER + body + "\n").parts
    assert [measure.number for measure in part.measures] == numbers


def test_ties_join_what_is_alike_and_slurs_the_rest() -> None:
    tied, other = read_score(HEADER + "[CE]2-[CG]2|\n"), read_score(HEADER + "(CD-|E)F|\n")
    start, end = events(tied)
    assert [(pitch.tie_from, pitch.tie_to) for pitch in (*start.pitches, *end.pitches)] == [
        *((True, False), (False, False), (False, True), (False, False))
    ]
    assert [event.slurs for event in events(other)] == [
        [("start", 1)],
        [("start", 2)],
        [("stop", 2), ("stop", 1)],
        [],
    ]


def test_signs_belong_to_the_next_note() -> None:
    score = read_score('X:1\nL:1/4\nU:k=!accent!\nK:C\n.C !f!!f!T{/ga}D "Am""^up"E !x!kF|\n')
    first, second, third, fourth = events(score)
    assert [event.signs for event in (first, second, third, fourth)] == [
        *(("staccato",), ("f", "trill"), (), ("x", "accent"))
    ]
    assert [(grace.pitch.letter, grace.slashed) for grace in second.graces] == [("G", True), ("A", True)]
    assert (third.chord_symbols, third.annotations) == (("Am",), ("^up",))
    assert score.notes == ("left out, as the score has no sign for it: !x!",)


def test_changes_stand_between_the_notes() -> None:
    score = read_score('X:1\nM:4/4\nL:1/4\nQ:1/4=90\nK:C\nP:A\nC[K:G]D[M:3/4][Q:"slow"]E[K:bass]F|\n')
    kinds = [item for item in score.parts[0].measures[0].layers[0] if not isinstance(item, Event)]
    assert kinds == [
        Tempo(text="", beat=Fraction(1, 4), beats_a_minute=90),
        Heading(text="A", boxed=True),
        KeyChange(key=parse_key("G"), before=parse_key("C")),
        parse_meter("3/4"),
        Tempo(text="slow", beat=None, beats_a_minute=None),
        Clef(sign="F", line=4),
    ]


def test_what_comes_before_the_first_note_is_there_from_the_start() -> None:
    (part,) = read_score("X:1\nM:4/4\nL:1/4\nK:C\n[K:G][M:3/4]D|\n").parts
    assert (part.key, part.meter) == (parse_key("G"), parse_meter("3/4"))
    assert len(part.measures[0].layers[0]) == 1


def test_voices_become_parts() -> None:
    header = 'X:1\nM:2/4\nL:1/4\nV:S name="Soprano"\nV:B clef=bass octave=-1\nK:C\n'
    score = read_score(header + "[V:S]CD|\n[V:B]C2|\n[V:S]EF|\nw: la la\n[V:B]D2|\n")
    assert [(part.name, part.clef.sign) for part in score.parts] == [("Soprano", "G"), ("", "F")]
    assert (note_names(score), note_names(score, part=1)) == (["C0", "D0", "E0", "F0"], ["C-1", "D-1"])
    assert [sorted(event.syllables) for event in events(score)] == [[], [], [1], [1]]


def test_a_voice_that_ends_early_is_filled_up() -> None:
    score = read_score("X:1\nM:2/4\nL:1/4\nK:C\nV:1\nCD|EF|\nV:2\nC2|\n")
    assert note_names(score, part=1) == ["C0", "z"]
    assert events(score, part=1)[1].whole_measure
    assert score.notes == ("voice 2 has 1 bars and another voice 2; rests fill it up",)


@pytest.mark.parametrize(
    ("value", "clef"),
    [
        ("C bass", Clef(sign="F", line=4)),
        ("clef=treble-8", Clef(octaves=-1)),
        ('1 clef="alto" nm="x"', Clef(sign="C", line=3)),
        ("alto4", Clef(sign="C", line=4)),
        ("name=bassoon", None),
        ("Gm", None),
    ],
)
def test_clefs(value: str, clef: Clef | None) -> None:
    assert read_clef(value) == clef


def test_a_clef_alone_leaves_the_key() -> None:
    assert note_names(read_score("X:1\nL:1/4\nK:D\nF|\nK:clef=bass\nF|\n")) == ["F#0", "F#0"]


def test_an_octave_clef_is_read_as_it_sounds() -> None:
    assert note_names(read_score("X:1\nL:1/4\nK:C treble-8\nC|\n")) == ["C-1"]


def test_the_header_is_kept() -> None:
    score = read_score("X:1\nT: Caf\\'e % old\nT:\nT:Other\nC:A\nC:B\nR:reel\nK:C\nC|\nT:Not this\n")
    assert (score.titles, score.composer, score.fields) == (("Café", "Other"), "A, B", (("rhythm", "reel"),))


@pytest.mark.parametrize(
    ("abc", "note"),
    [
        ("X:1\nM:4/5\nK:C\nC|\n", "'4/5' is not a meter; write one such as 6/8, C or none"),
        ("X:1\nL:x\nK:C\nC|\n", "'x' is not a unit note length; write one such as 1/8"),
        ("X:1\nK:H\nC|\n", "'H' is not a key; write a tonic A to G and a mode, such as G, F#m or D mix"),
        ("X:1\nCDE|\n", "the header has no K: line; it is read without a key"),
        ("X:1\nK:C\nC}D|\n", "left out, as ABC has no such sign: '}' in line 3, column 2"),
        ("X:1\nK:C\nC&D&E&F&G&A|\n", "left out, as a staff shows 4 layers (&) of a bar: 2 more"),
        ("X:1\nK:C\nC|\nw:a b c\n", "left out, as no note is there to sing them to: 2 syllables of w:"),
    ],
)
def test_what_cannot_be_read_is_told_and_read_around(abc: str, note: str) -> None:
    score = read_score(abc)
    assert score.notes == (note,)
    assert note_names(score)[0] == "C0"


def test_signs_left_out_are_told_up_to_a_number() -> None:
    (note,) = read_score(HEADER + "C" + "}" * 10 + "|\n").notes
    assert note.endswith(f"column 4 and {10 - TOLD_MOST} more")


def test_long_values_are_told_in_short() -> None:
    (note,) = read_score("X:1\nM:" + "?" * 3000 + "\nK:C\nC|\n").notes
    assert len(note) == 205
    assert note.startswith("'???") and note.endswith("is not a meter; write one such as 6/8, C or none")


def test_new_lines_of_the_text_are_kept_at_bar_lines() -> None:
    (part,) = read_score(HEADER + "C4|D4|\nE4|F4|\\\nG4|A2\nA2|\n").parts
    assert [measure.new_line for measure in part.measures] == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("X:1\nK:C\n", "the tune has no notes"),
        ("X:1\nK:C\nz4|Z|\n", "the tune has no notes"),
        ("", "this is no tune"),
        ("Here is a tune:\nABc|\n", "this is no tune"),
    ],
)
def test_a_text_without_a_tune_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotationError, match=f"^{reason}.*; write .*music"):
        read_score(text)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("C|" * (MEASURES_MOST + 1), f"more than {MEASURES_MOST} bars"),
        ("Z100|" * 21 + "C|", f"more than {MEASURES_MOST} bars"),
        ("".join(f"[V:{n}]C|\n" for n in range(VOICES_MOST + 1)), f"more than {VOICES_MOST} voices"),
    ],
)
def test_what_is_too_large_is_refused(body: str, message: str) -> None:
    with pytest.raises(NotationError, match=message):
        read_score(HEADER + body)


def test_a_tune_ends_at_an_empty_line() -> None:
    assert first_tune("Hello\n\nX:1\nK:C\nC|\n \nX:2\nK:C\nD|\n") == "X:1\nK:C\nC|\n"
    assert first_tune("X:1\nK:C\nX:2\n") == "X:1\nK:C\n"
    assert first_tune("K:C\nC|") == "K:C\nC|"
