import random

import pytest

from chatmusician.music.form import (
    compare_sections,
    form_letters,
    form_terms,
    levenshtein,
    sections,
    similarity,
    terms_of_letters,
)
from chatmusician.music.tunes import parse_tune


def tune(body: str):  # type: ignore[no-untyped-def]  # Tune, said by the call
    return parse_tune(f"X:1\nM:2/4\nL:1/8\nK:C\n{body}")


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("CDEF", "CDEF", 0),
        ("CDEF", "FEDC", 4),
        ("a" * 100, "a" * 70 + "b" * 30, 30),
    ],
)
def test_edit_distances(a: str, b: str, distance: int) -> None:
    assert levenshtein(a, b) == levenshtein(b, a) == distance


def test_edit_distance_is_that_of_the_textbook() -> None:
    def textbook(a: str, b: str) -> int:
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, start=1):
            above, row = row, [i]
            for j, y in enumerate(b, start=1):
                row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        return row[-1]

    draw = random.Random(1)
    for _ in range(200):
        a, b = ("".join(draw.choices("abc", k=draw.randint(0, 80))) for _ in range(2))
        limit = draw.randint(0, 40)
        distance = textbook(a, b)
        assert levenshtein(a, b) == distance
        bounded = levenshtein(a, b, limit=limit)
        assert bounded == distance if distance <= limit else bounded > limit


def test_similarity() -> None:
    assert similarity("CDEFGABcde", "CDEFGABcdf") == 9
    assert similarity("CDEFGABcde", "CDEFGAaaaa") == 6
    assert similarity("CDEF", "") == 0
    assert similarity("", "") == 10


@pytest.mark.parametrize(
    ("body", "music"),
    [
        ("C4|D4|", ["C4|D4"]),
        ("C4|D4||E4|F4|]", ["C4|D4", "E4|F4"]),
        ("|:C4|D4:|\n|:E4|F4:|", ["C4|D4", "E4|F4"]),
        ("|:C4|D4::E4|F4:|", ["C4|D4", "E4|F4"]),
        ("C|D4|E3:|z|:F4|G3:|", ["C|D4|E3", "z|F4|G3"]),  # an upbeat between two borders
        ("|:C4|1D4:|2E4||F4|G4|]", ["C4|D4|E4", "F4|G4"]),  # endings stay with their section
        ("|:C4|[1D4:|\n[2E4||F4|G4|]", ["C4|D4|E4", "F4|G4"]),
        ("C4|D4||E4|]", ["C4|D4|E4"]),  # a single bar joins
        ('"G"C>D "^x"!f!{g}(3CDE|(F2 G2)|', ["C>D(3CDE|F2G2"]),
        ("V:1\nC4|D4||E4|F4|\nV:2\nG4|A4||B4|c4|", ["C4|D4", "E4|F4"]),
    ],
)
def test_sections(body: str, music: list[str]) -> None:
    assert [section.music for section in sections(tune(body))] == music


def test_letters_of_the_docstring() -> None:
    first, second = "CDEFGABCDEFGABCDEFGA", "abcdefgabcdefgabcdef"
    third = first[:-3] + "xyz"  # 17 of 20: 8.5
    fourth = second[:-6] + "123456"  # 14 of 20: 7.0
    assert compare_sections([first, second, third, fourth]) == ("A", "B", "A", "B'")


def test_letters() -> None:
    a, b = "CDEF GABc|cBAG FEDC", "efga bagf|edcB AGFE"
    assert form_letters(tune(f"{a}||{a}||{b}||{a}|]")) == "AABA"
    assert form_letters(tune(f"|:{a}:|\n|:{b}:|")) == "AB"
    assert form_letters(tune("z4|")) == "A"
    assert form_letters(tune("")) == ""


@pytest.mark.parametrize(
    ("letters", "terms"),
    [
        ("", ()),
        ("A", ("Only One Section",)),
        ("AA", ("Only One Section",)),
        ("AA'", ("Variational",)),
        ("AA'A''A", ("Variational",)),
        ("AABA", ("American Popular",)),
        ("AA'BA'", ("American Popular",)),
        ("AB", ("Binary", "Sectional: Verse/Chorus")),
        ("AABB", ("Binary", "Sectional: Verse/Chorus")),
        ("AA'BB'", ("Binary", "Sectional: Verse/Chorus")),
        ("ABAB", ("Binary", "Sectional: Verse/Chorus")),
        ("ABA", ("Ternary",)),
        ("ABBA'", ("Ternary",)),
        ("ABCA", ("Ternary", "Sectional: Verse/Chorus/Bridge")),
        ("ABC", ("Ternary", "Sectional: Verse/Chorus/Bridge")),
        ("ABABC", ("Sectional: Verse/Chorus/Bridge",)),
        ("ABCB", ("Sectional: Verse/Chorus/Bridge",)),
        ("ABAC", ("Sectional: Verse/Chorus/Verse/Bridge",)),
        ("ABCD", ("Through Composed",)),
        ("AABCDE", ("Through Composed",)),
        ("ABCAB", ("Compound Ternary", "Sectional: Verse/Chorus/Bridge")),
        ("ABACDCABA", ("Compound Ternary",)),
        ("ABACD", ("Compound Binary",)),
        ("ABCDC", ("Compound Binary",)),
        ("ABCDBE", ()),
    ],
)
def test_terms(letters: str, terms: tuple[str, ...]) -> None:
    assert terms_of_letters(letters) == terms


def test_terms_of_a_tune() -> None:
    assert form_terms(tune("|:CDEF|GABc:|\n|:a4|f4:|")) == ("Binary", "Sectional: Verse/Chorus")
