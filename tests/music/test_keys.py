import pytest

from chatmusician.music.keys import parse_key, rewrite_key


@pytest.mark.parametrize(
    ("value", "written", "sharps"),
    [
        ("G", "G", 1),
        ("Gm", "Gm", -2),
        ("G minor", "Gm", -2),
        ("E Minor", "Em", 1),
        ("EMin", "Em", 1),
        ("F#m", "F#m", 3),
        ("Bb", "Bb", -2),
        ("Ador", "Ador", 1),
        ("A Dorian", "Ador", 1),
        ("D Mix", "Dmix", 1),
        ("Amixolydian", "Amix", 2),
        ("Bphr", "Bphr", 1),
        ("Clyd", "Clyd", 1),
        ("Bloc", "Bloc", 0),
        ("Aaeo", "Am", 0),
        ("Cion", "C", 0),
        ("C#", "C#", 7),
        ("Cb", "Cb", -7),
        ("Ab minor", "Abm", -7),
        ("none", "none", 0),
        ("", "none", 0),
        ("HP", "HP", 0),
        ("Hp", "Hp", 2),
        ("D clef=bass", "D", 2),
        ("D treble-8", "D", 2),
        ("G transpose=-2 octave=1", "G", 1),
    ],
)
def test_keys(value: str, written: str, sharps: int) -> None:
    key = parse_key(value)
    assert (str(key), key.sharps) == (written, sharps)
    assert parse_key(str(key)) == key


@pytest.mark.parametrize("value", ["H", "g", "Gfoo", "Bn", "G#", "Fb", "D dance", "G sharp", "1"])
def test_what_is_no_key(value: str) -> None:
    with pytest.raises(ValueError, match=r"; (write|spell|remove)| remove"):
        parse_key(value)


def test_signatures() -> None:
    assert dict(parse_key("D").signature) == {"C": 1, "D": 0, "E": 0, "F": 1, "G": 0, "A": 0, "B": 0}
    assert dict(parse_key("Eb").signature) == {"C": 0, "D": 0, "E": -1, "F": 0, "G": 0, "A": -1, "B": -1}
    assert dict(parse_key("Hp").signature) == {"C": 1, "D": 0, "E": 0, "F": 1, "G": 0, "A": 0, "B": 0}
    assert parse_key("D =c").signature["C"] == 0
    assert parse_key("Dmix=c").signature["C"] == 0
    only = parse_key("D exp _b ^f").signature
    assert (only["B"], only["F"], only["C"]) == (-1, 1, 0)


@pytest.mark.parametrize(
    ("value", "semitones", "target"),
    [
        ("G", 2, "A"),
        ("G", -1, "F#"),
        ("F", 1, "Gb"),
        ("Bb", 1, "B"),
        ("Am", 3, "Cm"),
        ("Em", -1, "D#m"),
        ("Dm", 1, "Ebm"),
        ("Ador", 5, "Ddor"),
        ("Dmix", 12, "Dmix"),
        ("none", 3, "none"),
        ("HP", -4, "HP"),
    ],
)
def test_transposed_keys_take_the_fewest_accidentals(value: str, semitones: int, target: str) -> None:
    assert str(parse_key(value).transpose(semitones)) == target


def test_explicit_accidentals_move_with_the_key() -> None:
    # F natural in D Phrygian is raised; a tone higher, in E Phrygian, that note is G natural, raised to G sharp
    assert str(parse_key("D phr ^f").transpose(2)) == "Ephr ^g"
    # C natural in D major, whose signature has C sharp; in Eb major it is Db, whose signature has D natural
    assert str(parse_key("D =c").transpose(1)) == "Eb _d"


def test_a_key_is_rewritten_where_it_stands() -> None:
    assert rewrite_key("E Minor clef=bass", parse_key("F#m")) == "F# Minor clef=bass"
    assert rewrite_key("D =c", parse_key("Eb _d")) == "Eb _d"
    assert rewrite_key("HP", parse_key("HP")) == "HP"
