import importlib.util
import re
from pathlib import Path

import pytest

from chatmusician.music.sanitising import LINE_CHARACTERS, REPORTED_MOST, TEXT_CHARACTERS, is_harmless, sanitise

REEL = """X:1000
T:The Test Reel 1850 "quoted" 100% % comment
C:Trad.
M:4/4
L:1/8
Q:"Allegro" 1/4=120
P:((AB)3C)2
%%MIDI program 73
%%score (1 2)
I: :: ::
K:Ador clef=treble
|:"Am7"G2B/2G//{ab}A4-|A>>B (3abc [CEG]3/2 !trill!z2 Z8|1 ~c'' C,,:|2 [M:3/4]B::A||
w:la 12345 la % 99999
"""


def test_an_ordinary_tune_passes_to_the_character() -> None:
    result = sanitise(REEL)
    assert result.abc == REEL
    assert result.removed == ()


def test_real_tunes_pass_to_the_character() -> None:
    package = importlib.util.find_spec("music21")
    assert package is not None and package.origin is not None
    book = (Path(package.origin).parent / "corpus" / "airdsAirs" / "book1.abc").read_text(encoding="utf-8")
    tunes = re.split(r"(?m)^(?=X:)", book)[1:]
    assert len(tunes) == 200
    changed = [sanitise(tune).removed for tune in tunes if sanitise(tune).abc != tune]
    assert len(changed) == 1
    assert changed[0][0].startswith("line 7: the directive '%%Bfly 0 300")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("%%abc-include /etc/passwd", None),
        ("  %%  ABC-Include /etc/passwd", None),
        ("I:abc-include /etc/passwd", None),
        ("%%format secret.fmt", None),
        ("%%EPS picture.eps", None),
        ("%%postscript run", None),
        ("%%MIDI ptstress /etc/passwd", None),
        ("%%MIDI", None),
        ("%%MIDI=program 99999", None),
        ("%%propagate-accidentals " + "a" * 200, None),
        ("m:~n=[I:abc-include x]", None),
        ("[I:abc-include /etc/passwd]CD|", "CD|"),
        ("CD[I:abc-include /etc/passwd", "CD"),
        ("[[I:x]I:abc-include y]CD|", "CD|"),
        ("[I:x]%%abc-include y", None),
        ("%\x00%abc-include y", None),
        ("T:[I:abc-include y]Title", "T:Title"),
        ("w:[I:abc-include y]la", "w:la"),
    ],
)
def test_directives_that_read_files_go(line: str, kept: str | None) -> None:
    result = sanitise(f"K:C\n{line}\nE|")
    assert result.abc == ("K:C\nE|" if kept is None else f"K:C\n{kept}\nE|")
    assert result.removed[0].startswith("line 2: the ")


@pytest.mark.parametrize(
    ("music", "kept"),
    [
        ("C99999999 D|", "C D|"),
        ("C512 D513|", "C512 D|"),
        ("C3/99999 D/0 E/00|", "C3/ D E|"),
        ("C//////// D/////////|", "C//////// D|"),
        ("Z100 Z101 X5000|", "Z100 Z X|"),
        ("(99999:2:3abc|", "(:2:3abc|"),
        ("|:::: C ::::|::::::::", "|:::: C ::::|"),
        ("A>>>B A>>>>B|", "A>>>B AB|"),
        ("{a}{b}{c}{d}C {a}{b} {c}{d}{ef}C", "{a}{b}{c}{d}C C"),
        ("C,,,,, C,,,,,, c''''''|", "C,,,,, C c|"),
        ("[1000000 C|", "[ C|"),
        ('"C99999"C% 99999', '"C99999"C% 99999'),
        ("[L:1/999999]C|", "C|"),
        ("[L:1/8]C[Q:1/4=0]D[K:C octave=9", "[L:1/8]CD"),
    ],
)
def test_numbers_and_runs_beyond_bounds_go_and_the_notes_stay(music: str, kept: str) -> None:
    assert sanitise(music).abc == kept


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("Q:1/4=99999", "the tempo is not 4 to 1000 beats a minute"),
        ("Q:1/4=0.0001", "the tempo is not 4 to 1000 beats a minute"),
        ("P:((((A9)9)9)9)9", "a part played more than 64 times"),
        ("L:1/0", "a division by zero"),
        ("M:4/0", "a division by zero"),
        ("M:1000000/4", "a number above 512"),
        ("K:C octave=5", "a voice moved by more than 4 octaves"),
        ("V:1 octave=-12", "a voice moved by more than 4 octaves"),
        ("L:1/99999999999999999999", "a number above 512"),
    ],
)
def test_fields_that_would_burden_a_tool_go(field: str, reason: str) -> None:
    result = sanitise(f"X:1\n{field}\nK:C\n")
    assert result.abc == "X:1\nK:C\n"
    assert result.removed == (f"line 2: the field {field!r} ({reason})",)


def test_blocks_go_with_what_is_in_them() -> None:
    result = sanitise("X:1\n%%beginps\n(/etc/passwd) run\n%%endps\nK:C\nC|")
    assert result.abc == "X:1\nK:C\nC|"
    assert result.removed == ("line 2: the directive '%%beginps'", "line 2: all that follows up to %%endps")


def test_reference_number_is_replaced_for_a_tune_needs_one() -> None:
    result = sanitise("X:99999999999999\nK:C")
    assert result.abc == "X:1\nK:C"
    assert result.removed == ("line 1: the reference number 'X:99999999999999'",)


def test_line_ends_become_newlines_and_controls_go() -> None:
    result = sanitise("X:1\r\nK:C\rC\x00D\x1b|\ud800\ufffe\n")
    assert result.abc == "X:1\nK:C\nCD|\n"
    assert len(result.removed) == 3


def test_sizes_are_bounded() -> None:
    long_line = sanitise("K:C\n" + "C" * (LINE_CHARACTERS + 1) + "\nD|")
    assert long_line.abc == "K:C\nD|"
    long_text = sanitise("CDEF|\n" * 10_000)
    assert long_text.abc == "\n".join(["CDEF|"] * (TEXT_CHARACTERS // 6))
    assert long_text.removed == ("everything after character 30000 of 60000",)


def test_words_about_a_voice_are_bounded() -> None:
    result = sanitise("X:1\nV:1 " + "é " * 40 + "\nV:1 " + "é " * 39 + "\nK:C\n")
    assert result.abc == "X:1\nV:1 " + "é " * 39 + "\nK:C\n"
    assert result.removed[0].endswith("...' (more than 120 bytes about a voice)")


def test_layers_of_a_line_are_bounded() -> None:
    result = sanitise("K:C\n" + "C&" * 501 + "C|\nD|")
    assert result.abc == "K:C\nD|"
    assert result.removed == ("line 2: a line of 501 layers (&), more than 500",)


def test_report_is_bounded() -> None:
    removed = sanitise("C9999\n" * 200).removed
    assert len(removed) == REPORTED_MOST + 1
    assert removed[-1] == "150 more"


@pytest.mark.parametrize(
    "text", [REEL, "[[I:x]I:y]%%format z\nC99999//////////0", "A/0/0[I:[I:a]b]", "%%beginps\nC", "G:|99999 C:|"]
)
def test_sanitised_text_is_left_alone(text: str) -> None:
    once = sanitise(text).abc
    assert sanitise(once).abc == once
    assert sanitise(once).removed == ()


@pytest.mark.parametrize(
    "directive",
    [
        *("text free 99999", "MIDI gchord fzczfzcz", "score (S A) (T B)", "propagate-accidentals octave"),
        *(":: ||", "", "G A B c ^f"),
    ],
)
def test_harmless_directives_stay(directive: str) -> None:
    assert is_harmless(directive)
