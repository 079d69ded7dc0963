"""The parts of an evaluation: each measures one thing about a model and gives figures, records and details.

Which parts run, and how, is configuration (``conf/evaluation/``). What a part does is a function of the model and of
its own settings, which `describe` tells, so that a finished part need not be done again.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from chatmusician.data.folk import FolkTunes
from chatmusician.data.instructions import Example
from chatmusician.evaluation.intervals import bootstrap_mean, bootstrap_ratio
from chatmusician.evaluation.likelihood import document_bits
from chatmusician.evaluation.results import Measured, PartResult, measured
from chatmusician.evaluation.sampling import QuestionSource, sample_examples
from chatmusician.evaluation.tune_metrics import Figure, TuneMetrics, measure_examples
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model that is evaluated."""

    generator: Generator
    model: str
    """Its folder or Hub id."""
    batch_size: int
    """How much is computed at once; results do not depend on it."""


class Part(Protocol):
    """A part of an evaluation."""

    def describe(self) -> dict[str, Any]:
        """The settings that decide the result, as JSON values."""

    def run(self, subject: Subject, *, name: str) -> PartResult:
        """Measure the model."""


@dataclass(frozen=True, kw_only=True)
class ComposedTunes:
    """Tunes that the model composes for held-out questions, measured by every metric of this package.

    The real tunes that the questions were made from are measured beside them: what a model can at best be like.

    Args:
        tasks: the questions.
        tunes: the tunes that training saw, and those held out.
        decoding: how tokens are drawn.
        split: validation, or test once at the end.
        samples: how many questions, drawn by lot.
        seed: of the draw.
    """

    tasks: QuestionSource
    tunes: FolkTunes
    decoding: Decoding
    split: str = "validation"
    samples: int = 200
    seed: int = 1234

    def describe(self) -> dict[str, Any]:
        """See `Part`."""
        corpora = {"tasks": self.tasks.describe(), "tunes": self.tunes.describe()}
        drawn = {"split": self.split, "samples": self.samples, "seed": self.seed}
        return {**corpora, **drawn, "decoding": asdict(self.decoding)}

    def run(self, subject: Subject, *, name: str) -> PartResult:
        """See `Part`."""
        examples = sample_examples(self.tasks, split=self.split, count=self.samples, seed=self.seed)
        metrics, reference = self._metrics(subject), self._metrics(subject)
        questions = [example.question for example in examples]
        answers = [""] * len(examples)
        for done, (index, answer) in enumerate(subject.generator.answers(questions, self.decoding), start=1):
            answers[index] = answer.text
            if done % 50 == 0:
                log.info("%d of %d answers generated", done, len(examples))
        for example, text in zip(examples, answers, strict=True):
            metrics.update(question=example.question, task=example.task, answer=text, expected=example.answer)
        real = measure_examples(reference, examples)
        records = [{"id": id_, **record} for id_, record in zip(identify(examples), metrics.records, strict=True)]
        figures = {key: _with_interval(figure, real.get(key)) for key, figure in metrics.compute().items()}
        composed = [record for record in records if "bars" in record]
        if "bar_rate" in figures:
            rights, bars = [record["bars_right"] for record in composed], [record["bars"] for record in composed]
            interval = bootstrap_ratio(rights, bars)
            figures["bar_rate"] = measured(interval, count=sum(bars), real=real["bar_rate"].value)
        return PartResult(part=name, figures=figures, records=tuple(records), details={"split": self.split})

    def _metrics(self, subject: Subject) -> TuneMetrics:
        collections = self.tunes.collections
        return TuneMetrics(
            training_melodies=[tune.melody for tune in collections.tunes("train")],
            real_tunes=[tune.abc for tune in collections.tunes(self.split)],
            tokenizer=subject.generator.tokenizer,
        )


def identify(examples: Iterable[Example]) -> list[str]:
    """An id for each question, the same in whatever evaluation; one that is asked again gets ``/2`` behind it."""
    ids: list[str] = []
    asked: Counter[str] = Counter()
    for example in examples:
        id_ = f"{example.task}/{hashlib.sha256(example.question.encode()).hexdigest()[:12]}"
        asked[id_] += 1
        ids.append(id_ if asked[id_] == 1 else f"{id_}/{asked[id_]}")
    return ids


def _with_interval(figure: Figure, real: Figure | None) -> Measured:
    beside = None if real is None else real.value
    if figure.per_item:
        return measured(bootstrap_mean(figure.per_item), count=figure.count, real=beside)
    return Measured(value=figure.value, count=figure.count, real=beside)


@dataclass(frozen=True, kw_only=True)
class HeldOutText:
    """How well the model predicts held-out tunes: bits per byte, which models of any tokenizer can be compared by."""

    tunes: FolkTunes
    split: str = "validation"

    def describe(self) -> dict[str, Any]:
        """See `Part`."""
        return {"tunes": self.tunes.describe(), "split": self.split}

    def run(self, subject: Subject, *, name: str) -> PartResult:
        """See `Part`."""
        documents = list(self.tunes.documents(self.split))
        generator = subject.generator
        found = document_bits(
            generator.model, generator.tokenizer, documents, window=generator.window, batch_size=subject.batch_size
        )
        interval = bootstrap_ratio([document.bits for document in found], [document.bytes for document in found])
        records = tuple(
            {"id": document.origin, "bits_per_byte": round(bits.bits / bits.bytes, 6)}
            for document, bits in zip(documents, found, strict=True)
        )
        figure = measured(interval, count=sum(document.bytes for document in found))
        return PartResult(part=name, figures={"bits_per_byte": figure}, records=records, details={"split": self.split})
