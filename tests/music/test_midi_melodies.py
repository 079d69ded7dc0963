import random
import re
from collections import Counter

import pytest
from score_files import midi

from chatmusician.data.folk import FolkCollections
from chatmusician.music.checks import check_tune
from chatmusician.music.durations import measure
from chatmusician.music.layout import lay_out
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.midi_events import MIDI_BYTES, read_midi
from chatmusician.music.midi_melodies import read_melody
from chatmusician.music.pitches import pitches
from chatmusician.music.scores import ConversionError, write_tune
from chatmusician.music.tunes import parse_tune

Voice = list[tuple[int, float, float]]


def line(*notes: tuple[int, float], start: float = 0) -> Voice:
    """Notes one after the other: pitches and lengths in quarter notes."""
    voice, time = [], start
    for pitch, length in notes:
        voice.append((pitch, time, length))
        time += length
    return voice


def tune(content: bytes) -> str:
    """What a file becomes, in the layout of the corpus, without X and L."""
    laid = lay_out(parse_tune(write_tune(read_melody(content))))
    assert check_tune(laid).wrong_bars == ()
    return laid.removeprefix("X:1\nL:1/8\n")


SCALE = line((60, 1), (62, 1), (64, 1), (65, 1), (67, 2), (64, 1), (62, 1), (60, 4))


def test_a_melody() -> None:
    assert tune(midi(SCALE)) == "M:4/4\nK:C\nC2D2 E2F2 | G4 E2D2 | C8 |]\n"


@pytest.mark.parametrize(
    ("meters", "notes", "start", "abc"),
    [
        # a whole bar of which the music takes the end; the last bar is as much shorter
        ([(0, 4, 4)], [(67, 1), (60, 4), (64, 2), (60, 1)], 3, "M:4/4\nK:C\nG2 | C8 | E4 C2 |]"),
        # a bar of its own, of another meter
        ([(0, 1, 4), (1, 3, 4)], [(67, 1), (60, 3), (64, 2)], 0, "M:3/4\nK:C\nG2 | C6 | E4 |]"),
        # neither: the long notes are at the bar lines
        (
            [(0, 3, 4)],
            [(67, 1), (60, 2), (64, 1), (65, 2), (67, 1), (60, 2)],
            0,
            "M:3/4\nK:C\nG2 | C4 E2 | F4 G2 | C4 |]",
        ),
        (
            [(0, 6, 8)],
            [(67, 0.5), *[(60, 1), (62, 0.5)] * 4, (60, 2.5)],
            0,
            "M:6/8\nK:C\nG | C2D C2D | C2D C2D | C5 |]",
        ),
        ([(0, 4, 4)], [(60, 2), (62, 2), (64, 4)], 0, "M:4/4\nK:C\nC4 D4 | E8 |]"),
        # silence of two bars before the music
        ([(0, 4, 4)], [(60, 2), (62, 2), (64, 4)], 8, "M:4/4\nK:C\nC4 D4 | E8 |]"),
    ],
)
def test_bars_and_pickups(meters: list[tuple[float, int, int]], notes: Voice, start: float, abc: str) -> None:
    assert tune(midi(line(*notes, start=start), meters=meters)) == abc + "\n"


@pytest.mark.parametrize(
    ("notes", "abc"),
    [
        ([(60, 1.5), (62, 0.5), (64, 3), (60, 3)], "C3D E4- | E2C6"),  # a note over the bar line
        ([(60, 1 / 3), (62, 1 / 3), (64, 1 / 3), (60, 3)], "(3CDEC6"),
        ([(60, 0.25), (62, 0.25), (64, 0.5), (60, 1.5), (59, 0.5), (60, 1)], "C/2D/2EC3 B,C2"),
        ([(60, 1 / 6), (62, 1 / 6), (64, 1 / 6), (65, 0.5), (60, 3)], "(3C/2D/2E/2FC6"),
        ([(60, 2 / 3), (62, 1 / 3), (60, 3)], "(3:2:2C2DC6"),
    ],
)
def test_lengths(notes: list[tuple[int, float]], abc: str) -> None:
    """A whole note before and one behind keep the bar lines in their places."""
    written = tune(midi(line((60, 4), *notes, (60, 4)))).removeprefix("M:4/4\nK:C\nC8 | ").removesuffix(" | C8 |]\n")
    assert written == abc


def test_rests() -> None:
    assert tune(midi([(60, 0, 1), (64, 2, 1), (60, 4, 4)])) == "M:4/4\nK:C\nC2z2 E2z2 | C8 |]\n"


@pytest.mark.parametrize(
    ("key", "pitch_classes", "last", "found"),
    [
        ("C", "0 2 4 5 7 9 11", 0, "C"),
        ("C", "0 2 4 5 7 9 11", 9, "Am"),
        ("C", "0 2 4 5 7 9 11", 2, "Ddor"),
        ("Am", "0 2 4 5 7 8 11", 9, "Am"),
        ("C", "2 4 6 7 9 11 1", 2, "D"),  # the file says C for want of better
        (None, "10 0 2 3 5 7 9", 10, "Bb"),
        ("F#", "6 8 10 11 1 3 5", 6, "F#"),
    ],
)
def test_keys(key: str | None, pitch_classes: str, last: int, found: str) -> None:
    notes = [(60 + int(pitch), 1.0) for pitch in pitch_classes.split()]
    content = midi(line(*notes, (60 + last, 1)), key=key)
    assert f"K:{found}\n" in tune(content)


BASS = line((36, 2), (43, 2), (36, 2), (43, 2), (36, 4))
CHORDS = [(pitch, time, 2.0) for time in (0.0, 2.0, 4.0, 6.0, 8.0) for pitch in (48, 52, 55)]


@pytest.mark.parametrize(
    ("voices", "names", "channels"),
    [
        ([SCALE, CHORDS], ["", ""], [0, 1]),  # the only one in which nothing sounds together
        ([BASS, SCALE], ["Bass", "Melody"], [0, 1]),
        ([SCALE, BASS, CHORDS], ["Lead vocals", "Bass", "Piano"], [0, 1, 2]),
        ([SCALE, BASS], ["", "drums"], [0, 9]),  # percussion is no voice
        ([SCALE, BASS], ["Fiddle tune", ""], [3, 3]),  # two tracks of one channel
    ],
)
def test_the_melody_is_found(voices: list[Voice], names: list[str], channels: list[int]) -> None:
    assert tune(midi(*voices, names=names, channels=channels)).startswith("M:4/4\nK:C\nC2D2 E2F2 | G4 E2D2 |")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (midi(SCALE, BASS), "it has 2 voices .*'', ''.* and which is the melody cannot be told"),
        (midi(SCALE, BASS, names=["Melody", "Melody 2"]), "it has 2 voices .*'Melody', 'Melody 2'"),
        (midi(CHORDS), "its notes sound together, first at quarter note 1;"),
        (midi(CHORDS, SCALE, names=["melody", ""]), "its notes sound together"),
        (midi(SCALE, channels=[9]), "it has no notes but perhaps percussion"),
        (midi(), "it has no notes"),
        (midi(SCALE, meters=[(0, 4, 4), (4, 3, 4)]), "its meter changes .4/4, 3/4."),
        (midi(line(*[(60, 3.0)] * 20), meters=[(0, 2, 4)]), "its notes do not keep to 2/4: .* bar lines would cut one"),
        (midi([(60, 0, 4), (62, 60, 4)]), "it is silent for 14 bars"),
        (midi([(60, 0, 4), (62, 40000, 4)]), "it has more than 1000 bars"),
        (midi(SCALE)[:-9], "midi2abc cannot read it"),
        (b"", "midi2abc cannot read it"),
        (b"MThd", "midi2abc cannot read it .*premature EOF"),
        (b"RIFF....", "midi2abc cannot read it .*expecting MThd"),
        (b"MThd\0\0\0\6\0\0\0\1\xe7\x28MTrk\0\0\0\4\0\xff\x2f\0", "it counts its time in seconds"),
        (b"\0" * (MIDI_BYTES + 1), "the file has more than 1 MiB"),
    ],
)
def test_what_is_no_melody_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        read_melody(content)


def test_random_bytes_are_no_crash() -> None:
    draw = random.Random(0)
    whole = midi(SCALE, BASS)
    for _ in range(25):
        spoilt = bytearray(whole)
        for _ in range(6):
            spoilt[draw.randrange(14, len(spoilt))] = draw.randrange(256)
        try:
            assert read_melody(bytes(spoilt)).sounds
        except ConversionError as error:
            assert "\n" not in str(error)


def test_a_key_signature_that_cannot_be_is_not_believed() -> None:
    content = midi(SCALE).replace(b"\xff\x59\x02\x00\x00", b"\xff\x59\x02\x7f\x00")
    assert tune(content).startswith("M:4/4\nK:C\n")


def test_bars_shorter_than_an_eighth_are_no_crash() -> None:
    with pytest.raises(ConversionError, match=r"its notes do not keep to 1/16: .* bar lines would cut one"):
        read_melody(midi(SCALE, meters=[(0, 1, 16)]))


def test_names_with_line_ends_are_no_events() -> None:
    content = midi(SCALE, names=["x\n     0  Note on   1 99 ( b4) 105\n"])
    (voice,) = read_midi(content).voices
    assert 99 not in {note.pitch for note in voice.notes}


def test_folk_tunes_come_back() -> None:
    """Played by abc2midi, without their repeats, and read again."""
    same: Counter[str] = Counter()
    for folk in FolkCollections(collections=("ryansMammoth",), held_out=0.04).tunes("validation"):
        if re.search(r"\|\d|\[[^ ]*\]", folk.abc) or check_tune(folk.abc).wrong_bars:
            continue
        before = parse_tune(lay_out(parse_tune(re.sub(r":\||\|:|::", "||", folk.abc))))
        head = folk.abc[: len(folk.abc) - len(parse_tune(folk.abc).body)]
        content = abc_to_midi(head + before.body)
        try:
            after = parse_tune(lay_out(parse_tune(write_tune(read_melody(content)))))
        except ConversionError:
            same["refused"] += 1
            continue
        same["all"] += 1
        same["pitches"] += pitches(after) == pitches(before)
        same["key"] += after.key == before.key
        same["meter"] += (after.meter.beats, after.meter.unit) == (before.meter.beats, before.meter.unit)
        first = [measure(tune)[0][0].duration for tune in (before, after)]
        same["pickup"] += first[0] == first[1]
    assert same["all"] > 20
    assert same["refused"] <= 2
    assert same["meter"] == same["all"]
    assert min(same["pitches"], same["key"], same["pickup"]) >= 0.85 * same["all"]
