import pytest

from chatmusician.music.pitches import BarAccidentals, pitches
from chatmusician.music.tunes import parse_tune


@pytest.mark.parametrize(
    ("key", "body", "expected"),
    [
        ("C", "C c c' C,|", (60, 72, 84, 48)),
        ("G", "f F|=f f F|f|", (78, 66, 77, 77, 65, 78)),
        ("Eb", "B e a|", (70, 75, 80)),
        ("C", "^f ^^f _b __b =b|", (78, 79, 82, 81, 83)),
        ("C", "[^CE]C|C|", (61, 64, 61, 60)),
        ("C", "{^f}f|f|", (78, 78, 77)),
        ("C", "^f2-|f f|", (78, 78, 77)),
        ("C", "^f2-|F f|", (78, 65, 77)),
        ("C", "^f-|=f|", (78, 77)),
        ("C", "[^ce]-|[ce]c|", (73, 76, 73, 76, 72)),
        ("C", "f[K:D]f|\nK:F\nB|", (77, 78, 70)),
        ("HP", "c f|", (72, 77)),
        ("Hp", "c f|", (73, 78)),
    ],
)
def test_pitches(key: str, body: str, expected: tuple[int, ...]) -> None:
    assert pitches(parse_tune(f"X:1\nK:{key}\n{body}")) == expected


def test_accidentals_are_written_only_where_needed() -> None:
    accidentals = BarAccidentals(signature={"C": 0, "D": 0, "E": 0, "F": 1, "G": 0, "A": 0, "B": 0})
    assert [accidentals.write("F", 1, alteration) for alteration in (1, 0, 0, 1, 2)] == ["", "=", "", "^", "^^"]
    assert accidentals.write("G", 0, 0, always=True) == "="
    accidentals.bar_line()
    assert accidentals.write("F", 1, 1) == ""
