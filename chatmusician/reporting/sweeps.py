"""What came of a sweep: ``summary.csv``, and a plot of the objective over each key that was swept.

Each job of a sweep leaves ``job.json`` in its folder when it starts and again when it ends, wherever it ran; the table
is made of these files and of the figures in ``metrics.json`` beside them. It is made anew after every job, so that an
interrupted sweep has the table of what it did. To make it and the plots of a folder again::

    python -m chatmusician.reporting.sweeps outputs/sweeps/NAME/TIME
"""

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError

RECORD = "job.json"
SUMMARY = "summary.csv"
RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job of a sweep."""

    number: int
    folder: str
    """Relative to the sweep's."""
    values: Mapping[str, str]
    """What its overrides set: key -> value as it is written on a command line."""
    swept: Sequence[str]
    """The keys of ``values`` that the sweep was told to vary."""
    status: str = RUNNING
    objective: Any = None
    seconds: float | None = None
    error: str = ""
    """The line that says why it failed."""


def write_record(sweep: Path, record: JobRecord) -> None:
    """Put the record into the job's folder, whole or not at all."""
    place = sweep / record.folder / RECORD
    place.parent.mkdir(parents=True, exist_ok=True)
    _write(place, (json.dumps(asdict(record), indent=2, default=str) + "\n").encode())


def read_records(sweep: Path) -> list[JobRecord]:
    """The records of all jobs of a sweep, by number."""
    records = [JobRecord(**json.loads(file.read_text(encoding="utf-8"))) for file in sweep.rglob(RECORD)]
    return sorted(records, key=lambda record: record.number)


def swept_keys(records: Iterable[JobRecord]) -> list[str]:
    """The keys that were to vary, then others that do: a search space in Python adds keys without announcing them."""
    records = list(records)
    keys = dict.fromkeys(key for record in records for key in record.swept)
    for key in dict.fromkeys(key for record in records for key in record.values):
        if len({record.values.get(key) for record in records}) > 1:
            keys.setdefault(key)
    return list(keys)


def write_summary(sweep: Path) -> list[JobRecord]:
    """Write ``summary.csv`` from the records of a sweep; the records."""
    records = read_records(sweep)
    figures = [_figures(sweep / record.folder) if record.status == DONE else {} for record in records]
    keys = swept_keys(records)
    own = ["job", "folder", *keys, "objective"]
    last = ["seconds", "status", "error"]
    names = list(dict.fromkeys(name for found in figures for name in found))
    columns = {name: f"metrics.{name}" if name in {*own, *last} else name for name in names}
    text = io.StringIO()
    table = csv.DictWriter(text, [*own, *columns.values(), *last], lineterminator="\n", restval="")
    table.writeheader()
    for record, found in zip(records, figures, strict=True):
        row = {"job": record.number, "folder": record.folder, "objective": record.objective}
        row |= {key: unquoted(record.values[key]) for key in keys if key in record.values}
        row |= {columns[name]: value for name, value in found.items()}
        table.writerow(row | {"seconds": record.seconds, "status": record.status, "error": record.error})
    _write(sweep / SUMMARY, text.getvalue().encode())
    return records


def write_plots(sweep: Path) -> list[Path]:
    """Draw the objective over each swept key as ``objective_over_KEY.png``; where the pictures are.

    Jobs without an objective are not dots, they are counted in the title.
    """
    from chatmusician.reporting.plots import dots

    records = read_records(sweep)
    done = [record for record in records if _is_number(record.objective)]
    if not done:
        return []
    places = []
    missing = f", {len(records) - len(done)} without a result" if len(done) < len(records) else ""
    for key in swept_keys(records):
        points = [(unquoted(record.values[key]), float(record.objective)) for record in done if key in record.values]
        if not points:
            continue
        place = sweep / f"objective_over_{re.sub(r'[^A-Za-z0-9_.-]+', '_', key)}.png"
        jobs = f"{len(points)} job{'s' if len(points) > 1 else ''}{missing}"
        _write(place, dots(points, title=f"{sweep.name}: {jobs}", x=key, y=_name_of_objective(sweep, done)))
        places.append(place)
    return places


def unquoted(value: str) -> str:
    """A value of an override without the quotes that kept it together."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _figures(folder: Path) -> dict[str, float]:
    """The numbers in a job's ``metrics.json``, and in its mappings, under dotted names; none without such a file."""
    try:
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(_numbers(content)) if isinstance(content, dict) else {}


def _numbers(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif _is_number(value):
            yield f"{prefix}{name}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name_of_objective(sweep: Path, done: Sequence[JobRecord]) -> str:
    """The figure that the objective is in every job, else "objective"."""
    names = [
        {name for name, value in _figures(sweep / record.folder).items() if value == record.objective}
        for record in done
    ]
    return min(set.intersection(*names), default="objective")


def _write(place: Path, content: bytes) -> None:
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(place)


def main(folder: Path) -> None:
    """Make the table and the plots of a sweep's folder anew.

    Raises:
        UserError: no job has left a record there.
    """
    if not read_records(folder):
        raise UserError(
            f"{folder}: no {RECORD} in it or below; name the folder of a sweep, as outputs/sweeps/NAME/TIME"
        )
    write_summary(folder)
    for place in (folder / SUMMARY, *write_plots(folder)):
        print(place)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) == 2 else ""))
    except UserError as error:
        sys.exit(f"error: {error}")
