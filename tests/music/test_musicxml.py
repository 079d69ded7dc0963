from fractions import Fraction

import pytest
from score_files import attributes, musicxml, mxl, note, rest

from chatmusician.data.tune_files import music21_corpus
from chatmusician.music.checks import check_tune
from chatmusician.music.layout import lay_out
from chatmusician.music.musicxml import read_melody, read_parts
from chatmusician.music.musicxml_measures import CHORD_KINDS
from chatmusician.music.scores import ConversionError, write_tune
from chatmusician.music.tunes import parse_tune

WHOLE = note("G", 4, 8)


def tune(*measures: str) -> str:
    """What a part becomes, in the layout of the corpus, without X, L and M."""
    laid = lay_out(parse_tune(write_tune(read_melody(musicxml(measures)))))
    assert laid.startswith("X:1\nL:1/8\n")
    return laid.split("\n", 2)[2]


@pytest.mark.parametrize(
    ("measures", "abc"),
    [
        # pitches and accidentals, which hold to the end of the bar
        (
            [
                attributes(fifths=1)
                + note("F", 4, 2, alter=1)
                + note("F", 5, 2)
                + note("F", 5, 2)
                + note("B", 3, 2, alter=-1),
                note("F", 5, 4, alter=1) + note("C", 6, 4),
            ],
            "M:4/4\nK:G\nF2=f2 f2_B,2 | f4 c'4 |\n",
        ),
        # lengths: dots, sixteenths, triplets of one and of two lengths
        (
            [
                attributes(divisions=12, beats="3")
                + note("C", 5, 18)
                + note("D", 5, 3)
                + note("E", 5, 3)
                + note("C", 5, 4)
                + note("D", 5, 4)
                + note("E", 5, 4),
                note("C", 5, 8) + note("D", 5, 4) + note("E", 5, 24),
            ],
            "M:3/4\nK:C\nc3 d/2e/2 (3cde | (3:2:2c2d e4 |\n",
        ),
        # ties over the bar line; one that leads nowhere is left out
        (
            [
                attributes(beats="2") + note("F", 4, 4, alter=1, inside='<tie type="start"/>'),
                note("F", 4, 2, alter=1) + note("F", 4, 2, inside='<tie type="start"/>'),
                note("G", 4, 4),
            ],
            "M:2/4\nK:C\n^F4- | F2 F2 | G4 |\n",
        ),
        # chords, ties inside one, rests, gaps
        (
            [
                attributes()
                + note("C", 4, 4, inside='<tie type="start"/>')
                + note("E", 4, 4, inside="<chord/>")
                + note("C", 4, 4)
                + note("G", 4, 4, inside="<chord/>"),
                rest(4) + "<forward><duration>2</duration></forward>" + note("C", 4, 2),
            ],
            "M:4/4\nK:C\n[C-E]4 [CG]4 | z6 C2 |\n",
        ),
        # grace notes, cues and lyrics are left out
        (
            [
                attributes()
                + "<note><grace/><pitch><step>A</step><octave>4</octave></pitch></note>"
                + "<note><pitch><step>G</step><octave>4</octave></pitch><duration>8</duration>"
                + "<lyric><text>la</text></lyric></note>"
            ],
            "M:4/4\nK:C\nG8 |\n",
        ),
        # an empty measure is a rest
        ([attributes() + WHOLE, "", WHOLE], "M:4/4\nK:C\nG8 | z8 | G8 |\n"),
        # key and meter change
        (
            [
                attributes() + WHOLE,
                attributes(fifths=-3, mode="minor", beats="3", unit="4") + note("E", 4, 6, alter=-1),
            ],
            "M:4/4\nK:C\nG8 | [M:3/4][K:Cm]E6 |\n",
        ),
        # two halves of a bar without a reason for the bar line between them
        ([attributes() + WHOLE, note("G", 4, 6), note("A", 4, 2), WHOLE], "M:4/4\nK:C\nG8 | G6 A2 | G8 |\n"),
        # a pickup
        ([attributes() + note("D", 4, 2), WHOLE], "M:4/4\nK:C\nD2 | G8 |\n"),
    ],
)
def test_what_is_read(measures: list[str], abc: str) -> None:
    assert tune(*measures) == abc


def test_repeats_and_endings() -> None:
    opening = '<barline location="left"><repeat direction="forward"/></barline>'
    closing = '<barline location="right"><repeat direction="backward"/></barline>'

    def ending(number: str) -> str:
        return f'<barline location="left"><ending number="{number}" type="start"/></barline>'

    final = '<barline location="right"><bar-style>light-heavy</bar-style></barline>'
    double = "<barline><bar-style>light-light</bar-style></barline>"
    hidden = "<barline><bar-style>none</bar-style></barline>"
    assert (
        tune(
            attributes() + opening + WHOLE,
            ending("1") + WHOLE + closing,
            ending("2") + WHOLE + double,
            opening + WHOLE + closing,
            opening + WHOLE + closing,
            note("C", 4, 4) + hidden,
            note("D", 4, 4) + final,
        )
        == "M:4/4\nK:C\n|: G8 |1 G8 :|2 G8 |\n|: G8 ::\nG8 :|\nC4 D4 |]\n"
    )


@pytest.mark.parametrize(("fifths", "mode", "last", "key"), [
    (1, "major", "E", "G"),
    (1, "minor", "G", "Em"),
    (0, "dorian", "C", "Ddor"),
    (0, "aeolian", "C", "Am"),
    (0, "", "A", "Am"),
    (0, "", "G", "Gmix"),
    (0, "", "D", "Ddor"),
    (-7, "major", "C", "Cb"),
])  # fmt: skip
def test_keys(fifths: int, mode: str, last: str, key: str) -> None:
    assert f"K:{key}\n" in tune(attributes(fifths=fifths, mode=mode) + note(last, 4, 8))


@pytest.mark.parametrize(
    ("time", "meter"),
    [
        ("<beats>6</beats><beat-type>8</beat-type>", "6/8"),
        ("<beats>3+2</beats><beat-type>8</beat-type>", "3+2/8"),
        ("<beats>3</beats><beat-type>8</beat-type><beats>2</beats><beat-type>8</beat-type>", "3+2/8"),
        ("<senza-misura/>", "none"),
    ],
)
def test_meters(time: str, meter: str) -> None:
    measure = f"<attributes><divisions>2</divisions><key><fifths>0</fifths></key><time>{time}</time></attributes>"
    assert tune(measure + WHOLE).startswith(f"M:{meter}\n")


@pytest.mark.parametrize(
    ("root", "kind", "bass", "symbol"),
    [
        ("<root-step>C</root-step>", "major", "", "C"),
        ("<root-step>F</root-step><root-alter>1</root-alter>", "minor-seventh", "", "F#m7"),
        ("<root-step>B</root-step><root-alter>-1</root-alter>", "dominant", "<bass-step>D</bass-step>", "Bb7/D"),
        ("<root-step>C</root-step>", "half-diminished", "", "Cm7b5"),
        ("<root-step>C</root-step>", "major-minor", "", "Cm(maj7)"),
    ],
)
def test_chord_symbols(root: str, kind: str, bass: str, symbol: str) -> None:
    harmony = f"<harmony><root>{root}</root><kind>{kind}</kind>{f'<bass>{bass}</bass>' if bass else ''}</harmony>"
    assert tune(attributes() + note("C", 4, 4) + harmony + note("E", 4, 4)) == f'M:4/4\nK:C\nC4 "{symbol}"E4 |\n'


def test_every_kind_of_chord_survives_the_layout() -> None:
    kinds = list(CHORD_KINDS)
    harmony = "<harmony><root><root-step>C</root-step></root><kind>{}</kind></harmony>"
    laid = tune(attributes() + harmony.format(kinds[0]) + WHOLE, *(harmony.format(kind) + WHOLE for kind in kinds[1:]))
    assert laid.count('"') == 2 * len(kinds)


def test_a_chord_without_kind_ends_nothing() -> None:
    assert tune(attributes() + "<harmony><kind>none</kind></harmony>" + WHOLE) == "M:4/4\nK:C\nG8 |\n"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([[attributes() + WHOLE], [attributes() + WHOLE]], "2 parts with notes .of 'Part 1', 'Part 2'."),
        ([[attributes() + rest(8)]], "0 parts with notes"),
        ([[]], "0 parts with notes"),
        (
            [[attributes() + WHOLE + "<backup><duration>8</duration></backup>" + note("C", 4, 8)]],
            "measure 1: notes overlap in one part; write one voice a part",
        ),
        ([[attributes() + WHOLE + note("B", 4, 4, inside="<chord/>")]], "notes that begin together last differently"),
        ([[attributes() + "<note><unpitched/><duration>8</duration></note>" + WHOLE]], "it has percussion"),
        ([[attributes() + note("G", 4, 8, alter=3)]], "measure 1: G4 altered by 3 semitones is no note"),
        ([[attributes() + note("H", 4, 8)]], "H4 altered by 0 semitones is no note"),
        ([[attributes() + note("G", 4, 8).replace("<duration>8", "<duration>x")]], "'x' is no whole number"),
        ([[attributes() + note("G", 4, 8).replace("<duration>8", "<duration>-8")]], "a duration is negative"),
        ([[attributes() + note("G", 4, 8).replace("8</", "9" * 5000 + "</")]], "is no whole number for note/duration"),
        ([[attributes() + note("G", 4, 999999999)]], "a note lasts .* whole notes; the most is 16"),
        ([[attributes(divisions=0) + WHOLE]], "0 divisions of a quarter note"),
        ([[attributes(fifths=8) + WHOLE]], "a key signature of 8 sharps"),
        ([[attributes(beats="x") + WHOLE]], "'x/4' is not a meter"),
        ([[WHOLE + attributes()]], "key or meter change within it"),
        ([[attributes(divisions=11) + note("G", 4, 1)]], "which no usual tuplet gives|is not complete"),
        ([[attributes(divisions=3) + note("G", 4, 1)]], "a tuplet of 1 notes is not complete"),
        (
            [[attributes() + "<harmony><root><root-step>C</root-step></root><kind>Tristan</kind></harmony>" + WHOLE]],
            "a chord of the kind 'Tristan' has no usual symbol",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_a_melody_is_refused(parts: list[list[str]], reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        write_tune(read_melody(musicxml(*parts)))


def test_parts_of_rests_are_no_melody() -> None:
    part = read_melody(musicxml([attributes() + rest(8)], [attributes() + WHOLE], names=["Drum", "Flute"]))
    assert part.name == "Flute"


def test_parts_are_chosen_by_the_first_word_of_their_names() -> None:
    score = musicxml([attributes() + WHOLE], [attributes() + WHOLE], [WHOLE], names=["Alto Oboe", "Horn", "Bass"])
    parts = read_parts(score, names=("Alto", "Bass"))
    assert [part.name for part in parts] == ["Alto Oboe", "Bass"]
    assert [part.measures[0].length for part in parts] == [Fraction(1), Fraction(2)]  # half as many divisions


def test_other_documents_are_refused() -> None:
    with pytest.raises(ConversionError, match="its root is 'score-timewise'; export it as partwise MusicXML"):
        read_melody(b"<score-timewise/>")


@pytest.mark.parametrize(("name", "bars", "chords"), [("fosterBrownHair", 35, 40), ("berlinAlexandersRagtime", 34, 19)])
def test_lead_sheets_that_music21_ships(name: str, bars: int, chords: int) -> None:
    abc = lay_out(parse_tune(write_tune(read_melody((music21_corpus() / "leadSheet" / f"{name}.mxl").read_bytes()))))
    check = check_tune(abc)
    assert (check.parses, check.bars, check.wrong_bars) == (True, bars, ())
    assert abc.count('"') == 2 * chords


def test_compressed_and_plain_are_the_same() -> None:
    score = musicxml([attributes() + WHOLE])
    assert read_melody(mxl(score)) == read_melody(score)
