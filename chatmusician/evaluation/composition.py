"""Metrics of composed tunes, each a `torchmetrics.Metric` that sums numerator and denominator.

They are shares between 0 and 1. An answer that holds no tune, or one that does not parse, counts against the parse rate
and adds no bars, so that the bar rate speaks of tunes that can be read; both are to be looked at together.
"""

from typing import Any

import torch
from torchmetrics import Metric

from chatmusician.music.checks import TuneCheck


class Share(Metric):
    """A share: how many of how many. NaN where nothing was counted."""

    full_state_update = False

    hits: torch.Tensor
    total: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("hits", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def count(self, hits: int, total: int) -> None:
        """Add some hits out of some."""
        self.hits += hits
        self.total += total

    def compute(self) -> torch.Tensor:
        """The share of everything counted."""
        return self.hits / self.total


class ParseRate(Share):
    """Share of answers whose tune parses, by the definition in `chatmusician.music.checks`."""

    def update(self, check: TuneCheck | None) -> None:
        """Add an answer: the check of its tune, or None where it held no tune."""
        self.count(int(check is not None and check.parses), 1)


class BarRate(Share):
    """Share of bars that add up, by the definition in `chatmusician.music.bars`, over the tunes that parse."""

    def update(self, check: TuneCheck | None) -> None:
        """Add an answer: the check of its tune, or None where it held no tune."""
        if check is not None:
            self.count(check.bars_right, check.bars)


class CopiedRate(Share):
    """Share of answers whose melody is that of a training tune, in whatever key, rhythm or layout.

    Melodies are compared by their diatonic steps (`chatmusician.data.folk.melody_of`).
    """

    def __init__(self, *, melodies: frozenset[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.melodies = melodies

    def update(self, melody: str | None) -> None:
        """Add an answer: its melody, or None where it held no tune that parses."""
        self.count(int(melody is not None and melody in self.melodies), 1)
