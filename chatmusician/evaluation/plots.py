"""Plots of the report, as PNG."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval."""

    value: float
    low: float
    high: float


def bars(groups: Mapping[str, Mapping[str, Bar]], *, title: str, unit: str) -> bytes:
    """Horizontal bars with intervals: one group of bars a figure, in it one bar a model.

    Args:
        groups: name of a figure -> name of a model -> its bar. All groups have the same models.
        title: above the plot.
        unit: what the values are in, under the axis.
    """
    models = list(dict.fromkeys(model for group in groups.values() for model in group))
    height = 0.8 / max(1, len(models))
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(groups) * max(1, len(models)) ** 0.7), layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(models):
        places = [row + (number - (len(models) - 1) / 2) * height for row, group in enumerate(groups.values())]
        found = [group[model] for group in groups.values()]
        errors = [[max(0.0, bar.value - bar.low) for bar in found], [max(0.0, bar.high - bar.value) for bar in found]]
        axes.barh(places, [bar.value for bar in found], height, xerr=errors, capsize=2, label=model)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title)
    if len(models) > 1:
        axes.legend()
    return _png(figure)


def histograms(series: Mapping[str, Sequence[float]], labels: Sequence[str], *, title: str, unit: str) -> bytes:
    """Distributions side by side: shares by bin, one step line a series.

    Args:
        series: name -> the share of each bin.
        labels: the name of each bin.
        title: above the plot.
        unit: what the bins are.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    for name, shares in series.items():
        axes.step(range(len(labels)), shares, where="mid", label=name)
    axes.set_xticks(range(len(labels)), list(labels), rotation=90 if len(labels) > 16 else 0, fontsize=8)
    axes.set_xlabel(unit)
    axes.set_ylabel("share")
    axes.set_title(title)
    axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
