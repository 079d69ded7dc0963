"""Plots of the report, as PNG."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

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


def dots(points: Sequence[tuple[str, float]], *, title: str, x: str, y: str) -> bytes:
    """One dot a point; over numbers a line joins the medians, over anything else each value has its place.

    The axis of numbers is logarithmic where they are positive and the largest is 100 times the smallest or more.

    Args:
        points: of which the first values, as texts, are numbers or names.
        title: above the plot.
        x, y: under and beside the axes.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [_number(text) for text, _ in points]
    heights = [height for _, height in points]
    found = [number for number in numbers if number is not None]
    if len(found) == len(points):
        axes.scatter(found, heights, alpha=0.7, zorder=2)
        medians = [(at, median(h for n, h in zip(found, heights, strict=True) if n == at)) for at in sorted(set(found))]
        axes.plot(*zip(*medians, strict=True), linewidth=1, alpha=0.5, zorder=1)
        if min(found) > 0 and max(found) >= 100 * min(found):
            axes.set_xscale("log")
    else:
        names = list(dict.fromkeys(text for text, _ in points))
        axes.scatter([names.index(text) for text, _ in points], heights, alpha=0.7)
        axes.set_xticks(range(len(names)), names, parse_math=False, rotation=30 if len(names) > 8 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.set_title(title, parse_math=False)
    return _png(figure)


def _number(text: str) -> float | None:
    """The finite number that a text is, if it is one."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of names, which tables have too
        figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
