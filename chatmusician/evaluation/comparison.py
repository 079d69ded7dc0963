"""Several evaluations side by side, with the differences that are more than chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError
from chatmusician.evaluation.intervals import bootstrap_difference
from chatmusician.evaluation.results import PartResult, load_evaluation
from chatmusician.evaluation.sections import Evaluations
from chatmusician.reporting.report import Cell, Section, Table

FEWEST = 2
"""Questions in common below which no difference is told."""


def load_all(folders: Sequence[str], *, option: str) -> dict[str, Mapping[str, PartResult]]:
    """Evaluations by the shortest ends of their folders' names that tell them apart.

    Raises:
        UserError: fewer than two folders, the same one twice, or one without an evaluation.
    """
    paths = [Path(folder).absolute() for folder in folders]
    if len(set(paths)) < 2 or len(set(paths)) < len(paths):
        raise UserError(f"{option}={list(folders)}: give two or more different folders of evaluations")
    length = next(n for n in range(1, 50) if len({path.parts[-n:] for path in paths}) == len(paths))
    return {"/".join(path.parts[-length:]): load_evaluation(path) for path in paths}


def difference_section(evaluations: Evaluations) -> Section:
    """Each model against the first: differences of what both were asked, with paired bootstrap intervals."""
    (first, reference), *others = evaluations.items()
    rows: list[tuple[Cell, ...]] = []
    for model, parts in others:
        for name in [name for name in reference if name in parts]:
            rows += _rows(model, name, reference[name], parts[name])
    return Section(
        title=f"Differences from {first}",
        text="Of the questions that both were asked, in pairs: an interval that leaves out zero is more than chance.",
        tables=(Table(columns=("figure", "model", "difference", "from", "to", "questions"), rows=tuple(rows)),),
    )


def _rows(model: str, name: str, reference: PartResult, other: PartResult) -> list[tuple[Cell, ...]]:
    theirs = {record["id"]: _values(record) for record in other.records}
    pairs = [(_values(record), theirs[record["id"]]) for record in reference.records if record["id"] in theirs]
    figures = list(dict.fromkeys(figure for ours, _ in pairs for figure in ours))
    rows: list[tuple[Cell, ...]] = []
    for figure in figures:
        both = [(ours[figure], them[figure]) for ours, them in pairs if figure in ours and figure in them]
        if len(both) >= FEWEST:
            interval = bootstrap_difference([them for _, them in both], [ours for ours, _ in both])
            label = f"{name}: {figure}".replace("_", " ")
            rows.append((label, model, interval.estimate, interval.low, interval.high, len(both)))
    return rows


def _values(record: Mapping[str, Any]) -> dict[str, float]:
    """What can be compared in a record: its measured values, whether it is right, the share of its bars that add up."""
    values = {key: value for key, value in record.items() if isinstance(value, float)}
    if "right" in record:
        values["accuracy"] = float(record["right"])
    if record.get("bars"):
        values["bar_rate"] = record["bars_right"] / record["bars"]
    return values
