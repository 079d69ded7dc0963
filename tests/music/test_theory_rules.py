"""The rules that answers are computed by, and answers, against literals worked out by hand."""

from fractions import Fraction
from random import Random

import pytest

from chatmusician.music.keys import Key, parse_key
from chatmusician.music.theory.abc_tunes import AbcNote, AbcTune, length_text, notated, random_tune
from chatmusician.music.theory.chords import SEVENTHS_OF, TRIADS_OF, chord, chord_on, inverted, symbol
from chatmusician.music.theory.draft import Draft, a, draft, names, numbers_near, pick_unlike
from chatmusician.music.theory.questions import TOPICS
from chatmusician.music.theory.scales import altered_letters, sharps, signature_text, spell, tonic_with
from chatmusician.music.theory.spelling import Pitch, above, below, between, interval, near_intervals, pitch
from chatmusician.music.theory.values import VALUES, beat_of, beats_of, kind_of, listed


def ask(topic: str, level: int, facts: str) -> Draft:
    """The question with these facts, drawn again and again until it comes."""
    rng = Random(0)
    for _ in range(60_000):
        found = rng.choice(TOPICS[topic][level])(rng)
        if found is not None and found.facts == facts:
            return found
    raise AssertionError(f"{facts} was not drawn")


@pytest.mark.parametrize(
    ("topic", "level", "facts", "answer"),
    [
        ("intervals", 1, "intervals.semitones P5", "7"),
        ("intervals", 1, "intervals.inversion m7", "major second"),
        ("intervals", 1, "intervals.build D M3 above", "F#"),
        ("intervals", 2, "intervals.build Bb m3 below", "G"),
        ("intervals", 2, "intervals.inverted Eb C", "minor third"),
        ("intervals", 2, "intervals.compound reduce P12", "perfect fifth"),
        ("intervals", 2, "intervals.sum M3 m3", "perfect fifth"),
        ("intervals", 3, "intervals.same_sound A2 m3", "minor third"),
        ("intervals", 3, "intervals.compound widen A4", "augmented eleventh"),
        ("scales", 1, "scales.degree A major 7", "G#"),
        ("scales", 1, "scales.name_of_degree G major 5", "dominant"),
        ("scales", 2, "scales.degree_by_name E harmonic_minor 7", "D#"),
        ("scales", 2, "scales.mode_on_degree C 2", "dorian"),
        ("scales", 2, "scales.parent G mixolydian", "C major"),
        ("scales", 2, "scales.difference D natural_minor dorian", "Bb becomes B"),
        ("scales", 3, "scales.spelling F# harmonic_minor", "F# G# A B C# D E#"),
        ("scales", 3, "scales.name D E F# G# A# B#", "D whole-tone"),
        ("key_signatures", 1, "key_signatures.signature A major", "3 sharps"),
        ("key_signatures", 1, "key_signatures.key -2 major", "Bb major"),
        ("key_signatures", 1, "key_signatures.relative G major", "E minor"),
        ("key_signatures", 1, "key_signatures.parallel D major", "1 flat"),
        ("key_signatures", 1, "key_signatures.order E major 4", "D#"),
        ("key_signatures", 2, "key_signatures.fifths F major 3", "D major"),
        ("key_signatures", 3, "key_signatures.same_sound F# major", "Gb major"),
        ("key_signatures", 3, "key_signatures.distance C_major D_major", "2 notes"),
        ("key_signatures", 3, "key_signatures.signature F# dorian", "4 sharps"),
        ("chords", 1, "chords.name A D F#", "D major"),
        ("chords", 1, "chords.spell G minor_triad", "G Bb D"),
        ("chords", 1, "chords.inversion E G C", "first inversion"),
        ("chords", 1, "chords.bass C major_triad 2", "G"),
        ("chords", 2, "chords.symbol Bbmaj7", "Bb D F A"),
        ("chords", 2, "chords.member B diminished_triad 2", "F"),
        ("chords", 3, "chords.figure F G B D", "4/2"),
        ("roman_numerals", 1, "roman_numerals.chord D major vi", "B minor"),
        ("roman_numerals", 1, "roman_numerals.numeral F major IV", "IV"),
        ("roman_numerals", 1, "roman_numerals.key E minor_triad major ii", "D major"),
        ("roman_numerals", 2, "roman_numerals.notes A minor viio", "G# B D"),
        ("roman_numerals", 2, "roman_numerals.progression_chords G I vi IV V", "G Em C D"),
        ("roman_numerals", 2, "roman_numerals.cadence Bb V vi", "deceptive cadence"),
        ("roman_numerals", 3, "roman_numerals.secondary C V", "D7"),
        ("roman_numerals", 3, "roman_numerals.bass D major V 6/5", "C#"),
        ("transposition", 1, "transposition.key_change major D F F#", "A"),
        ("transposition", 1, "transposition.by_what F D", "major sixth"),
        ("transposition", 1, "transposition.sounding clarinet_in_Bb D", "C"),
        ("transposition", 1, "transposition.written horn_in_F F", "C"),
        ("transposition", 2, "transposition.part_key alto_saxophone_in_Eb F", "D major"),
        ("transposition", 3, "transposition.two_moves m3 M3", "perfect fifth"),
        ("transposition", 3, "transposition.two_instruments clarinet_in_Bb horn_in_F C", "F"),
        ("note_values", 1, "note_values.how_many 1/16 1/2", "8"),
        ("note_values", 1, "note_values.fraction 3/8", "3/8"),
        ("note_values", 1, "note_values.tied_value 1/2 1/4", "dotted half note"),
        ("note_values", 2, "note_values.tuplet_count 3 1/8 2", "6"),
        ("note_values", 2, "note_values.tempo 1/4 120 1/2", "1"),
        ("note_values", 3, "note_values.fraction 7/16", "7/16"),
        ("note_values", 3, "note_values.tuplet_length 5 1/16 1", "quarter note"),
        ("meters", 1, "meters.kind 6/8", "compound duple"),
        ("meters", 1, "meters.capacity 3/4 1/8 1", "6"),
        ("meters", 1, "meters.completes 2/4 1/4", "quarter note"),
        ("meters", 2, "meters.beat 12/8", "dotted quarter note"),
        ("meters", 2, "meters.beats 9/8", "3"),
        ("meters", 2, "meters.which 3/4 1/4 1/2", "3/4"),
        ("meters", 2, "meters.pickup 3/4 1/4", "half note"),
        ("abc_pitch", 1, "abc_pitch.octave read D6", "D6"),
        ("abc_pitch", 1, "abc_pitch.octave write B3", "B,"),
        ("abc_keys", 1, "abc_keys.signature D", "2 sharps"),
        ("abc_keys", 2, "abc_keys.signature Gm", "2 flats"),
        ("abc_keys", 2, "abc_keys.signature Ador", "1 sharp"),
    ],
)
def test_answers_by_hand(topic: str, level: int, facts: str, answer: str) -> None:
    found = ask(topic, level, facts)
    assert found.answer == answer
    assert answer not in found.wrong


def test_intervals_of_spelled_notes() -> None:
    assert above(pitch("C"), interval("m3")) == Pitch("E", -1, 4)
    assert above(pitch("B"), interval("P5")) == Pitch("F", 1, 5)
    assert below(pitch("C"), interval("M2")) == Pitch("B", -1, 3)
    assert between(pitch("C"), pitch("D#")) == interval("A2")
    assert between(pitch("C"), pitch("Eb")) == interval("m3")
    assert between(pitch("Cb"), pitch("E#")) is None
    assert interval("A2").semitones == interval("m3").semitones == 3
    assert [interval(short).name for short in ("P1", "d5", "M10", "P15")] == [
        "perfect unison",
        "diminished fifth",
        "major tenth",
        "perfect double octave",
    ]


def test_near_intervals_keep_what_sounds_alike_for_spelling_only() -> None:
    assert "augmented second" in near_intervals(interval("m3"), alike=True)
    assert "augmented second" not in near_intervals(interval("m3"), alike=False)


def test_names_octaves_and_abc_of_pitches() -> None:
    notes = [Pitch("C"), Pitch("B", -2, 3), Pitch("F", 2, 5), Pitch("C", 0, 6), Pitch("G", 0, 2)]
    assert [note.full_name for note in notes] == ["C4", "Bbb3", "F##5", "C6", "G2"]
    assert [note.abc for note in notes] == ["C", "B,", "f", "c'", "G,,"]
    assert [note.midi for note in notes] == [60, 57, 79, 84, 43]


def test_scales_and_signatures() -> None:
    assert names(spell("Eb", "major")) == "Eb F G Ab Bb C D"
    assert names(spell("G#", "harmonic minor")) == "G# A# B C# D# E F##"
    assert names(spell("C", "blues")) == "C Eb F Gb G Bb"
    assert (sharps("F#", "dorian"), sharps("Ab", "natural minor"), sharps("C", "lydian")) == (4, -7, 1)
    assert (tonic_with(-3, "major"), tonic_with(2, "natural minor")) == ("Eb", "B")
    assert altered_letters(3) == ["F#", "C#", "G#"]
    assert altered_letters(-2) == ["Bb", "Eb"]
    assert [signature_text(count) for count in (0, 1, -3)] == ["no sharps or flats", "1 sharp", "3 flats"]


def test_chords_their_inversions_symbols_and_degrees() -> None:
    assert names(chord("F#", "half-diminished seventh chord")) == "F# A C E"
    assert names(inverted(chord("C", "major triad"), 2)) == "G C E"
    assert symbol("Bb", "minor-major seventh chord") == "Bbm(maj7)"
    assert chord_on("E", TRIADS_OF["minor"][6]) == ("D#", "diminished triad")
    assert chord_on("Bb", SEVENTHS_OF["major"][2]) == ("F", "dominant seventh chord")
    assert [degree.numeral for degree in TRIADS_OF["minor"]] == ["i", "iio", "III", "iv", "V", "VI", "viio"]


def test_values_and_meters() -> None:
    assert VALUES[Fraction(3, 16)] == "dotted eighth note"
    assert VALUES[Fraction(7, 8)] == "double dotted half note"
    assert listed([Fraction(1, 4), Fraction(3, 8)]) == "quarter, dotted quarter"
    assert [kind_of(meter) for meter in ((2, 2), (3, 4), (6, 4), (12, 8))] == [
        "simple duple",
        "simple triple",
        "compound duple",
        "compound quadruple",
    ]
    assert (beats_of((9, 8)), beat_of((9, 8))) == (3, Fraction(3, 8))


def test_wrong_options_are_drawn_and_never_the_right_one() -> None:
    rng = Random(1)
    found = draft(rng, ["x", 1], ["{word}?"], answer=3, wrong=[3, 4, 4, 5, 6], because="{word} is {answer}", word="W")
    assert found is not None
    assert (found.facts, found.stem, found.answer, found.explanation) == ("x 1", "W?", "3", "W is 3")
    assert sorted(found.wrong) == ["4", "5", "6"]
    assert draft(rng, ["x"], ["?"], answer=3, wrong=[3, 4, 5, 5], because="") is None


def test_the_right_number_has_no_fixed_rank() -> None:
    rng = Random(0)
    ranks = [sum(other < 7 for other in numbers_near(rng, 7)) for _ in range(400)]
    assert all(70 < ranks.count(rank) < 130 for rank in range(4))
    assert sorted(numbers_near(rng, 0)) == [1, 2, 3]


def test_one_pitch_of_each_sound_is_kept() -> None:
    kept = pick_unlike(map(pitch, ("D#", "Eb", "C", "B#", "F")), [pitch("C")])
    assert names(kept) == "D# F"


@pytest.mark.parametrize(
    ("thing", "article"),
    [("A minor triad", "an"), ("F major triad", "an"), ("Bb clarinet", "a"), ("eighth note", "an"), ("half note", "a")],
)
def test_articles_go_by_sound(thing: str, article: str) -> None:
    assert a(thing) == f"{article} {thing}"


def test_lengths_in_abc() -> None:
    lengths = [Fraction(1), Fraction(2), Fraction(1, 2), Fraction(3, 2)]
    assert [length_text(units) for units in lengths] == ["", "2", "/2", "3/2"]


def test_accidentals_are_written_where_key_and_bar_do_not_give_them() -> None:
    bars = [[Pitch("F", 1), Pitch("F"), Pitch("F", 0, 5), Pitch("B", -1)], [Pitch("F"), Pitch("F", 1, 5)]]
    assert notated(bars, signature=parse_key("G")) == [["F", "=F", "f", "_B"], ["=F", "^f"]]


def test_a_tune_is_written_with_a_space_at_each_beat() -> None:
    one, half = Fraction(1), Fraction(1, 2)
    bar = (
        AbcNote(Pitch("E"), "", one, one + half, "", ">"),
        AbcNote(Pitch("F", 1), "^", one, half),
        AbcNote(Pitch("G"), "", one, Fraction(2, 3), "(3"),
        AbcNote(Pitch("A"), "", one, Fraction(2, 3)),
        AbcNote(Pitch("B"), "", one, Fraction(2, 3)),
    )
    tune = AbcTune(key=Key(tonic="C", mode="major"), meter=(2, 4), unit=Fraction(1, 8), bars=(bar, bar[:2]))
    assert tune.text() == "X:1\nM:2/4\nL:1/8\nK:C\nE>^F (3GAB | E>^F |]"
    assert tune.text(without="M") == "X:1\nL:1/8\nK:C\nE>^F (3GAB | E>^F |]"


def test_a_random_tune_lasts_and_sounds_as_it_says() -> None:
    tune = random_tune(
        Random(4), key=parse_key("Eb"), meter=(3, 4), unit=Fraction(1, 16), bars=3, accidentals=0.3, fancy=True
    )
    assert [sum(note.lasts for note in bar) for bar in tune.bars] == [12, 12, 12]
    assert any(note.mark for bar in tune.bars for note in bar)
    written = notated([[note.pitch for note in bar] for bar in tune.bars], signature=tune.key)
    assert written == [[note.mark + note.pitch.abc for note in bar] for bar in tune.bars]
