"""For each topic, what is right by music21, read from a question's ``facts`` and its tune."""

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from music21 import chord as m21chord
from music21 import converter, duration, interval, key, meter, pitch
from music21_readings import (
    SOUNDS_LOWER,
    Heard,
    abc_length,
    bars_played,
    body_of,
    chord_named,
    chord_of_symbol,
    header,
    heard,
    interval_name,
    key_of,
    length,
    m21,
    move,
    nice,
    notes_of_scale,
    numeral_notes,
    plain,
    row_length,
    scale_named,
    semitones_by_name,
    sharps_of,
    sound,
)

from chatmusician.music.theory.questions import Question

Judge = Callable[[str], bool]
"""Says of an option whether it is right."""


def judge(question: Question) -> Judge:
    kind, *facts = question.facts.split()
    topic, what = kind.split(".")
    return globals()[f"judge_{topic}"](what, facts, question)


def judge_intervals(what: str, facts: list[str], _: Question) -> Judge:
    first, *rest = facts
    if what == "name":
        return lambda option: option == interval_name(first, rest[0])
    if what == "build":
        return lambda option: option == move(first, ("-" if rest[1] == "below" else "") + rest[0])
    if what == "semitones":
        return lambda option: int(option) == interval.Interval(first).semitones
    if what == "inversion":
        return lambda option: option == nice(interval.Interval(first).complement)
    if what == "inverted":
        return lambda option: option == interval_name(rest[0], first)
    if what == "compound" and first == "widen":
        return lambda option: option == nice(interval.add([rest[0], "P8"]))
    if what == "compound":
        return lambda option: option == interval.Interval(rest[0]).semiSimpleNiceName.lower()
    if what == "same_sound":
        given = interval.Interval(first)
        return lambda option: option != nice(given) and semitones_by_name()[option] == given.semitones
    if what == "sum":
        return lambda option: option == nice(interval.add([first, rest[0]]))
    assert what == "two_steps"
    return lambda option: option == move(move(first, rest[0]), "-" + rest[1])


def judge_scales(what: str, facts: list[str], _: Question) -> Judge:
    names = ("tonic", "supertonic", "mediant", "subdominant", "dominant", "submediant", "leading note")
    if what == "name":
        return lambda option: list(scale_named(option)) == facts
    if what == "mode_on_degree":
        notes = notes_of_scale(facts[0], "major")
        start = notes[int(facts[1]) - 1]
        return lambda option: set(notes_of_scale(start, option)) == set(notes)
    if what == "parent":
        return lambda option: set(scale_named(option)) == set(notes_of_scale(facts[0], facts[1]))
    notes = scale_named(" ".join(facts[:2]))
    if what in ("degree", "degree_by_name"):
        return lambda option: option == notes[int(facts[2]) - 1]
    if what == "name_of_degree":
        return lambda option: option == names[int(facts[2]) - 1]
    if what in ("inside", "outside"):
        sounds = {sound(note) for note in notes}
        return lambda option: (sound(option) in sounds) == (what == "inside")
    if what == "spelling":
        return lambda option: tuple(option.split()) == notes
    assert what == "difference"
    other = scale_named(f"{facts[0]} {facts[2]}")
    changed = [f"{one} becomes {two}" for one, two in zip(notes, other, strict=True) if one != two]
    return lambda option: [option] == changed


def judge_key_signatures(what: str, facts: list[str], _: Question) -> Judge:
    if what == "key":
        mode = facts[1].replace("natural_", "")
        return lambda option: option.endswith(f" {mode}") and key_of(option).sharps == int(facts[0])
    if what == "distance":
        one, other = ({note.step: note.name for note in key_of(name).alteredPitches} for name in facts)
        changed = sum(one.get(letter, letter) != other.get(letter, letter) for letter in "CDEFGAB")
        return lambda option: int(option.split()[0]) == changed
    given = key_of(f"{facts[0]} {facts[1]}")
    if what == "signature":
        return lambda option: sharps_of(option) == given.sharps
    if what == "relative":
        return lambda option: key_of(option) == given.relative
    if what == "parallel":
        return lambda option: sharps_of(option) == given.parallel.sharps
    if what == "order":
        return lambda option: option == plain(given.alteredPitches[int(facts[2]) - 1].name)
    if what == "fifths":
        fifth = interval.Interval("P5") if int(facts[2]) > 0 else interval.Interval("P-5")
        tonic = given.tonic
        for _step in range(abs(int(facts[2]))):
            tonic = fifth.transposePitch(tonic)
        return lambda option: key_of(option) == key.Key(tonic.name, given.mode)
    assert what == "same_sound"
    return lambda option: (
        key_of(option).tonic.pitchClass == given.tonic.pitchClass and key_of(option).mode == given.mode
    )


def stacked(names: list[str]) -> m21chord.Chord:
    """A chord of these notes from the bottom up."""
    notes = [pitch.Pitch(m21(name) + "4") for name in names]
    for below, note in pairwise(notes):
        while note.diatonicNoteNum <= below.diatonicNoteNum:
            note.octave += 1
    return m21chord.Chord(notes)


def judge_chords(what: str, facts: list[str], _: Question) -> Judge:
    inversions = ("root position", "first inversion", "second inversion", "third inversion")
    if what == "name":
        return lambda option: sorted(chord_named(option)) == sorted(facts)
    if what == "inversion":
        return lambda option: option == inversions[stacked(facts).inversion()]
    if what == "figure":
        figure = {53: "5/3", 6: "6/3", 64: "6/4", 7: "7", 65: "6/5", 43: "4/3", 42: "4/2"}
        return lambda option: option == figure[stacked(facts).inversionName()]
    if what == "symbol":
        return lambda option: tuple(option.split()) == chord_of_symbol(facts[0])
    if what == "common":
        one, other = (set(chord_of_symbol(symbol)) for symbol in facts)
        return lambda option: int(option) == len(one & other)
    notes = chord_named(f"{facts[0]} {facts[1]}")
    if what == "spell":
        return lambda option: tuple(option.split()) == notes
    assert what in ("member", "bass")
    return lambda option: option == notes[int(facts[2])]


def judge_roman_numerals(what: str, facts: list[str], _: Question) -> Judge:
    if what == "key":
        root, kind, mode, numeral = facts
        wanted = set(chord_named(f"{root} {kind}"))
        return lambda option: set(numeral_notes(numeral, option.split()[0], mode)) == wanted
    tonic = facts[0]
    if what == "chord":
        return lambda option: set(chord_named(option)) == set(numeral_notes(facts[2], tonic, facts[1]))
    if what == "numeral":
        wanted = set(numeral_notes(facts[2], tonic, facts[1]))
        return lambda option: set(numeral_notes(option, tonic, facts[1])) == wanted
    if what == "notes":
        return lambda option: tuple(option.split()) == numeral_notes(facts[2], tonic, facts[1])
    if what == "bass":
        return lambda option: option == numeral_notes(f"{facts[2]} {facts[3]}", tonic, facts[1])[0]
    if what == "secondary":
        return lambda option: set(chord_of_symbol(option)) == set(numeral_notes(f"V7/{facts[1]}", tonic, "major"))
    if what == "cadence":
        names = {"VI": "authentic", "IVI": "plagal", "Vvi": "deceptive", "IV": "half"}
        return lambda option: option == f"{names[facts[1] + facts[2]]} cadence"
    numerals = facts[1:]
    wanted_chords = [set(numeral_notes(numeral, tonic, "major")) for numeral in numerals]
    if what == "progression_chords":
        return lambda option: [set(chord_of_symbol(symbol)) for symbol in option.split()] == wanted_chords
    if what == "progression_numerals":
        return lambda option: [set(numeral_notes(n, tonic, "major")) for n in option.split()] == wanted_chords
    assert what == "progression_key"
    return lambda option: [set(numeral_notes(n, option.split()[0], "major")) for n in numerals] == wanted_chords


def judge_transposition(what: str, facts: list[str], _: Question) -> Judge:
    if what == "melody":
        *notes, way, distance = facts
        sign = "-" if way == "down" else ""
        return lambda option: option.split() == [move(note, sign + distance) for note in notes]
    if what == "key_change":
        _mode, first, second, note = facts
        step = interval.Interval(pitch.Pitch(m21(first) + "4"), pitch.Pitch(m21(second) + "4"))
        return lambda option: option == plain(step.transposePitch(pitch.Pitch(m21(note) + "4")).name)
    if what == "by_what":
        return lambda option: option == interval_name(facts[0], facts[1])
    if what == "two_moves":
        return lambda option: option == nice(interval.add(facts))
    distance = SOUNDS_LOWER[facts[0].replace("_", " ")]
    back = distance[1:] if distance.startswith("-") else "-" + distance
    if what == "sounding":
        return lambda option: option == move(facts[1], distance)
    if what in ("written", "part_key"):
        return lambda option: option.removesuffix(" major") == move(facts[1], back)
    assert what == "two_instruments"
    second = SOUNDS_LOWER[facts[1].replace("_", " ")]
    back = second[1:] if second.startswith("-") else "-" + second
    return lambda option: option == move(move(facts[2], distance), back)


def judge_note_values(what: str, facts: list[str], _: Question) -> Judge:
    if what == "tempo":
        beat, tempo, note = (Fraction(fact) for fact in facts)
        return lambda option: Fraction(option) == note / beat * 60 / tempo
    if what.startswith("tuplet"):
        size, unit, groups = int(facts[0]), Fraction(facts[1]), int(facts[2])
        time = {3: 2, 5: 4, 6: 4, 7: 4}[size]
        one = Fraction(duration.Tuplet(size, time).tupletMultiplier()) * unit
        if what == "tuplet_length":
            return lambda option: length(option) == one * size * groups
        return lambda option: int(option) * one == unit * time * groups
    given = [Fraction(fact) for fact in facts]
    if what == "how_many":
        return lambda option: int(option) * given[0] == given[1]
    if what == "fraction":
        return lambda option: Fraction(option) == given[0]
    if what == "tied_value":
        return lambda option: length(option) == sum(given)
    if what == "tied_count":
        return lambda option: int(option) * given[0] == sum(given[1:])
    assert what == "sum"
    return lambda option: row_length(option) == given[0]


def judge_meters(what: str, facts: list[str], _: Question) -> Judge:
    signature = meter.TimeSignature(facts[0])
    bar = Fraction(signature.barDuration.quarterLength) / 4
    beat = Fraction(signature.beatDuration.quarterLength) / 4
    if what == "kind":
        return lambda option: option == signature.classification.lower()
    if what == "beat":
        return lambda option: length(option) == beat
    if what == "beats":
        return lambda option: int(option) == signature.beatCount
    if what == "capacity":
        return lambda option: int(option) * Fraction(facts[1]) == bar * int(facts[2])
    if what in ("completes", "pickup"):
        present = sum((Fraction(fact) for fact in facts[1:] if fact != "rest"), Fraction(0))
        return lambda option: present + length(option) == bar
    if what == "fills":
        return lambda option: row_length(option) == bar
    if what == "which":
        total = sum(map(Fraction, facts[1:]), Fraction(0))
        return lambda option: Fraction(meter.TimeSignature(option).barDuration.quarterLength) / 4 == total
    assert what == "position"
    before = sum(map(Fraction, facts[1 : 1 + int(facts[-1])]), Fraction(0))
    return lambda option: option == f"beat {before / beat + 1}"


def judge_abc_pitch(what: str, facts: list[str], question: Question) -> Judge:
    if what == "octave":
        wanted = pitch.Pitch(facts[1])
        if facts[0] == "read":
            return lambda option: pitch.Pitch(option) == wanted
        return lambda option: heard(f"{option}8|]", "C") == (wanted.midi,)
    assert question.abc
    tune = Heard(question.abc)
    if what == "sounding":
        return lambda option: option == plain(tune.at(int(facts[-2]), int(facts[-1])).name)
    if what == "interval":
        one, other = (tune.at(int(facts[-3]), int(number)) for number in facts[-2:])
        low, high = sorted((one, other), key=lambda note: (note.diatonicNoteNum, note.midi))
        return lambda option: option == nice(interval.Interval(low, high))
    assert what == "extreme"
    pick = max if facts[-1] == "highest" else min
    return lambda option: pitch.Pitch(m21(option)).midi == pick(note.pitch.midi for note in tune.notes)


def judge_abc_keys(what: str, facts: list[str], question: Question) -> Judge:
    assert question.abc
    named = converter.parse(question.abc, format="abc").recurse().getElementsByClass(key.KeySignature).first()
    if what == "signature":
        return lambda option: sharps_of(option) == named.sharps
    tune = Heard(question.abc)
    if what == "affected":
        return lambda option: int(option) == sum(note.pitch.accidental is not None for note in tune.notes)
    if what == "degree":
        note = tune.at(int(facts[-2]), int(facts[-1]))
        tonic = pitch.Pitch(m21(re.match(r"[A-G][#b]?", facts[0][2:])[0]))  # type: ignore[index] # the key has one
        return lambda option: int(option) == ("CDEFGAB".index(note.step) - "CDEFGAB".index(tonic.step)) % 7 + 1
    if what == "chord":
        notes = sorted(plain(one.name) for one in tune.chords[int(facts[-1]) - 1].pitches)
        return lambda option: sorted(chord_named(option)) == notes
    if what == "hidden_key":
        names = [plain(note.pitch.name) for note in tune.notes]
        return lambda option: option.split()[0] == names[0] and sorted(scale_named(option)) == sorted(names[:-1])
    assert what == "transpose"
    target = re.search(r"K:(\S+?)[.,\s]", question.stem.replace(f"from {facts[0]} to ", ""))
    assert target
    step = interval.Interval(facts[-2])
    step = step.reverse() if facts[-1] == "down" else step
    moved = [step.transposePitch(note.pitch) for note in tune.notes]
    return lambda option: heard(f"{option} |]", target[1]) == tuple(note.midi for note in moved)


def judge_abc_rhythm(what: str, facts: list[str], question: Question) -> Judge:
    assert question.abc
    if what == "repeats":
        return lambda option: int(option) == bars_played(body_of(question.abc or ""))
    if what == "default_length":
        unit = meter.TimeSignature(header(question.abc, "M")).barDuration.quarterLength < 3
        tune = Heard(question.abc.replace("K:", f"L:1/{16 if unit else 8}\nK:"))
    else:
        free = re.sub(r"M:.*\n", "", question.abc).replace("L:", "M:none\nL:")  # music21 cuts notes at a bar's end
        tune = Heard(free if what in ("meter", "wrong_bar") else question.abc)
    bars = [tune.lengths(number + 1) for number in range(len(tune.counts))]
    if what == "wrong_bar":
        full = Fraction(header(question.abc, "M"))
        wrong = [f"bar {number}" for number, bar in enumerate(bars, start=1) if sum(bar) != full]
        return lambda option: [option] == wrong
    if what in ("duration", "default_length"):
        return lambda option: length(option) == bars[int(facts[-2]) - 1][int(facts[-1]) - 1]
    if what == "fraction":
        return lambda option: Fraction(option) == bars[int(facts[-2]) - 1][int(facts[-1]) - 1]
    if what == "meter":
        return lambda option: {Fraction(option)} == {sum(bar) for bar in bars}
    if what == "missing":
        left = Fraction(header(question.abc, "M")) - sum(bars[-1])
        unit_length = Fraction(header(question.abc, "L"))
        return lambda option: abc_length(option) * unit_length == left
    if what == "count":
        return lambda option: int(option) == sum(note == Fraction(facts[-1]) for bar in bars for note in bar)
    assert what == "beat"
    signature = meter.TimeSignature(header(question.abc, "M"))
    beat = Fraction(signature.beatDuration.quarterLength) / 4
    before = sum(bars[int(facts[-2]) - 1][: int(facts[-1]) - 1], Fraction(0))
    return lambda option: option == f"beat {before / beat + 1}"
