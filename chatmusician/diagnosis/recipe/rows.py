"""How many rows and optimizer steps a run has: counted in prepared data, else estimated for the paper's corpora.

The estimate takes the tokens and rows that the paper gives for each source of MusicPile, and rows that are filled to
the last token (a real preparation filled 99.9%). Each is a number of documents times the mean length of its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.data.mixtures import is_of
from chatmusician.data.shards import load_manifest
from chatmusician.diagnosis.recipe.plan import Plan

if TYPE_CHECKING:
    from omegaconf import DictConfig

MUSICPILE = {
    "pile": (830_000_000, 18_000),
    "falcon-refinedweb": (800_000_000, 101_000),
    "wikipedia": (390_000_000, 588_000),
    "openchat": (62_000_000, 43_000),
    "linksoul": (600_000_000, 1_500_000),
    "gpt4-alpaca": (9_800_000, 49_000),
    "dolly": (3_100_000, 14_000),
    "irishman": (230_000_000, 868_000),
    "kernscores": (2_800_000, 10_000),
    "bach": (440_000, 349),
    "synthetic music chat": (540_000_000, 50_000),
    "music knowledge": (220_000_000, 255_000),
    "music summary": (210_000_000, 500_000),
    "gsm8k": (1_700_000, 7_000),
    "math": (7_000_000, 37_000),
    "math-instruct": (55_000_000, 188_000),
    "camel-math": (28_000_000, 50_000),
    "arxiv-math-instruct": (9_000_000, 50_000),
    "camel-code": (130_000_000, 366_000),
    "opencoder": (37_000_000, 28_000),
}
"""Source -> tokens and rows in MusicPile (arXiv 2402.16153, table of the corpus)."""
SFT_ROWS = {
    "irishman": 340_000,
    "kernscores": 10_000,
    "bach": 33_500,
    "music knowledge": 255_000,
    "music summary": 500_000,
}
"""Source -> rows of MusicPile-sft (its card)."""
PUBLISHED = {"m-a-p/MusicPile": None, "m-a-p/MusicPile-sft": SFT_ROWS}
"""Hub id -> rows of each source, where those of MusicPile are not meant."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one epoch, and how they are known."""

    rows: int
    trained_tokens: int | None
    source: str
    estimated: bool


def rows_of(data: "DictConfig") -> Rows | None:
    """The training rows of a configuration of data; None where only preparing them would tell.

    Raises:
        UserError: the folder's manifest cannot be read.
    """
    manifest = load_manifest(Path(data.directory)) if "://" not in data.directory else None
    if manifest is not None and manifest.settings.get("seq_len") == data.seq_len:
        train = manifest.splits["train"]
        return Rows(
            rows=train.total("rows"),
            trained_tokens=train.total("trained_tokens"),
            source=f"counted in {data.directory}",
            estimated=False,
        )
    tokens = estimated_tokens(data.corpus)
    if tokens is None:
        return None
    return Rows(
        rows=max(1, round(tokens / data.seq_len)),
        trained_tokens=None,
        source=f"estimated: {tokens / 1e6:,.0f} million tokens by the paper's means of each source",
        estimated=True,
    )


def estimated_tokens(corpus: "DictConfig") -> float | None:
    """Tokens of a corpus of MusicPile's rows, by its mixture; None for others."""
    paths = {source.get("path") for source in corpus.get("sources", {}).values() if source}
    if not paths or not paths <= PUBLISHED.keys():
        return None
    (rows,) = [PUBLISHED[path] for path in paths][:1]
    table = {
        name: (tokens / count, rows.get(name, 0) if rows is not None else count)
        for name, (tokens, count) in MUSICPILE.items()
    }
    mixture = corpus.get("mixture")
    if mixture is None:
        return sum(mean * count for mean, count in table.values())
    return _mixed(mixture, table)


def _mixed(mixture: Any, table: Mapping[str, tuple[float, int]]) -> float:
    """Of each pool the rows it gives, times the mean length of its rows."""
    shares = dict(mixture.get("shares") or {"+".join(mixture.categories): 1.0})
    whole = sum(shares.values())
    tokens = 0.0
    for pool, share in shares.items():
        parts = [part for name in pool.split("+") for part in mixture.categories.get(name, (name,))]
        there = {name: found for name, found in table.items() if is_of(name, tuple(parts))}
        repeats = {name: _repeats(mixture, name) for name in there}
        available = sum(count * repeats[name] for name, (_, count) in there.items())
        if not available:
            continue
        of_all = sum(mean * count * repeats[name] for name, (mean, count) in there.items())
        rows = mixture.get("rows")
        taken = available if rows is None else min(available, rows * share / whole)
        tokens += of_all / available * taken
    return tokens


def _repeats(mixture: Any, source: str) -> int:
    for name, times in (mixture.get("repeats") or {}).items():
        if is_of(source, tuple(mixture.categories.get(name, (name,)))):
            return int(times)
    return 1


def optimizer_steps(plan: Plan, rows: Rows | None) -> int | None:
    """Optimizer steps of the whole run; None where the rows are not known."""
    if plan.max_steps is not None:
        return plan.max_steps
    return None if rows is None else plan.max_epochs * (rows.rows // plan.global_batch)
