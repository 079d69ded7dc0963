"""Controllability: does a tune do what its question asked for?

Two kinds of figure. The raw scores are those of the paper (arXiv 2402.16153): they say how far a tune is from what was
asked, in units of their own. Shares of answers that do exactly what was asked say how often it is met. What was asked
is in `chatmusician.evaluation.requirements`; a metric leaves out answers of which its requirement was not asked.

An empty answer, an answer without a tune and a tune that does not parse all count, as a tune with nothing in it: no
requirement is met, every term is missing, and a distance is the length of all that was asked for.
"""

from collections.abc import Hashable
from fractions import Fraction
from itertools import groupby

from chatmusician.evaluation.answers import AnswerMean, TuneAnswer
from chatmusician.evaluation.sequences import common_subsequence, contains, edit_distance
from chatmusician.music.events import Event
from chatmusician.music.form import terms_of_letters
from chatmusician.music.lexer import Kind
from chatmusician.music.tunes import Tune


class KeyObeyed(AnswerMean):
    """Share of tunes whose header has the key asked for: tonic, mode and explicit accidentals.

    What the notes make of the key is the business of `chatmusician.evaluation.tonality.InKey`.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if the keys are equal, else 0."""
        asked, tune = answer.requirements.key, answer.tune
        return None if asked is None else float(tune is not None and tune.key == asked)


class MeterObeyed(AnswerMean):
    """Share of tunes whose header has the meter asked for; ``C`` and ``4/4`` are the same, ``C`` and ``C|`` are not.

    Whether the bars keep to the meter is the business of `chatmusician.evaluation.composition.BarRate`.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if the meters are equal, else 0."""
        asked, tune = answer.requirements.meter, answer.tune
        if asked is None:
            return None
        return float(tune is not None and (tune.meter.beats, tune.meter.unit) == (asked.beats, asked.unit))


class UnitNoteLengthObeyed(AnswerMean):
    """Share of tunes whose header gives the unit note length asked for, by ``L:`` or, without it, by the meter."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if the lengths are equal, else 0."""
        asked, tune = answer.requirements.unit_note_length, answer.tune
        return None if asked is None else float(tune is not None and tune.unit_note_length == asked)


class LettersEqual(AnswerMean):
    """Share of tunes whose form in letters (`chatmusician.music.form`) is the one asked for, primes included."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if the letters are equal, else 0."""
        asked = answer.requirements.letters
        return None if asked is None else float(answer.letters == asked)


class TermsMissing(AnswerMean):
    """The paper's raw score of form: how many of the terms asked for the form of the tune does not have."""

    def value(self, answer: TuneAnswer) -> float | None:
        """The size of the set difference, 0 if every term is met."""
        asked = set(answer.requirements.terms)
        return float(len(asked - set(terms_of_letters(answer.letters)))) if asked else None


class TermsMet(AnswerMean):
    """Share of tunes whose form has all the terms asked for."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if no term is missing, else 0."""
        asked = set(answer.requirements.terms)
        return float(asked <= set(terms_of_letters(answer.letters))) if asked else None


class MotifSubsequence(AnswerMean):
    """The paper's raw score of motifs: the longest common subsequence of motif and tune, added up over the motifs.

    Its unit is a note or rest with its length and tie, as written: a subsequence of characters says less, since a tune
    of a hundred notes has the characters of nearly any motif somewhere in their order.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """Notes and rests in common."""
        return float(_common(answer)) if answer.requirements.motifs else None


class MotifSubsequenceShare(AnswerMean):
    """`MotifSubsequence` as a share of the notes and rests of all motifs asked for; the mean over answers."""

    def value(self, answer: TuneAnswer) -> float | None:
        """The share, 1 if each motif is there, other notes perhaps between."""
        asked = sum(len(motif) for motif in answer.requirements.motifs)
        return _common(answer) / asked if asked else None


class MotifsPresent(AnswerMean):
    """Share of tunes that have every motif asked for literally: the same notes, rests, lengths and ties in a row.

    As written, up to spaces, slurs and bar lines. Notes are compared whole, so ``EFGA`` is not in ``EFGA2``.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if all are there, else 0."""
        motifs, voices = answer.requirements.motifs, _written_voices(answer.events)
        if not motifs:
            return None
        return float(all(any(contains(voice, _written(motif)) for voice in voices) for motif in motifs))


class ChordsDistance(AnswerMean):
    """The paper's raw score of chords: the edit distance between the chords asked for and the tune's chord symbols.

    Its unit is a chord name, which is right or wrong as a whole: ``D`` for ``Dm`` costs 1.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """The distance, 0 for the chords asked for."""
        asked = answer.requirements.chords
        return float(edit_distance(asked, answer.chords)) if asked else None


class ChordsEqual(AnswerMean):
    """Share of tunes whose chord symbols are exactly the chords asked for, in their order."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if they are equal, else 0."""
        asked = answer.requirements.chords
        return float(answer.chords == asked) if asked else None


class MelodyDistance(AnswerMean):
    """The paper's raw score of harmonisation: the edit distance of the melody before and after chords were added.

    Its unit is a note, a rest, a bar line or another sign of rhythm, as written; spaces, chord symbols and decorations
    do not count.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """The distance, 0 for the same melody."""
        score = answer.requirements.score
        return None if score is None else float(edit_distance(_melody(score), _melody(answer.tune)))


class MelodyPreserved(AnswerMean):
    """Share of tunes with the melody that was to be harmonised: a `MelodyDistance` of 0 under the same K, M and L.

    A copy of the question preserves its melody: `ChordsAdded` is to be looked at beside it.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if nothing of the melody changed, else 0."""
        before, after = answer.requirements.score, answer.tune
        if before is None:
            return None
        same = after is not None and _header(before) == _header(after) and _melody(before) == _melody(after)
        return float(same)


class ChordsAdded(AnswerMean):
    """Share of tunes to be harmonised that have at least one chord symbol."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if there is a chord symbol, else 0."""
        return None if answer.requirements.score is None else float(bool(answer.chords))


class VoicesTogether(AnswerMean):
    """Share of tunes with as many voices as asked for, all of them equally long, repeats not unfolded."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if the voices are all there and end together, else 0."""
        asked = answer.requirements.voices
        if asked is None:
            return None
        lengths: dict[str, Fraction] = {}
        for event in answer.events:
            lengths[event.voice] = lengths.get(event.voice, Fraction(0)) + event.length
        return float(len(lengths) == asked and len(set(lengths.values())) == 1)


_MELODY = frozenset({Kind.NOTE, Kind.REST, Kind.CHORD, Kind.TUPLET, Kind.BROKEN, Kind.TIE, Kind.BAR, Kind.ENDING})


def _melody(tune: Tune | None) -> tuple[str, ...]:
    """The music of a tune token by token, changes of key, meter and unit note length among them."""
    tokens = tune.tokens if tune is not None else ()
    fields = ("[K:", "[M:", "[L:", "K:", "M:", "L:")
    return tuple(
        token.text
        for token in tokens
        if token.kind in _MELODY or (token.kind in (Kind.FIELD, Kind.INLINE_FIELD) and token.text.startswith(fields))
    )


def _header(tune: Tune) -> tuple[Hashable, ...]:
    return tune.key, tune.meter.beats, tune.meter.unit, tune.unit_note_length


def _written(found: tuple[Event, ...]) -> tuple[Hashable, ...]:
    return tuple(event.written for event in found)


def _written_voices(found: tuple[Event, ...]) -> list[tuple[Hashable, ...]]:
    return [_written(tuple(voice)) for _, voice in groupby(found, key=lambda event: event.voice)]


def _common(answer: TuneAnswer) -> int:
    voices = _written_voices(answer.events)
    motifs = [_written(motif) for motif in answer.requirements.motifs]
    return sum(max((common_subsequence(motif, voice) for voice in voices), default=0) for motif in motifs)
