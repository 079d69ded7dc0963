"""Bach's chorales: four voices that are what music21 and abc2midi take them for."""

from collections import defaultdict
from fractions import Fraction

import pytest
from score_files import attributes, musicxml, note

from chatmusician.data.chorales import BachChorales, write_chorale
from chatmusician.data.tune_files import music21_corpus
from chatmusician.errors import UserError
from chatmusician.music.checks import check_tune
from chatmusician.music.events import events
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.midi_events import read_midi
from chatmusician.music.scores import ConversionError
from chatmusician.music.tunes import parse_tune

SPLITS = ("train", "validation", "test")
CHORALES = ("bwv1.6", "bwv4.8", "bwv120.8-a", "bwv171.6", "bwv248.9-1", "bwv269", "bwv431")
"""The first has a horn too, the second another key signature in the soprano than below; the third is in 3/4, the fourth
changes its meter in the middle of a bar, and the fifth has rests where instruments play between the lines."""

Sound = tuple[Fraction, int, Fraction]
"""Onset and duration in whole notes, with the MIDI note between them."""


@pytest.fixture(scope="module")
def corpus() -> BachChorales:
    return BachChorales(held_out=0.1)


def content(name: str) -> bytes:
    return (music21_corpus() / "bach" / f"{name}.mxl").read_bytes()


def of_voices(abc: str) -> dict[str, list[Sound]]:
    """What each voice sounds, tied notes as one."""
    sounds: dict[str, list[Sound]] = defaultdict(list)
    time: dict[str, Fraction] = defaultdict(Fraction)
    tied: dict[str, bool] = defaultdict(bool)
    for event in events(parse_tune(abc)):
        voice = event.voice
        if event.notes:
            (pitch,) = event.pitches
            if tied[voice]:
                onset, before, length = sounds[voice].pop()
                assert before == pitch
                sounds[voice].append((onset, pitch, length + event.length))
            else:
                sounds[voice].append((time[voice], pitch, event.length))
        tied[voice] = event.tied
        time[voice] += event.length
    return dict(sounds)


def of_music21(name: str) -> dict[str, list[Sound]]:
    """The same by music21's reading of the file."""
    from music21 import converter

    sounds: dict[str, list[Sound]] = {}
    score = converter.parse(music21_corpus() / "bach" / f"{name}.mxl")
    for part in score.parts:
        if part.partName.split()[0] not in ("Soprano", "Alto", "Tenor", "Bass"):
            continue
        found: list[Sound] = []
        for sounding in part.stripTies().flatten().notes:
            length = Fraction(sounding.duration.quarterLength) / 4
            found.append((Fraction(sounding.offset) / 4, sounding.pitch.midi, length))
        sounds[part.partName[0]] = found
    return sounds


@pytest.mark.parametrize("name", CHORALES)
def test_voices_are_those_that_music21_reads(name: str) -> None:
    assert of_voices(write_chorale(content(name))) == of_music21(name)


@pytest.mark.parametrize("name", CHORALES)
def test_voices_are_those_that_abc2midi_plays(name: str) -> None:
    """Onsets and pitches, once without repeats: abc2midi ends notes a little early."""
    abc = write_chorale(content(name)).replace(":|", "||").replace("|:", "|").replace("::", "||")
    played = read_midi(abc_to_midi(abc)).voices
    heard = [[(round(note.start * 8), note.pitch) for note in voice.notes] for voice in played]
    assert heard == [[(round(onset * 32), pitch) for onset, pitch, _ in voice] for voice in of_voices(abc).values()]


def test_a_chorale_as_it_is_written() -> None:
    abc = write_chorale(content("bwv269"))
    lines = abc.splitlines()
    assert lines[:3] == ["X:1", "L:1/8", "M:3/4"]
    assert lines[3:8] == ["V:S clef=treble", "V:A clef=treble", "V:T clef=bass", "V:B clef=bass", "K:G"]
    assert [line[:6] for line in lines[8:16]] == ["[V:S] ", "[V:A] ", "[V:T] ", "[V:B] "] * 2
    assert lines[8] == "[V:S] G2 | G4 d2 | B3 A G2 |"


def test_all_are_in_time_and_of_four_voices(corpus: BachChorales) -> None:
    chorales = [chorale for split in SPLITS for chorale in corpus.chorales(split)]
    assert len(chorales) == 392
    for chorale in chorales:
        check = check_tune(chorale.abc)
        assert check.parses
        assert not check.wrong_bars
        lengths: dict[str, Fraction] = defaultdict(Fraction)
        for event in events(parse_tune(chorale.abc)):
            lengths[event.voice] += event.length
        assert list(lengths) == ["S", "A", "T", "B"]
        assert len(set(lengths.values())) == 1


def test_what_is_left_out_says_why(corpus: BachChorales) -> None:
    reasons = {rejection.file: rejection.reason for rejection in corpus.rejections()}
    assert len(reasons) == 16
    assert reasons["bach/bwv27.6.mxl"].startswith(
        "it has Soprano 1, Soprano 2, Alto, Tenor, Bass and not one part each"
    )
    assert reasons["bach/bwv846.mxl"].startswith("it has none of them and not one part each")
    assert reasons["bach/bwv363.mxl"] == "4 bars do not add up, first 'E6' in voice S"
    assert reasons["bach/bwv398.mxl"] == "the same voices as bach/bwv197.7-a.mxl"


def test_no_chorale_tune_is_on_two_sides(corpus: BachChorales) -> None:
    tunes = {split: {chorale.tune for chorale in corpus.chorales(split)} for split in SPLITS}
    assert tunes["train"] and tunes["validation"] and tunes["test"]
    assert not tunes["train"] & tunes["validation"]
    assert not tunes["train"] & tunes["test"]
    assert not tunes["validation"] & tunes["test"]


def test_settings_of_one_tune_are_together(corpus: BachChorales) -> None:
    """O Haupt voll Blut und Wunden, in the St Matthew Passion and elsewhere."""
    settings = {f"bach/{name}.mxl" for name in ("bwv135.6", "bwv153.5", "bwv244.15", "bwv244.54", "bwv248.5", "bwv270")}
    tunes = {chorale.tune for split in SPLITS for chorale in corpus.chorales(split) if chorale.origin in settings}
    assert tunes == {"3,-1,-1,-1,-1,1"}


def test_documents_are_questions_in_bachs_style(corpus: BachChorales) -> None:
    documents = list(corpus.documents("validation"))
    assert {document.source for document in documents} == {"bach_style"}
    for document, example, chorale in zip(
        documents, corpus.examples("validation"), corpus.chorales("validation"), strict=True
    ):
        assert document.text == f"Human: {example.question} </s> Assistant: {chorale.abc} </s> "
        assert document.origin == chorale.origin
    assert len({example.question for example in corpus.examples("train")}) >= 5


def test_the_description_is_that_of_the_files_and_settings() -> None:
    assert BachChorales(held_out=0.1).describe() == BachChorales(held_out=0.1).describe()
    assert BachChorales(held_out=0.1).describe() != BachChorales(held_out=0.2).describe()


def test_other_scores_are_refused() -> None:
    measure = attributes() + note("G", 4, 8)
    with pytest.raises(ConversionError, match="it has Soprano, Alto and not one part each for Soprano, Alto, Tenor"):
        write_chorale(musicxml([measure], [measure], names=["Soprano", "Alto"]))
    with pytest.raises(UserError, match=r"corpus.held_out=0.6: use a share above 0 and below 0.5"):
        BachChorales(held_out=0.6)
