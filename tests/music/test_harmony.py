"""Chords that are chosen: on tunes whose harmony leaves no doubt, on moved tunes, and beside what sources have."""

import re

import pytest

from chatmusician.data.folk import FolkCollections
from chatmusician.data.tune_files import music21_corpus
from chatmusician.music.checks import check_tune
from chatmusician.music.chord_symbols import chord_names, with_chords, without_chords
from chatmusician.music.events import events
from chatmusician.music.harmony import harmonise
from chatmusician.music.layout import lay_out
from chatmusician.music.transposition import Transposer
from chatmusician.music.tunes import Tune, parse_tune


def tune(body: str, *, key: str = "C", meter: str = "4/4", unit: str = "1/8") -> Tune:
    return parse_tune(f"X:1\nL:{unit}\nM:{meter}\nK:{key}\n{body}\n")


def written(body: str, *, key: str = "C", meter: str = "4/4") -> str:
    read = tune(body, key=key, meter=meter)
    return with_chords(read, harmonise(read)).strip()


@pytest.mark.parametrize(
    ("key", "meter", "body", "chords"),
    [
        ("C", "4/4", "c2e2 g2e2 | f2a2 c'2a2 | g2b2 d'2b2 | c'8 |]", "C F G C"),
        ("C", "3/4", "G2 E2 G2 | c2 A2 F2 | B2 G2 F2 | c6 |]", "C F G7 C"),
        ("G", "6/8", "GBd gdB | Ace eca | dfd AFD | G3 G3 |]", "G Am D G"),
        # minor: the dominant is major, with the leading note in the melody and without
        ("Am", "4/4", "A2c2 e2c2 | d2f2 a2f2 | e2^g2 b2g2 | a8 |]", "Am Dm E Am"),
        ("Am", "4/4", "A2c2 e2c2 | d2f2 a2f2 | B2e2 b2e2 | a8 |]", "Am Dm E Am"),
        # modes: the chord on the flat seventh leads home
        ("Ddor", "4/4", "D2F2 A2d2 | C2E2 G2c2 | G2E2 C2E2 | D8 |]", "Dm C Dm"),
        ("Amix", "4/4", "A2c2 e2a2 | G2B2 d2g2 | g2d2 B2G2 | A8 |]", "A G A"),
        ("Ephr", "4/4", "E2G2 B2e2 | F2A2 c2f2 | F2A2 c2A2 | E8 |]", "Em F Em"),
        ("Flyd", "4/4", "F2A2 c2f2 | G2=B2 d2g2 | G2B2 d2B2 | F8 |]", "F G F"),
        ("Aaeo", "4/4", "A2c2 e2a2 | G2B2 d2g2 | g2d2 B2G2 | A8 |]", "Am G Am"),
        # notes outside the scale make chords outside it, spelt as the notes are
        ("C", "4/4", "c2e2 g2e2 | d2^f2 a2f2 | g2b2 d'2b2 | c'8 |]", "C D G C"),
        ("F", "4/4", "F2A2 c2A2 | _e2g2 b2e'2 | B2d2 f2d2 | c2=e2 g2e2 | F8 |]", "F Eb Bb C F"),
        ("Eb", "4/4", "E2G2 B2G2 | A2c2 e2c2 | B2d2 f2d2 | e8 |]", "Eb Ab Bb Eb"),
    ],
)
def test_arpeggios_get_their_chords(key: str, meter: str, body: str, chords: str) -> None:
    assert chord_names(parse_tune(f"X:1\nL:1/8\nM:{meter}\nK:{key}\n{written(body, key=key, meter=meter)}")) == tuple(
        chords.split()
    )


def test_a_pickup_has_no_chord_and_sections_begin_with_one() -> None:
    assert written("G | c2e2 g2e2 | c6 G :: e | c2e2 g2e2 | c6 :|") == (
        'G | "C"c2e2 g2e2 | c6 G :: e | "C"c2e2 g2e2 | c6 :|'
    )


def test_an_ending_begins_with_a_chord() -> None:
    assert written("c2e2 g2e2 |1 c8 :|2 c8 |]") == '"C"c2e2 g2e2 |1 "C"c8 :|2 "C"c8 |]'


@pytest.mark.parametrize(
    ("meter", "body", "result"),
    [
        ("4/4", "cegc' fac'a | gbd'b c'4 |]", '"C"cegc\' "F"fac\'a | "G"gbd\'b "C"c\'4 |]'),
        ("6/8", "ceg faf | gbg c'3 |]", '"C"ceg "F"faf | "G"gbg "C"c\'3 |]'),
        ("9/8", "ceg gec gbd' | c'9 |]", '"C"ceg gec "G"gbd\' | "C"c\'9 |]'),
        # where a note is held over the middle of the bar, no chord begins there
        ("4/4", "c6 e2 | g8 | c'8 |]", '"C"c6 e2 | "G"g8 | "C"c\'8 |]'),
        # a chord stands before the mark of a tuplet
        ("4/4", "cegc' (3fac'a2 | (3gbd'b2 c'4 |]", '"C"cegc\' "F"(3fac\'a2 | "G"(3gbd\'b2 "C"c\'4 |]'),
    ],
)
def test_a_bar_has_one_chord_or_two(meter: str, body: str, result: str) -> None:
    assert written(body, meter=meter) == result


def test_the_key_may_change_inside() -> None:
    assert written("c2e2 g2e2 | c8 || [K:Eb] e2g2 b2g2 | a2c'2 e'2c'2 | e8 |]") == (
        '"C"c2e2 g2e2 | c8 || [K:Eb] "Eb"e2g2 b2g2 | "Ab"a2c\'2 e\'2c\'2 | "Eb"e8 |]'
    )


@pytest.mark.parametrize("key", ["none", "HP"])
def test_a_key_without_tonic_takes_no_chords(key: str) -> None:
    assert harmonise(tune("A2e2 a2e2 | A8 |]", key=key)) == {}


@pytest.mark.parametrize(
    "body", ["z8 | z8 |]", "G |]", "C", "[CEG]8 | [GBd]8 | [CEG]8 |]", "Z4 | C8 |]", "A>B c<d (5ABcde f2 | c8 |]"]
)
@pytest.mark.parametrize("meter", ["4/4", "none", "5/8", "7/8", "2/2", "12/8", "1/4"])
def test_odd_tunes_are_no_error(body: str, meter: str) -> None:
    assert isinstance(harmonise(tune(body, meter=meter)), dict)


@pytest.fixture(scope="module")
def folk() -> list[Tune]:
    return [parse_tune(tune.abc) for tune in FolkCollections().tunes("validation")]


def test_real_tunes_keep_their_notes_layout_and_bars(folk: list[Tune]) -> None:
    symbols = bars = 0
    for plain in folk:
        text = f"X:1\nL:{plain.first('L')}\nM:{plain.meter.text}\nK:{plain.fields[-1].value}\n"
        harmonised = parse_tune(text + with_chords(plain, harmonise(plain)))
        assert lay_out(harmonised) == text + harmonised.body
        assert without_chords(harmonised) == plain.body
        assert check_tune(text + harmonised.body).bars_right == check_tune(text + plain.body).bars_right
        symbols += len(chord_names(harmonised))
        bars += len({event.bar for event in events(plain)})
    assert 0.8 < symbols / bars < 1.6


def test_chords_move_with_the_tune(folk: list[Tune]) -> None:
    compared = 0
    for plain in folk:
        if not plain.key.tonic:
            continue
        text = f"X:1\nL:{plain.first('L')}\nM:{plain.meter.text}\nK:{plain.fields[-1].value}\n"
        harmonised = text + with_chords(plain, harmonise(plain))
        for tonic in ("Eb", "A"):
            if abs(plain.key.on(tonic).sharps) > 4:
                continue
            moved = parse_tune(Transposer(text + plain.body).on(tonic))
            expected = parse_tune(Transposer(harmonised).on(tonic))
            assert with_chords(moved, harmonise(moved)) == expected.body
            compared += 1
    assert compared > 200


def test_roots_of_a_reel_with_chords_of_its_own() -> None:
    """Little Czech Number of the Nottingham database, as music21 ships it: 17 bars, most of which leave a choice."""
    text = (music21_corpus() / "nottingham-dataset" / "reelsa-c.abc").read_text().split("X: 81")[1]
    own = parse_tune("X: 81" + text.split("\n\n")[0])
    laid = parse_tune(lay_out(own))
    head = "X:1\nL:1/4\nM:4/4\nK:Am\n"
    plain = parse_tune(head + without_chords(laid))
    found = parse_tune(head + with_chords(plain, harmonise(plain)))

    def roots(read: Tune) -> list[str]:
        """The root at the beginning of each bar."""
        held, roots = "", []
        for bar in re.split(r"\|+[:\]]*\d?|::?\|?", read.body):
            if not bar.strip():
                continue
            first = re.match(r'\s*"([A-G][#b]?)', bar)
            roots.append(first[1] if first else held)
            held = (re.findall(r'"([A-G][#b]?)', bar) or [held])[-1]
        return roots

    pairs = list(zip(roots(laid), roots(found), strict=True))
    assert sum(a == b for a, b in pairs) >= 0.6 * len(pairs)
