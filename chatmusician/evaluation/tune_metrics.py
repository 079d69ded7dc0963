"""All metrics of generated tunes at once: answers in, named figures and a record of each answer out.

Flow: question, task, answer -> `TuneMetrics.update` (the tune is extracted and checked once) -> the metrics of this
package -> `TuneMetrics.compute`. Figures of composed tunes go by their name alone and are over all answers to
composition tasks; figures that depend on what was asked go by task and name, such as ``form_to_music/terms_met``.

What an answer without a tune, or with one that does not parse, does to each figure is said by its metric; in short: it
counts as a failure wherever the figure is a share of answers or a score of a task, and is left out where the figure
describes tunes (their bars, notes, keys, lengths), which it has none of.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torchmetrics import Metric

from chatmusician.data.instructions import Example
from chatmusician.evaluation import controllability as control
from chatmusician.evaluation.acceptance import AcceptedByAbc2midi
from chatmusician.evaluation.answers import AnswerMean, TuneAnswer, read_answer
from chatmusician.evaluation.composition import BarRate, CopiedRate, ParseRate
from chatmusician.evaluation.distributions import IntervalDistance, LengthDistance
from chatmusician.evaluation.labelling import LabelDistance, LabelExact
from chatmusician.evaluation.lengths import BarsPerTune, BytesPerToken, NotesPerTune, TokensPerTune
from chatmusician.evaluation.memorisation import MelodyIndex, Overlap, OverlapRate
from chatmusician.evaluation.repetition import RepeatedBars, RepeatSigns
from chatmusician.evaluation.requirements import (
    COMPOSITION_TASKS,
    EXTRACTION_TASKS,
    IDENTIFICATION_TASKS,
    read_requirements,
)
from chatmusician.evaluation.tonality import EndsOnTonic, InKey, PitchClassEntropy
from chatmusician.music.events import events, sounding
from chatmusician.music.tunes import parse_tune


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value and what it is based on."""

    value: float
    count: int
    """How many answers it is the mean over; for the bar rate bars, for distances notes or intervals, for bytes a token
    tokens."""
    per_item: tuple[float, ...] | None
    """The values whose mean it is, in the order of the answers, without those to which it does not apply. None where it
    is no mean over answers, or where other ranks added answers to it."""


_HEADER = {
    "key_obeyed": control.KeyObeyed,
    "meter_obeyed": control.MeterObeyed,
    "unit_note_length_obeyed": control.UnitNoteLengthObeyed,
}
_TERMS = {"terms_met": control.TermsMet, "terms_missing": control.TermsMissing}
_MOTIFS = {
    "motifs_present": control.MotifsPresent,
    "motif_subsequence": control.MotifSubsequence,
    "motif_subsequence_share": control.MotifSubsequenceShare,
}
_OF_TASKS: Mapping[str, Mapping[str, Callable[[], AnswerMean]]] = {
    "text_to_score": _HEADER,
    "form_to_music": _TERMS,
    "letters_and_motif_to_music": {**_HEADER, "letters_equal": control.LettersEqual, **_MOTIFS},
    "terms_and_motif_to_music": {**_HEADER, **_TERMS, **_MOTIFS},
    "chords_to_music": {"chords_equal": control.ChordsEqual, "chords_distance": control.ChordsDistance},
    "harmonisation": {
        "melody_preserved": control.MelodyPreserved,
        "melody_distance": control.MelodyDistance,
        "chords_added": control.ChordsAdded,
    },
    "bach_style": {"voices_together": control.VoicesTogether},
    **{task: {"label_exact": LabelExact, "label_distance": LabelDistance} for task in EXTRACTION_TASKS},
    **{task: {"label_exact": LabelExact} for task in IDENTIFICATION_TASKS},
}


class TuneMetrics:
    """Measures answers to the questions of `chatmusician.data.instructions`, one at a time.

    ``training_melodies`` are the melodies a model learned from (``FolkTune.melody``), ``real_tunes`` the ABC of
    held-out tunes whose intervals and note lengths are the measure of the answers'. With a ``tokenizer``, tokens are
    counted too.
    One tune takes about 25 ms, half of it abc2midi.

    Raises:
        AbcError: a real tune cannot be read.
    """

    def __init__(
        self, *, training_melodies: Iterable[str], real_tunes: Iterable[str], tokenizer: Any | None = None
    ) -> None:
        melodies = frozenset(training_melodies)
        index = MelodyIndex(sorted(melodies))
        reference = [sounding(events(parse_tune(abc))) for abc in real_tunes]
        tokens = {"tokens_a_tune": TokensPerTune(tokenizer=tokenizer)} if tokenizer is not None else {}
        self._means: dict[str, AnswerMean] = {
            "abc2midi_rate": AcceptedByAbc2midi(),
            "repeat_signs": RepeatSigns(),
            "repeated_bars": RepeatedBars(),
            "in_key": InKey(),
            "ends_on_tonic": EndsOnTonic(),
            "pitch_class_entropy": PitchClassEntropy(),
            "overlap": Overlap(index=index),
            "overlap_rate": OverlapRate(index=index),
            "bars_a_tune": BarsPerTune(),
            "notes_a_tune": NotesPerTune(),
            **tokens,
        }
        self._of_tasks = {
            task: {name: metric() for name, metric in metrics.items()} for task, metrics in _OF_TASKS.items()
        }
        self._parse_rate, self._bar_rate = ParseRate(), BarRate()
        self._copied_rate = CopiedRate(melodies=melodies)
        self._distances = {
            "interval_distance": IntervalDistance(reference=reference),
            "length_distance": LengthDistance(reference=reference),
        }
        self._bytes_per_token = BytesPerToken(tokenizer=tokenizer) if tokenizer is not None else None
        self._per_item: dict[str, list[float]] = {}
        self.records: list[dict[str, Any]] = []
        """What `update` gave for each answer, in their order."""

    @property
    def metrics(self) -> dict[str, Metric]:
        """Every metric by the name of its figure; their states are all that ranks need to add up."""
        of_tasks = {
            f"{task}/{name}": metric for task, named in self._of_tasks.items() for name, metric in named.items()
        }
        compression = {"bytes_a_token": self._bytes_per_token} if self._bytes_per_token is not None else {}
        rates = {"parse_rate": self._parse_rate, "bar_rate": self._bar_rate, "copied_rate": self._copied_rate}
        return {**rates, **self._means, **self._distances, **compression, **of_tasks}

    def update(self, *, question: str, task: str, answer: str, expected: str | None = None) -> dict[str, Any]:
        """Measure an answer; its record: what was asked and answered, what was found, and its value of each mean.

        ``expected`` is the answer that the question was made with; identification tasks need it.
        The record of an answer to a composition task has ``parses``, ``reason`` (why not, else None), ``bars`` and
        ``bars_right``; no record has a value that does not apply to its answer.

        Raises:
            UserError: there is no such task, the question is not one of it, or the expected answer is missing.
        """
        read = read_answer(answer, requirements=read_requirements(task, question, expected=expected))
        record: dict[str, Any] = {"task": task, "question": question, "answer": answer}
        values: dict[str, float | None] = {}
        if task in COMPOSITION_TASKS:
            record |= self._compose(read, values)
        for name, metric in self._of_tasks[task].items():
            metric.update(read)
            values[f"{task}/{name}"] = metric.value(read)
        for name, value in values.items():
            if value is not None:
                record[name.removeprefix(f"{task}/")] = value
                self._per_item.setdefault(name, []).append(value)
        self.records.append(record)
        return record

    def compute(self) -> dict[str, Figure]:
        """The figures of all answers by name, without those that nothing applied to."""
        figures: dict[str, Figure] = {}
        for name, metric in self.metrics.items():
            with metric.sync_context():  # so that all ranks agree on what there is to compute
                count = _count(metric)
            if count:
                values = tuple(self._per_item.get(name, ()))
                figures[name] = Figure(
                    value=float(metric.compute()), count=count, per_item=values if len(values) == count else None
                )
        return figures

    def _compose(self, read: TuneAnswer, values: dict[str, float | None]) -> dict[str, Any]:
        """Measure a composed tune: its values go into the given dict, what the check found is returned."""
        check = read.check
        self._parse_rate.update(check)
        self._bar_rate.update(check)
        self._copied_rate.update(read.melody)
        for distance in self._distances.values():
            distance.update(read)
        if self._bytes_per_token is not None:
            self._bytes_per_token.update(read)
        values["parse_rate"] = float(read.tune is not None)
        values["copied_rate"] = float(read.melody is not None and read.melody in self._copied_rate.melodies)
        for name, metric in self._means.items():
            metric.update(read)
            values[name] = metric.value(read)
        return {
            "parses": read.tune is not None,
            "reason": read.reason,
            "bars": check.bars if check is not None else 0,
            "bars_right": check.bars_right if check is not None else 0,
        }


def measure_examples(metrics: TuneMetrics, examples: Iterable[Example]) -> dict[str, Figure]:
    """The figures of examples, each answer measured as a model's would be.

    Held-out real tunes, taken as the answers to their own questions, give what a model can at best be like.
    """
    for example in examples:
        metrics.update(question=example.question, task=example.task, answer=example.answer, expected=example.answer)
    return metrics.compute()


def _count(metric: Metric) -> int:
    """What a metric's value is based on, from its states."""
    if isinstance(metric, AnswerMean):
        return int(metric.count)
    if isinstance(metric, BytesPerToken):
        return int(metric.tokens)
    if isinstance(metric, (IntervalDistance, LengthDistance)):
        return int(metric.counts.sum())
    assert isinstance(metric, (ParseRate, BarRate, CopiedRate))
    return int(metric.total)
