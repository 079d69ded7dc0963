import pytest

from chatmusician.errors import UserError
from chatmusician.music.pitches import pitches
from chatmusician.music.transposition import transpose_tune
from chatmusician.music.tunes import parse_tune


def body(key: str, music: str, *, semitones: int | None = None, tonic: str | None = None) -> str:
    return transpose_tune(f"X:1\nK:{key}\n{music}", semitones=semitones, tonic=tonic).split("\n", 1)[1]


@pytest.mark.parametrize(
    ("key", "music", "semitones", "expected"),
    [
        ("G", '|"G"GA=fg|"D7"^c2 f2|', 2, 'K:A\n|"A"AB=ga|"E7"^d2 g2|'),
        ("C", "CEG c|", -1, "K:B\nB,DF B|"),
        ("F", "FAB c|", 2, "K:G\nGBc d|"),
        ("C", "_B B|B|", 2, "K:D\n=c c|c|"),
        ("D", "=f^g=c|", 1, "K:Eb\n_g=a_d|"),
        ("C", "^B,|", 1, "K:Db\n^C|"),
        ("C", "CDEF|", 12, "K:C\ncdef|"),
        ("C", "c'd|", -24, "K:C\nCD,|"),
        ("E Minor clef=treble", "E>^c {d}e-|e2|", 3, "K:G Minor clef=treble\nG>=e {f}g-|g2|"),
        ("C", "[C^EG]3/2 [K:G]f=f|", 2, "K:D\n[D^^FA]3/2 [K:A]g=g|"),
        ("none", "CF|", 2, "K:none\nDG|"),
        ("HP", "CE|", 2, "K:HP\nD^F|"),
    ],
)
def test_transposed_by_hand(key: str, music: str, semitones: int, expected: str) -> None:
    assert body(key, music, semitones=semitones) == expected


def test_to_a_tonic_by_the_shorter_way() -> None:
    assert body("G", "G|", tonic="A") == "K:A\nA|"
    assert body("G", "G|", tonic="D") == "K:D\nD|"
    assert body("C", "C|", tonic="F#") == "K:F#\nF|"
    assert body("C", "C|", tonic="Gb") == "K:Gb\nG|"


def test_everything_but_notes_chords_and_key_stays() -> None:
    head = "X:4\nT:A Bag of Gold\nN:K:G is not a key here\n%G\n"
    text = head + 'K:G % G\n"^Am"|:G2 "Fine"A2 "4"B2|\\\nw:Go a-way\nP:B\nG`A !D.C.!:|'
    assert transpose_tune(text, semitones=2) == (
        head + 'K:A % G\n"^Am"|:A2 "Fine"B2 "4"c2|\\\nw:Go a-way\nP:B\nA`B !D.C.!:|'
    )


@pytest.mark.parametrize(
    ("symbol", "moved"),
    [('"Am7/G"', '"Bm7/A"'), ('"Bb"', '"C"'), ('"F#dim"', '"G#dim"'), ('"E7b9"', '"F#7b9"'), ('"Gsus4"', '"Asus4"')],
)
def test_chord_symbols(symbol: str, moved: str) -> None:
    assert body("C", f"{symbol}C|", semitones=2) == f"K:D\n{moved}D|"


@pytest.mark.parametrize("semitones", range(-11, 12))
@pytest.mark.parametrize(
    ("key", "music"),
    [
        ("G", "G^GA_B =f^f__e^^c|F=F F|^c-|c c|[_B,DF]{^g}g|"),
        ("Eb", "E_F^EB=B|_c^c=c c|A_B__B|"),
        ("F#m", "^E^^F=G|f^^f_e|"),
        ("Ddor", "^c=c[K:Bb]_d=e[K:Am ^g]gg=g|"),
    ],
)
def test_all_pitches_move_alike(key: str, music: str, semitones: int) -> None:
    text = f"X:1\nK:{key}\n{music}"
    before, moved = pitches(parse_tune(text)), transpose_tune(text, semitones=semitones)
    after = pitches(parse_tune(moved))
    assert [new - old for old, new in zip(before, after, strict=True)] == [semitones] * len(before)
    assert pitches(parse_tune(transpose_tune(moved, semitones=-semitones))) == before


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("X:1\nK:C\nC|", {}, "give exactly one of the two"),
        ("X:1\nK:C\nC|", {"semitones": 1, "tonic": "D"}, "give exactly one of the two"),
        ("X:1\nK:C\nC|", {"tonic": "H"}, "'H major' is not a key"),
        ("X:1\nK:C\nC|", {"tonic": "G#"}, "more than seven"),
        ("X:1\nK:C\nC,,,,|", {"semitones": -13}, "MIDI note -1: move it less"),
        ("X:9\nK:C\n[V:1]C|\n[V:2]D|", {"semitones": 1}, "X:9 has the voices 1, 2"),
        ("X:1\nK:C\nC|[K:Q]D|", {"semitones": 1}, "line 3, column 3: 'Q' is not a key"),
    ],
)
def test_what_is_refused(text: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        transpose_tune(text, **options)  # type: ignore[arg-type]  # the parameters differ in type
