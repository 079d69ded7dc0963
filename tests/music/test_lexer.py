from fractions import Fraction

import pytest

from chatmusician.music.lexer import (
    Kind,
    Note,
    read_chord,
    read_field,
    read_grace,
    read_length,
    read_note,
    read_rest,
    read_tuplet,
    rewrite_notes,
    tokenize,
)


def kinds(body: str, **options: str) -> list[tuple[str, str]]:
    return [(token.kind.name, token.text) for token in tokenize(body, **options)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, Kind.NOTE) for text in ["C", "c'", "B,,", "^f3/2", "__e/", "=a//", "G16", "c'/4"]),
        *((text, Kind.REST) for text in ["z", "z3/2", "x2", "Z", "Z4", "X2"]),
        *((text, Kind.CHORD) for text in ["[CEG]", "[C2E2]3/2", '["C"c-e]', "[!trill!ce]", "[ce z]/", "[.c`e]"]),
        *((text, Kind.GRACE) for text in ["{gf}", "{/g}", "{^f/g/}", "{[ce]g}"]),
        *((text, Kind.BAR) for text in ["|", "||", "|]", "[|", "|:", ":|", "::", ":||:", ":|:", "|::", ":::|"]),
        *((text, Kind.BAR) for text in [".|", "[|]", ":|]", "[|:", ":]", "::]", "|||", ":|[|:", "[|]|"]),
        *((text, Kind.ENDING) for text in ["[1", "[2", "[1,3", "[1-3", '["last"']),
        *((text, Kind.TUPLET) for text in ["(3", "(3:2", "(3::2", "(5:4:5", "(11:8"]),
        *((text, Kind.BROKEN) for text in [">", "<", ">>", "<<<"]),
        *((text, Kind.SLUR) for text in ["(", ")", ".("]),
        *((text, Kind.TIE) for text in ["-", ".-"]),
        *((text, Kind.CHORD_SYMBOL) for text in ['"Am7"', '"4"', '""']),
        *((text, Kind.ANNOTATION) for text in ['"^slowly"', '"_mf"', '">rit."', '"@3,4 x"']),
        *((text, Kind.DECORATION) for text in [".", "~", "H", "L", "M", "O", "P", "S", "T", "u", "v", "k"]),
        *((text, Kind.DECORATION) for text in ["!trill!", "!<(!", "!D.C.!", "+fermata+"]),
        *((text, Kind.INLINE_FIELD) for text in ["[M:3/4]", "[K:Am]", "[V:1]", "[r:remark]"]),
        *((text, Kind.FIELD) for text in ["M:3/4", "w:la la", "V:1 clef=bass", "P:A"]),
        *((text, Kind.COMMENT) for text in ["% said", "%%staves 1"]),
        *((text, Kind.LINE_BREAK) for text in ["$", "!", "*"]),
        *((text, Kind.SPACER) for text in ["y", "y2"]),
        ("\\", Kind.CONTINUATION),
        ("&", Kind.OVERLAY),
        ("``", Kind.BACKTICK),
        (" \t", Kind.SPACE),
        ("\n", Kind.NEWLINE),
    ],
)
def test_each_form_is_one_token(text: str, kind: Kind) -> None:
    assert [(token.kind, token.text) for token in tokenize(text)] == [(kind, text)]


def test_the_example_of_the_docstring() -> None:
    assert kinds('|:"G"G2 (3ABc|') == [
        ("BAR", "|:"),
        ("CHORD_SYMBOL", '"G"'),
        ("NOTE", "G2"),
        ("SPACE", " "),
        ("TUPLET", "(3"),
        ("NOTE", "A"),
        ("NOTE", "B"),
        ("NOTE", "c"),
        ("BAR", "|"),
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("|1c", ["BAR |", "ENDING 1", "NOTE c"]),
        (":|2c", ["BAR :|", "ENDING 2", "NOTE c"]),
        ("|]2c", ["BAR |", "UNKNOWN ]", "ENDING 2", "NOTE c"]),
        ("|[1c", ["BAR |", "ENDING [1", "NOTE c"]),
        ("|[ce]|", ["BAR |", "CHORD [ce]", "BAR |"]),
        ("A:|", ["NOTE A", "BAR :|"]),
        ("A::B", ["NOTE A", "BAR ::", "NOTE B"]),
        ("A|\n:B", ["NOTE A", "BAR |", "NEWLINE \n", "BAR :", "NOTE B"]),
        ("(3(ABc)", ["TUPLET (3", "SLUR (", "NOTE A", "NOTE B", "NOTE c", "SLUR )"]),
        ("c\\\nd", ["NOTE c", "CONTINUATION \\", "NEWLINE \n", "NOTE d"]),
        ("c=20\nd", ["NOTE c", "CONTINUATION =20", "NEWLINE \n", "NOTE d"]),
        ("V=c", ["DECORATION V", "NOTE =c"]),
    ],
)
def test_forms_that_could_be_read_otherwise(body: str, expected: list[str]) -> None:
    assert [f"{kind} {text}" for kind, text in kinds(body)] == expected


@pytest.mark.parametrize(
    ("body", "unknown"),
    [('"open', ['"', "o", "p", "n"]), ("{gf", ["{"]), ("[ceg", ["["]), ("gf}", ["}"]), ("A0", ["0"]), ("c\\d", ["\\"])],
)
def test_what_is_not_abc_is_named_character_by_character(body: str, unknown: list[str]) -> None:
    assert [text for kind, text in kinds(body) if kind == "UNKNOWN"] == unknown


def test_letters_are_decorations_only_where_defined() -> None:
    assert kinds("hc") == [("UNKNOWN", "h"), ("NOTE", "c")]
    assert kinds("hc", user_letters="h") == [("DECORATION", "h"), ("NOTE", "c")]


def test_tokens_cover_the_text_and_know_their_place() -> None:
    body = "A>B|§ \"x\n[M:3/4] {g}c3-|\n\n c'2 é:|"
    tokens = tokenize(body, line=5)
    assert "".join(token.text for token in tokens) == body
    places = {token.text: (token.line, token.column) for token in tokens}
    assert (places["A"], places["[M:3/4]"], places["c'2"]) == ((5, 1), (6, 1), (8, 2))


@pytest.mark.parametrize("character", ['"', "[", "{", "(", "!", "+", ":", "\\", "[C", "[K:", "{c", "=", "A/", "|["])
def test_a_long_line_of_anything_takes_time_in_proportion(character: str) -> None:
    body = character * 20_000
    assert "".join(token.text for token in tokenize(body)) == body


def test_notes() -> None:
    assert read_note("^f'3/2") == Note("^", "F", 2, Fraction(3, 2))
    assert read_note("C,,") == Note("", "C", -2, Fraction(1))
    assert read_note("__b/") == Note("__", "B", 1, Fraction(1, 2))


@pytest.mark.parametrize(
    ("text", "length"), [("", 1), ("3", 3), ("/", "1/2"), ("//", "1/4"), ("/4", "1/4"), ("3/2", "3/2"), ("3/", "3/2")]
)
def test_lengths(text: str, length: int | str) -> None:
    assert read_length(text) == Fraction(length)


def test_chords_graces_rests_and_tuplets() -> None:
    chord = read_chord('["Em"!f!C2E2^G]3/2')
    assert chord.length == 3
    assert [note.letter for note in chord.notes] == ["C", "E", "G"]
    assert [note.letter for note in read_grace("{/gf}")] == ["G", "F"]
    assert (read_rest("z3/2"), read_rest("Z4"), read_rest("Z")) == (Fraction(3, 2), 4, 1)
    assert [tuple(read_tuplet(text)) for text in ("(3", "(2", "(5", "(3:2:4", "(3::2", "(7:8")] == [
        (3, 2, 3),
        (2, 3, 2),
        (5, None, 5),
        (3, 2, 4),
        (3, 2, 2),
        (7, 8, 7),
    ]
    assert read_field("[M: 3/4]") == ("M", "3/4")
    assert read_field("w:la la ") == ("w", "la la")


def test_notes_are_rewritten_and_the_rest_stays() -> None:
    assert rewrite_notes('["C"!f!^c2-e\']3/2', lambda note: note.letter.lower() * 2) == '["C"!f!cc2-ee]3/2'
