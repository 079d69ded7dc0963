import pytest

from chatmusician.data.folk import FolkCollections
from chatmusician.music.pitches import pitches
from chatmusician.music.tunes import parse_tune
from chatmusician.music.withholding import changes, without_key, without_meter


@pytest.mark.parametrize(
    ("key", "body", "spelt"),
    [
        ("G", "B2A F2A | =F3 f3 | F-|F", "B2A ^F2A | F3 f3 | ^F-|F"),
        ("C", "^F2 F2 | =F2 F2", "^F2 F2 | F2 F2"),
        ("Eb", "[EGB]2 =e2 _e2 | E", "[_EG_B]2 =e2 _e2 | _E"),
        ("Dphr ^f", "f2 c2 E2", "^f2 c2 _E2"),
        ("Amix", '"G"(3gab c\'C, g', '"G"(3gab ^c\'C, g'),
    ],
)
def test_accidentals_stand_at_their_notes(key: str, body: str, spelt: str) -> None:
    tune = parse_tune(f"X:1\nL:1/8\nM:6/8\nK:{key}\n{body} |]\n")
    assert without_key(tune) == f"X:1\nL:1/8\nM:6/8\nK:none\n{spelt} |]\n"
    assert pitches(parse_tune(without_key(tune))) == pitches(tune)


def test_the_meter_is_left_out() -> None:
    tune = parse_tune("X:1\nL:1/8\nM:6/8\nK:G\nGAB d3 |]\n")
    assert without_meter(tune) == "X:1\nL:1/8\nK:G\nGAB d3 |]\n"


def test_changes_inside_are_seen() -> None:
    tune = parse_tune("X:1\nM:4/4\nK:G\nG4 | [K:D] d4 |\nM:3/4\nd3 |]\n")
    assert changes(tune, "K")
    assert changes(tune, "M")
    assert not changes(tune, "L")


def test_real_tunes_sound_the_same_without_their_keys() -> None:
    for folk in FolkCollections().tunes("validation"):
        tune = parse_tune(folk.abc)
        if not changes(tune, "K"):
            assert pitches(parse_tune(without_key(tune))) == pitches(tune)
