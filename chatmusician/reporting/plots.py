"""Plots of the report, as PNG."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval; without one, both ends are the value."""

    value: float
    low: float
    high: float


def bars(groups: Mapping[str, Mapping[str, Bar]], *, title: str, unit: str) -> bytes:
    """Horizontal bars with intervals: one group of bars a figure, in it one bar a model.

    Args:
        groups: name of a figure -> name of a model (or of what else is compared) -> its bar. All groups have the same.
        title: above the plot.
        unit: what the values are in, under the axis.
    """
    models = list(dict.fromkeys(model for group in groups.values() for model in group))
    height = 0.8 / max(1, len(models))
    legend = 0.25 + 0.2 * len(models) if len(models) > 1 else 0.0  # below the axes, where it hides no bar
    figure = Figure(figsize=(8, 0.9 + 0.2 * len(groups) * (1 + len(models)) + legend), layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(models):
        places = [row + (number - (len(models) - 1) / 2) * height for row, group in enumerate(groups.values())]
        found = [group[model] for group in groups.values()]
        errors = [[max(0.0, bar.value - bar.low) for bar in found], [max(0.0, bar.high - bar.value) for bar in found]]
        intervals = errors if any(map(any, errors)) else None
        axes.barh(places, [bar.value for bar in found], height, xerr=intervals, capsize=2, label=model)
    axes.set_yticks(range(len(groups)), list(groups), parse_math=False)
    axes.set_ylim(len(groups) - 0.5, -0.5)  # the first group on top
    axes.set_xlabel(unit)
    axes.set_title(title)
    if legend:
        figure.legend(loc="outside lower left")
    return _png(figure)


def histograms(series: Mapping[str, Sequence[float]], edges: Sequence[float], *, title: str, unit: str) -> bytes:
    """Distributions over the same bins: shares by bin, the first as an area and the others as lines over it.

    Args:
        series: name -> the share of each bin.
        edges: where the bins begin, and where the last one ends: one more than there are bins.
        title: above the plot.
        unit: what the bins are in, under the axis.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    for number, (name, shares) in enumerate(series.items()):
        axes.stairs(shares, edges, label=name, fill=number == 0, alpha=0.5 if number == 0 else 1, linewidth=1.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(unit)
    axes.set_ylabel("share")
    axes.set_title(title)
    if len(series) > 1:
        axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of names, which tables have too
        figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
