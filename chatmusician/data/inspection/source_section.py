"""The sources of prepared data: a table for each split, and the shares of the training split as bars."""

from collections.abc import Mapping
from textwrap import fill

from chatmusician.data.inspection.figures import SourceFigures
from chatmusician.data.inspection.look import Look
from chatmusician.data.inspection.token_text import visible_line
from chatmusician.reporting.plots import Bar, bars
from chatmusician.reporting.report import Picture, Section, Table

SOURCES_SHOWN = 24
"""Sources with a line and bars of their own; what the others gave is summed."""
NAME_WIDTH = 40
"""Characters of a name on a line beside the bars."""


def percent(part: float, whole: float) -> float | None:
    """A share in percent; None of nothing."""
    return 100 * part / whole if whole else None


def source_section(look: Look) -> Section:
    """Documents, tokens and trained tokens by source."""
    sources = {split: _shown(found) for split, found in look.sources.items()}
    plot = bars(_bars(sources["train"]), title="Sources of the training split", unit="%")
    return Section(
        title="Sources",
        text="Documents are those of the corpus of which something is in the rows; one in several pieces counts once.",
        tables=tuple(_table(split, found) for split, found in sources.items()),
        pictures=(Picture(name="sources", png=plot, alt="Shares of the sources in the training split"),),
    )


def _shown(sources: Mapping[str, SourceFigures]) -> dict[str, SourceFigures]:
    """The sources with most tokens by names that can be shown, and the sum of the others."""
    named = [(visible_line(name), source) for name, source in sources.items()]
    first, others = named[:SOURCES_SHOWN], [source for _, source in named[SOURCES_SHOWN:]]
    if others:
        first.append((f"{len(others)} others", _sum(others)))
    return dict(first)


def _sum(sources: list[SourceFigures]) -> SourceFigures:
    trained = [source.trained_tokens for source in sources if source.trained_tokens is not None]
    return SourceFigures(
        documents=sum(source.documents for source in sources),
        tokens=sum(source.tokens for source in sources),
        trained_tokens=sum(trained) if len(trained) == len(sources) else None,
    )


def _table(split: str, sources: Mapping[str, SourceFigures]) -> Table:
    total = _sum(list(sources.values()))
    rows = tuple(
        (
            name,
            source.documents,
            percent(source.documents, total.documents),
            source.tokens,
            percent(source.tokens, total.tokens),
            source.trained_tokens,
            _trained_percent(source, total),
        )
        for name, source in sources.items()
    )
    return Table(columns=(split, "documents", "%", "tokens", "%", "trained tokens", "%"), rows=rows)


def _bars(sources: Mapping[str, SourceFigures]) -> dict[str, dict[str, Bar]]:
    total = _sum(list(sources.values()))
    groups = {}
    for name, source in sources.items():
        shares = {
            "documents": percent(source.documents, total.documents),
            "tokens": percent(source.tokens, total.tokens),
            "trained tokens": _trained_percent(source, total),
        }
        groups[fill(name, NAME_WIDTH)] = {
            of: Bar(value=share, low=share, high=share) for of, share in shares.items() if share is not None
        }
    return groups


def _trained_percent(source: SourceFigures, total: SourceFigures) -> float | None:
    if source.trained_tokens is None or total.trained_tokens is None:
        return None
    return percent(source.trained_tokens, total.trained_tokens)
