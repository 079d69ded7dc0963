from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from random import Random
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import mido
import music21
import pytest

from chatmusician.music.midi import abc_to_midi
from chatmusician.music.notation.reading import read_score
from chatmusician.music.notation.score import NotationError
from chatmusician.music.notation.writing import NOTES_MOST, ending_numbers, notate, write_musicxml
from chatmusician.music.sanitising import sanitise
from chatmusician.music.tunes import split_tunes

HEADER = "X:1\nT:Test\nM:4/4\nL:1/4\nK:C\n"


def written(abc: str) -> Element:
    return ElementTree.fromstring(write_musicxml(read_score(abc)))


def texts(element: Element, path: str) -> list[str]:
    return [found.text or "" for found in element.findall(path)]


def of_midi(midi: bytes) -> list[tuple[int, Fraction]]:
    """Pitches and durations, in quarter notes, in the order of their beginnings; higher pitches first.

    abc2midi ends each note a tick early.
    """
    file = mido.MidiFile(file=BytesIO(midi))
    notes = []
    for track in file.tracks:
        now, begun = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                begun[message.note] = now
            elif message.type in ("note_on", "note_off") and message.note in begun:
                start = begun.pop(message.note)
                notes.append((start, -message.note, Fraction(now - start + 1, file.ticks_per_beat)))
    return [(-pitch, duration) for _, pitch, duration in sorted(notes)]


def of_musicxml(content: bytes) -> list[tuple[int, Fraction]]:
    """The same of what music21 reads, repeats played and ties joined."""
    notes = []
    for part in music21.converter.parseData(content.decode(), format="musicxml").parts:
        played = part.expandRepeats() if part.recurse().getElementsByClass("Repeat") else part
        for note in played.stripTies().flatten().notes:
            if not isinstance(note, music21.harmony.ChordSymbol) and not note.duration.isGrace:
                notes += [(note.offset, -pitch.midi, Fraction(note.quarterLength)) for pitch in note.pitches]
    return [(-pitch, duration) for _, pitch, duration in sorted(notes)]


@pytest.mark.parametrize(
    "body",
    [
        "CDEF|GABc|",
        "^F_BF=B|FBFB|",
        "|:C4|D4:|E4|",
        "C4|D4:|E4|F4:|",
        "|:C4|1D4:|2E4|]",
        "|:C4|[1D4:|[2E4||F4|",
        "C>D E<F|(3GAB c2|(3:2:2F2G G2|",
        "[L:1/8](5CDEFG (7GABcdef|",
        "C2-C2-|C4|z4|Z2|C4|",
        "D|CDEF|GAB:|c|BAGF|EDC:|",
        "[K:Eb]EFGA|[K:A]FGAB|",
        "[M:6/8][L:1/8]CDEFGA|[M:2/4]CDEF|",
        "C7/4 D/4 E3/2 F/2|C5|",
        "^C-|C2 C2|",
    ],
)
def test_a_program_reads_what_the_midi_plays(body: str) -> None:
    played = of_midi(abc_to_midi(HEADER + body + "\n"))
    read = of_musicxml(notate(HEADER + body + "\n").content)
    assert [pitch for pitch, _ in read] == [pitch for pitch, _ in played]
    for (_, ours), (_, theirs) in zip(read, played, strict=True):
        assert float(ours) == pytest.approx(float(theirs), abs=1 / 200)  # a tick is 1/480


def test_voices_and_chords_are_read_as_played() -> None:
    abc = "X:1\nM:2/4\nL:1/4\nV:1\nV:2 bass\nK:G\nV:1\n[CE]F|G2|\nV:2\nC,D,|(3E,F,G, A,|\n"
    read, played = of_musicxml(notate(abc).content), of_midi(abc_to_midi(abc))
    assert sorted(pitch for pitch, _ in read) == sorted(pitch for pitch, _ in played)
    assert sum(duration for _, duration in read) == pytest.approx(sum(duration for _, duration in played), abs=0.1)


@pytest.fixture(scope="module")
def plain_tunes() -> list[str]:
    """Folk tunes without what MIDI plays and a score only marks: ornaments, chord symbols, parts in another order.

    Nor with endings, which abc2midi plays once more where the next section is repeated without a sign at its start.
    """
    spec = find_spec("music21")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "corpus"
    files = [*sorted((folder / "ryansMammoth").glob("*.abc")), *sorted((folder / "oneills1850").glob("*.abc"))]
    tunes = []
    for file in files:
        for tune in split_tunes(file.read_bytes().decode("latin-1")):
            body = tune.text.partition("\nK:")[2].partition("\n")[2]
            if "hornpipe" not in tune.text.lower() and not set(body) & set('{"~!.[12HJLMOPRSTuvkP') - set("12"):
                tunes.append(tune.text)
    return Random(1).sample([tune for tune in tunes if not any(sign in tune for sign in ("|1", ":|2", "P:"))], 25)


def test_real_tunes_are_read_as_played(plain_tunes: list[str]) -> None:
    for tune in plain_tunes:
        abc = sanitise(tune).abc
        played, read = of_midi(abc_to_midi(abc)), of_musicxml(notate(abc).content)
        assert [pitch for pitch, _ in read] == [pitch for pitch, _ in played], tune
        assert [float(duration) for _, duration in read] == pytest.approx(
            [float(duration) for _, duration in played], abs=1 / 100
        ), tune


def test_a_document_has_its_parts_in_order() -> None:
    root = written('X:1\nT:Title\nT:Other\nC:Trad.\nR:reel\nM:C\nL:1/4\nQ:1/4=90\nK:G\n"Am"CD!trill!E.F|\n')
    assert [child.tag for child in root] == ["work", "movement-title", "identification", "part-list", "part"]
    assert texts(root, "identification/creator") == ["Trad."]
    assert texts(root, ".//miscellaneous-field[@name='rhythm']") == ["reel"]
    (measure,) = root.findall("part/measure")
    assert [child.tag for child in measure] == ["attributes", "direction", "harmony", *["note"] * 4]
    assert texts(measure, "attributes/key/fifths") == ["1"]
    assert [time.get("symbol") for time in measure.findall("attributes/time")] == ["common"]
    assert (texts(measure, ".//beat-unit"), texts(measure, ".//per-minute")) == (["quarter"], ["90"])
    assert [sound.get("tempo") for sound in measure.iter("sound")] == ["90"]
    ornaments = [[sign.tag for sign in note.findall("notations/*/*")] for note in measure.findall("note")]
    assert ornaments == [[], [], ["trill-mark"], ["staccato"]]


@pytest.mark.parametrize(
    ("symbol", "root", "kind", "text", "bass"),
    [
        ("C", ["C"], "major", "", []),
        ("F#m7", ["F", "1"], "minor-seventh", "m7", []),
        ("Bbmaj7/D", ["B", "-1"], "major-seventh", "maj7", ["D"]),
        ("G7/Bb", ["G"], "dominant", "7", ["B", "-1"]),
        ("Cadd9", ["C"], "other", "add9", []),
    ],
)
def test_chord_symbols(symbol: str, root: list[str], kind: str, text: str, bass: list[str]) -> None:
    (harmony,) = written(f'{HEADER}"{symbol}"C|\n').iter("harmony")
    assert [element.text for element in harmony.find("root") or ()] == root
    assert [(element.text, element.get("text")) for element in harmony.findall("kind")] == [(kind, text)]
    assert [element.text for element in harmony.find("bass") or ()] == bass


def test_texts_that_name_no_chord_are_words() -> None:
    root = written(HEADER + '"Fine"C "_low"D "^high"E|\n')
    placed = [(direction.get("placement"), texts(direction, ".//words")) for direction in root.iter("direction")]
    assert placed == [("above", ["Fine"]), ("below", ["low"]), ("above", ["high"])]


@pytest.mark.parametrize(
    ("body", "beams"),
    [
        ("C/D/E/F/ G", [["begin"], ["continue"], ["continue"], ["end"], []]),
        ("C/D/ E/ F", [["begin"], ["end"], [], []]),
        ("C/D//E// z/F/", [["begin"], ["continue", "begin"], ["end", "end"], [], []]),
        ("C//D/E//", [["begin", "forward hook"], ["continue"], ["end", "backward hook"]]),
        ("C/D E/", [[], [], []]),
        ("C/|D/", [[], []]),
    ],
)
def test_notes_without_spaces_share_beams(body: str, beams: list[list[str]]) -> None:
    assert [texts(note, "beam") for note in written(HEADER + body + "|\n").iter("note")] == beams


def test_long_notes_are_tied_from_several() -> None:
    notes = list(written(HEADER + "[CE]5|\n").iter("note"))
    assert [(texts(note, "type"), note.find("chord") is not None) for note in notes] == [
        (["whole"], False),
        (["whole"], True),
        (["quarter"], False),
        (["quarter"], True),
    ]
    assert [[tie.get("type") for tie in note.findall("tie")] for note in notes] == [
        ["start"],
        ["start"],
        ["stop"],
        ["stop"],
    ]


def test_tuplets_say_where_they_begin_and_end() -> None:
    notes = list(written(HEADER + "(3CDE F/3|\n").iter("note"))
    assert [[mark.get("type") for mark in note.iter("tuplet")] for note in notes] == [["start"], [], ["stop"], []]
    assert [texts(note, "time-modification/*") for note in notes] == [["3", "2"]] * 4


def test_layers_begin_together() -> None:
    (measure,) = written(HEADER + "C2D2&E4|\n").iter("measure")
    assert [child.tag for child in measure][1:] == ["note", "note", "backup", "note"]
    assert texts(measure, "backup/duration") == ["4"]
    assert texts(measure, "note/voice") == ["1", "1", "2"]


def test_signatures_out_of_order_are_written_by_letters() -> None:
    root = written("X:1\nL:1/4\nK:D exp _b ^f\nC|\n")
    assert texts(root, ".//key/*") == ["F", "1", "B", "-1"]


def test_keys_are_cancelled() -> None:
    root = written("X:1\nL:1/4\nK:Bb\nB|[K:D]B|\n")
    assert [texts(key, "*") for key in root.iter("key")] == [["-2", "major"], ["-2", "2", "major"]]


@pytest.mark.parametrize(
    ("meter", "written_as"),
    [("6/8", ["6", "8"]), ("2+3/8", ["2+3", "8"]), ("(2+3)/8", ["2+3", "8"]), ("C|", ["2", "2"]), ("none", [""])],
)
def test_meters(meter: str, written_as: list[str]) -> None:
    assert texts(written(f"X:1\nM:{meter}\nL:1/8\nK:C\nC|\n"), ".//time/*") == written_as


def test_words_are_written_under_their_notes() -> None:
    root = written(HEADER + "CDEF|\nw:hap-py you_\nw:2.~then\n")
    lyrics = [[(lyric.get("number"), *texts(lyric, "*")) for lyric in note.iter("lyric")] for note in root.iter("note")]
    assert lyrics == [
        [("1", "begin", "hap"), ("2", "single", "2. then")],
        [("1", "end", "py")],
        [("1", "single", "you", "")],
        [],
    ]


def test_several_voices_are_bracketed() -> None:
    root = written("X:1\nL:1/4\nV:1 nm=A\nV:2 nm=B\nK:C\nV:1\nC|\nV:2\nD|\n")
    assert [element.tag for element in root.find("part-list") or ()] == [
        "part-group",
        "score-part",
        "score-part",
        "part-group",
    ]
    assert texts(root, "part-list/score-part/part-name") == ["A", "B"]


@pytest.mark.parametrize(
    ("label", "numbers"),
    [("1", "1"), ("1,3", "1, 3"), ("1-3", "1, 2, 3"), ("1,3-4", "1, 3, 4"), ("3-1", " "), ("last time", " ")],
)
def test_numbers_of_endings(label: str, numbers: str) -> None:
    assert ending_numbers(label) == numbers


def test_characters_that_xml_cannot_have_are_left_out() -> None:
    root = written("X:1\nT:a\ufffeb & <c>\nK:C\nC|\n")
    assert texts(root, "work/work-title") == ["ab & <c>"]


def test_a_score_has_a_most_number_of_notes() -> None:
    abc = "X:1\nM:none\nL:1/1\nK:C\n" + "C512 " * 200 + "|\n"  # each of 171 dotted breves and more
    with pytest.raises(NotationError, match=f"more than {NOTES_MOST}"):
        notate(abc)


def test_lengths_that_divide_nothing_are_rounded() -> None:
    root = written("X:1\nM:none\nL:1/1\nK:C\n" + "".join(f"C/{prime}" for prime in (7, 11, 13, 17, 19, 23, 29)) + "|\n")
    assert texts(root, ".//divisions") == ["1048576"]
    assert int(texts(root, ".//duration")[0]) == round(4 * 1048576 / 7)
