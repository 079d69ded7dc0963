"""What the parts of an evaluation found, in memory and on the disk.

A folder of an evaluation::

    parts/tunes.json     settings, figures and details of a part; written last, so that its presence means "finished"
    parts/tunes.jsonl    a record of each answer
    results.json         all figures with intervals and counts: the same for the same model, settings and seed
    metrics.json         the figures alone, flat, for pipelines and model cards
    report.md, report.html, *.png

An interrupted evaluation goes on from the finished parts; a part with other settings, or of another model, is done
anew.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatmusician.data.shards import write_bytes, write_json
from chatmusician.errors import UserError
from chatmusician.evaluation.intervals import Interval

PARTS = "parts"
DIGITS = 4
"""Decimal places of figures on the disk."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure."""

    value: float
    count: int
    """What it is based on: answers, bars, questions, bytes."""
    low: float | None = None
    """Ends of the 95% interval; None where none can be given."""
    high: float | None = None
    real: float | None = None
    """The same of the held-out real tunes; None where there is no such thing."""


def measured(interval: Interval, *, count: int, real: float | None = None) -> Measured:
    """A figure from its interval."""
    return Measured(value=interval.estimate, low=interval.low, high=interval.high, count=count, real=real)


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What one part found."""

    part: str
    figures: Mapping[str, Measured]
    records: tuple[Mapping[str, Any], ...] = ()
    """One for each answer, with an ``id`` that is the same for the same question in another evaluation."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else its section of the report shows; JSON values."""


def fingerprint(content: Any) -> str:
    """A hash of JSON values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def save_part(folder: Path, result: PartResult, *, settings: Mapping[str, Any], seconds: float) -> PartResult:
    """Write a part into ``folder/parts`` and give it as it was written, figures rounded."""
    place = folder / PARTS
    place.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in result.records)
    write_bytes(place / f"{result.part}.jsonl", lines.encode())
    figures = {name: _rounded(asdict(figure)) for name, figure in result.figures.items()}
    content = {"fingerprint": fingerprint(settings), "settings": settings, "seconds": round(seconds, 1)}
    write_json(place / f"{result.part}.json", {**content, "figures": figures, "details": result.details})
    loaded = load_part(folder, result.part)
    assert loaded is not None, "it was written just now"
    return loaded


def _rounded(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in figure.items()}


def load_part(folder: Path, part: str, *, settings: Mapping[str, Any] | None = None) -> PartResult | None:
    """A finished part; None if there is none, or with ``settings`` none of these.

    Raises:
        UserError: the file is none of an evaluation.
    """
    path = folder / PARTS / f"{part}.json"
    try:
        content = json.loads(path.read_text())
        if settings is not None and content["fingerprint"] != fingerprint(settings):
            return None
        lines = path.with_suffix(".jsonl").read_text().splitlines()
        return PartResult(
            part=part,
            figures={name: Measured(**figure) for name, figure in content["figures"].items()},
            records=tuple(json.loads(line) for line in lines),
            details=content["details"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no part of an evaluation ({error!r}): remove it to do the part anew") from error


def load_evaluation(folder: Path) -> dict[str, PartResult]:
    """The finished parts of an evaluation by their names.

    Raises:
        UserError: there are none.
    """
    names = sorted(path.stem for path in (folder / PARTS).glob("*.json"))
    if not names:
        raise UserError(f"{folder} holds no finished evaluation: give the folder of a run of chatmusician.evaluate")
    found = {name: load_part(folder, name) for name in names}
    return {name: part for name, part in found.items() if part is not None}


def save_results(folder: Path, parts: Sequence[PartResult], *, model: Mapping[str, Any]) -> dict[str, float]:
    """Write results.json and metrics.json; the figures by name, ``PART/NAME`` but for those of tunes and text."""
    figures = {name: figure for part in parts for name, figure in part.figures.items()}
    write_json(folder / "results.json", {"model": model, "figures": {name: asdict(f) for name, f in figures.items()}})
    values = {name: figure.value for name, figure in figures.items()}
    write_json(folder / "metrics.json", values)
    return values
