"""The report of one evaluation, or of several side by side: from results to tables, plots and tunes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatmusician.evaluation.gallery import choose, exhibit
from chatmusician.evaluation.harness import MMLU_PUBLISHED
from chatmusician.evaluation.music_theory_bench import PUBLISHED
from chatmusician.evaluation.results import Measured, PartResult
from chatmusician.reporting.plots import Bar, bars
from chatmusician.reporting.report import Cell, Picture, Section, Table

Evaluations = Mapping[str, Mapping[str, PartResult]]
"""Name of a model -> its parts by their names."""

RATES = ("parse_rate", "abc2midi_rate", "bar_rate", "repeat_signs", "repeated_bars", "in_key", "ends_on_tonic")
"""Figures of composed tunes that are shares, as the plot shows them."""

MEANINGS = {
    "parse_rate": "answers whose tune parses",
    "abc2midi_rate": "answers that abc2midi takes without an error",
    "bar_rate": "bars that add up",
    "copied_rate": "answers with the melody of a training tune",
    "overlap_rate": "answers that share 80% of their melody with one training tune",
    "overlap": "longest share of the melody found in one training tune",
    "repeat_signs": "answers with repeat signs (repetition, as the paper counts it)",
    "repeated_bars": "bars that come more than once in their tune",
    "in_key": "notes in the scale of the tune's key",
    "ends_on_tonic": "tunes that end on the tonic",
    "pitch_class_entropy": "pitch-class entropy, bits",
    "interval_distance": "distance of melodic intervals from real tunes (Jensen-Shannon)",
    "length_distance": "distance of note lengths from real tunes (Jensen-Shannon)",
    "bars_a_tune": "bars a tune",
    "notes_a_tune": "notes a tune",
    "tokens_a_tune": "tokens a tune",
    "bytes_a_token": "bytes a token",
    "bits_per_byte": "bits per byte of held-out tunes",
}
"""What the figures of tunes and text are."""

PAPER_TUNES = (
    ("ChatMusician", 0.996, 0.760),
    ("GPT-4", 0.946, 0.702),
    ("GPT-3.5", 0.654, 0.322),
)
"""Published parse success and repetition (arXiv 2402.16153), on prompts of the paper's own."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the models have of one part."""

    name: str
    figures: Mapping[str, Mapping[str, Measured]]
    """By model."""
    details: Mapping[str, Any]
    """Those of the first model."""


def sections_of(evaluations: Evaluations) -> list[Section]:
    """All sections for which some model has results, in the order of a report."""
    names = list(dict.fromkeys(name for parts in evaluations.values() for name in parts))
    sections = [_section(name, evaluations) for name in names]
    return [section for section in [*sections, *_galleries(evaluations)] if section is not None]


def _section(name: str, evaluations: Evaluations) -> Section | None:
    figures = {
        model: parts[name].figures for model, parts in evaluations.items() if name in parts and parts[name].figures
    }
    if not figures:
        return None
    details = next(parts[name].details for parts in evaluations.values() if name in parts)
    kind: Callable[[_Found], Section] = {
        "tunes": _tunes,
        "text": _text,
        "music_theory_bench": _music_theory_bench,
        "mmlu": _mmlu,
    }.get(name, _accuracies)
    return kind(_Found(name=name, figures=figures, details=details))


def interval_text(figure: Measured | None) -> Cell:
    """``0.970 (0.940 to 0.990)``, or the value alone."""
    if figure is None:
        return None
    if figure.low is None or figure.high is None:
        return figure.value
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _columns(models: Iterable[str], *others: str) -> tuple[str, ...]:
    return ("figure", *models, *others)


def _rows(
    names: Sequence[str], figures: Mapping[str, Mapping[str, Measured]], *, real: bool
) -> tuple[tuple[Cell, ...], ...]:
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        found = [models.get(name) for models in figures.values()]
        beside = next((figure.real for figure in found if figure is not None and figure.real is not None), None)
        counted = max((figure.count for figure in found if figure is not None), default=0)
        label = MEANINGS.get(name, name.partition("/")[2].replace("_", " ") or name)
        rows.append((label, *map(interval_text, found), *((beside,) if real else ()), counted))
    return tuple(rows)


def _names(figures: Mapping[str, Mapping[str, Measured]]) -> list[str]:
    return list(dict.fromkeys(name for models in figures.values() for name in models))


def _tunes(found: _Found) -> Section:
    names = _names(found.figures)
    whole = [one for one in names if "/" not in one]
    tasks = list(dict.fromkeys(one.partition("/")[0] for one in names if "/" in one))
    columns = _columns(found.figures, "real tunes", "of")
    tables = [Table(columns=columns, rows=_rows(whole, found.figures, real=True), note="95% bootstrap intervals.")]
    for task in tasks:
        of_task = [one for one in names if one.startswith(f"{task}/")]
        rows = _rows(of_task, found.figures, real=True)
        tables.append(Table(columns=(task.replace("_", " "), *columns[1:]), rows=rows))
    tables.append(
        Table(
            columns=("published, on other prompts", "parse success", "repetition"),
            rows=PAPER_TUNES,
        )
    )
    shown = {
        MEANINGS[rate]: {model: _bar(its[rate]) for model, its in found.figures.items() if rate in its}
        for rate in RATES
        if all(rate in its for its in found.figures.values())
    }
    plot = bars(shown, title="Composed tunes", unit="share")
    return Section(
        title="Composed tunes",
        text=f"Answers to questions made from tunes of the {found.details['split']} split, which training has not "
        "seen. Real tunes are those that the questions were made from.",
        tables=tuple(tables),
        pictures=(Picture(name="tunes", png=plot, alt="Shares of composed tunes with their intervals"),),
    )


def _text(found: _Found) -> Section:
    return Section(
        title="Held-out tunes",
        text=f"How well tunes of the {found.details['split']} split are predicted.",
        tables=(
            Table(
                columns=_columns(found.figures, "bytes"), rows=_rows(_names(found.figures), found.figures, real=False)
            ),
        ),
    )


def _accuracies(found: _Found) -> Section:
    names = _names(found.figures)
    shown = {
        one.partition("/")[2].replace("_", " "): {model: _bar(its[one]) for model, its in found.figures.items()}
        for one in names
        if all(one in its for its in found.figures.values())
    }
    return Section(
        title=found.name.replace("_", " ").capitalize(),
        text="Accuracy; guessing gives 0.25.",
        tables=(Table(columns=_columns(found.figures, "questions"), rows=_rows(names, found.figures, real=False)),),
        pictures=(
            (
                Picture(
                    name=found.name,
                    png=bars(shown, title=found.name.replace("_", " "), unit="accuracy"),
                    alt="Accuracies",
                ),
            )
            if shown
            else ()
        ),
    )


def _music_theory_bench(found: _Found) -> Section:
    published = tuple((row.model, row.setting, row.knowledge, row.reasoning) for row in PUBLISHED)
    ours = _accuracies(found)
    dropped = sum(way["examples_dropped"] for way in found.details.values())
    unanswered = sum(subject["not_answered"] for way in found.details.values() for subject in way["subjects"].values())
    return Section(
        title="MusicTheoryBench",
        text="By likelihood (the option whose whole string has the lowest mean cross-entropy, as in the paper) with "
        "as many worked examples as the row says, and by the letter that the model writes. Averaged over shuffles of "
        f"the options. {dropped} worked examples did not fit the window, {unanswered} prompts did not fit at all.",
        tables=(*ours.tables, Table(columns=("published", "setting", "knowledge", "reasoning"), rows=published)),
        pictures=ours.pictures,
    )


def _mmlu(found: _Found) -> Section:
    ours = _accuracies(found)
    published = Table(columns=("published", "MMLU 5-shot"), rows=tuple(MMLU_PUBLISHED.items()))
    return Section(title="MMLU", text=ours.text, tables=(*ours.tables, published))


def _bar(figure: Measured) -> Bar:
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    return Bar(value=figure.value, low=low, high=high)


def _galleries(evaluations: Evaluations) -> list[Section]:
    found = []
    for model, parts in evaluations.items():
        records = [record for record in parts["tunes"].records if "bars" in record] if "tunes" in parts else []
        if records:
            title = "Gallery" if len(evaluations) == 1 else f"Gallery of {model}"
            found.append(Section(title=title, tunes=tuple(exhibit(choose(records)))))
    return found
