from fractions import Fraction

import pytest

from chatmusician.music.durations import measure
from chatmusician.music.layout import lay_out, short_key, write_bar, write_length
from chatmusician.music.pitches import pitches
from chatmusician.music.tunes import AbcError, parse_tune

MESSY = """X:12
T:The Messy Reel
C:Trad.
R:reel
M:4/4
L:1/8
K:G Dorian clef=treble % as played
% a comment
D2|~G2BG (dGBG)|A F{g}c F AFcF|!trill!G2 BG "^up"dGBd|g f d c A2:|
w:not sung
|:fg|"Gm"a2"4"gf d^cde|d2 G2G2:|
"""

LAID_OUT = """X:1
L:1/8
M:4/4
K:Gdor
D2 | G2BG dGBG | AFcF AFcF | G2BG dGBd | gfdc A2 ::
fg | "Gm"a2gf d^cde | d2G2 G2 :|
"""


def body(music: str, *, header: str = "M:4/4\nL:1/8\nK:C") -> str:
    return lay_out(parse_tune(f"X:1\n{header}\n{music}")).split("K:", 1)[1].split("\n", 1)[1]


def test_the_tune_drawn_in_the_module() -> None:
    assert lay_out(parse_tune(MESSY)) == LAID_OUT


def test_a_layout_is_laid_out_already() -> None:
    assert lay_out(parse_tune(LAID_OUT)) == LAID_OUT


def test_pitches_and_durations_stay() -> None:
    before = parse_tune(MESSY.replace("{g}", ""))  # grace notes go
    after = parse_tune(LAID_OUT)
    assert pitches(before) == pitches(after)
    assert [bar.duration for bar in measure(before)[0]] == [bar.duration for bar in measure(after)[0]]


@pytest.mark.parametrize(
    ("header", "written"),
    [
        ("M:6/8\nL:1/8\nK:D", "L:1/8\nM:6/8\nK:D"),
        ("M:2/4\nK:Em", "L:1/16\nM:2/4\nK:Em"),  # the unit note length of a meter below 3/4
        ("L:1/4\nM:C|\nK:A minor", "L:1/4\nM:C|\nK:Am"),
        ("L:1/8\nK:HP", "L:1/8\nM:none\nK:HP"),
    ],
)
def test_headers(header: str, written: str) -> None:
    assert lay_out(parse_tune(f"X:7\nT:Title\n{header}\nC4|")).startswith(f"X:1\n{written}\nC")


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("C8|D8|E8|F8|G8|A8|B8|c8|d8|", "C8 | D8 | E8 | F8 |\nG8 | A8 | B8 | c8 |\nd8 |\n"),
        ("G2|C8|D8|E8|F8|G8|", "G2 | C8 | D8 | E8 | F8 |\nG8 |\n"),  # a pickup is no bar of the line
        ("C8||D8|]", "C8 ||\nD8 |]\n"),
        ("C8|:D8:|E8|", "C8 |\n|: D8 :|\nE8 |\n"),  # a repeat that opens begins a line
        ("|:C8:|\n|:D8:|", "|: C8 ::\nD8 :|\n"),  # two bar lines without music between them are one
        ("|:C8|1D8:|2E8||", "|: C8 |1 D8 :|2 E8 ||\n"),
        ("|:C8|[1 D8:|[2 E8||", "|: C8 |1 D8 :|2 E8 ||\n"),
        ("C8", "C8\n"),
    ],
)
def test_lines_and_bar_lines(music: str, expected: str) -> None:
    assert body(music) == expected


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("C>D E2 [CEG]2-[CEG]2|", "C>DE2 [CEG]2-[CEG]2 |\n"),
        ("(3CDE z2 x4|", "(3CDEz2 x4 |\n"),
        ("[C E G]8|", "[CEG]8 |\n"),
        ('"Am"C4"D7/F#"D4|', '"Am"C4 "D7/F#"D4 |\n'),
        ('"p"C4"Fine"D4|', "C4 D4 |\n"),
        ("{ga}C4 (D2 E2)|", "C4 D2E2 |\n"),
        ("!f!C4 .D2 uE2|", "C4 D2E2 |\n"),
        ("C4`D4 y|\\\nE8|", "C4 D4 | E8 |\n"),
    ],
)
def test_what_stays_and_what_goes(music: str, expected: str) -> None:
    assert body(music) == expected


def test_changes_of_key_meter_and_unit_stay_where_they_are() -> None:
    music = "C8||\nK:A Minor\nM:2/4\nT:Second part\nA2c2|[L:1/16]ABcd efga|]"
    assert body(music) == "C8 ||\n[K:Am][M:2/4]A2 c2 | [L:1/16]ABcd efga |]\n"


@pytest.mark.parametrize(
    ("text", "bar_line"),
    [
        ("|", "|"),
        (":||:", "::"),
        (":|]", ":|"),
        ("[|:", "|:"),
        ("||:", "|:"),
        ("|[|", "||"),
        (".|", "|"),
        ("|||", "||"),
    ],
)
def test_bar_lines_of_any_shape(text: str, bar_line: str) -> None:
    assert write_bar(text) == bar_line


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("G", "G"),
        ("G major", "G"),
        ("G ionian", "G"),
        ("F#m", "F#m"),
        ("F# Aeolian", "F#m"),
        ("A Mixolydian clef=bass", "Amix"),
        ("Ddor", "Ddor"),
        ("Hp", "HP"),
        ("none", "none"),
        ("", "none"),
    ],
)
def test_keys_in_short(value: str, key: str) -> None:
    assert short_key(value) == key


def test_lengths() -> None:
    assert [write_length(Fraction(1, 8)), write_length(Fraction(1))] == ["1/8", "1/1"]


@pytest.mark.parametrize(
    ("music", "reason"),
    [
        ("V:1\nC8|\nV:2\nE8|", "the tune has several voices"),
        ("[V:T]C8|[V:B]E8|", "the tune has several voices"),
        ("C8&E8|", r"line 5, column 3: an overlay \(&\) is a second voice"),
        ("C8|[K:Q]D8|", "'Q' is not a key"),
        ("(3CD|", "notes are missing in the tuplet"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(music: str, reason: str) -> None:
    with pytest.raises(AbcError, match=reason):
        body(music)


def test_one_voice_with_a_name_is_one_voice() -> None:
    assert body("V:1\nC8|\nV:1\nD8|") == "C8 | D8 |\n"
