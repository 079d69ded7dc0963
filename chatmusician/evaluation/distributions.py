"""Are melodies made of the intervals and note lengths that real tunes are made of?

The notes of all answers are counted in bins, and the distribution is compared with that of real tunes by the
Jensen-Shannon distance: the square root, which is a metric, of the divergence in bits (Endres and Schindelin, 2003). It
is 0 for equal distributions and 1 for those that have no bin in common. Few notes make it larger, so models are to be
compared on as many answers each. Tunes that do not parse add no notes.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torchmetrics import Metric

from chatmusician.evaluation.answers import TuneAnswer
from chatmusician.music.events import Event, melodic_intervals

WIDEST = 12
"""Semitones of the widest interval with a bin of its own, up and down; wider ones are counted with it."""

LENGTHS = tuple(
    Fraction(*length)
    for length in ((1, 32), (1, 24), (1, 16), (1, 12), (3, 32), (1, 8), (1, 6), (3, 16), (1, 4), (3, 8), (1, 2), (3, 4))
)
"""Note lengths with a bin of their own, in whole notes; all others share the last bin."""


class _DistanceFromReal(Metric):
    """Jensen-Shannon distance between the notes of the answers and those of real tunes; NaN without notes."""

    full_state_update = False

    counts: torch.Tensor

    def __init__(self, *, reference: Iterable[Sequence[Event]], **kwargs: Any) -> None:
        """``reference`` holds the sounding notes of each real tune (`chatmusician.music.events.sounding`)."""
        super().__init__(**kwargs)
        self.reference = sum((self.histogram(sounds) for sounds in reference), start=self.histogram(()))  # [B]
        self.add_state("counts", default=self.histogram(()), dist_reduce_fx="sum")  # [B]

    @classmethod
    @abstractmethod
    def histogram(cls, sounds: Sequence[Event]) -> torch.Tensor:
        """How often each of the B bins is met in one tune, int64 [B]."""

    def update(self, answer: TuneAnswer) -> None:
        """Add an answer."""
        self.counts += self.histogram(answer.sounds)

    def compute(self) -> torch.Tensor:
        """The distance between all that was added and the real tunes."""
        return jensen_shannon_distance(self.counts, self.reference.to(self.counts.device))


class IntervalDistance(_DistanceFromReal):
    """How far melodic intervals (semitones, clipped to an octave, 25 bins) are distributed from those of real tunes."""

    @classmethod
    def histogram(cls, sounds: Sequence[Event]) -> torch.Tensor:
        """How often each interval from -12 to 12 semitones is met in one tune, int64 [25]."""
        bins = [max(-WIDEST, min(WIDEST, interval)) + WIDEST for interval in melodic_intervals(sounds)]
        return torch.bincount(torch.tensor(bins, dtype=torch.int64), minlength=2 * WIDEST + 1)


class LengthDistance(_DistanceFromReal):
    """How far note lengths (whole notes, tied notes and chords as one) are distributed from those of real tunes."""

    @classmethod
    def histogram(cls, sounds: Sequence[Event]) -> torch.Tensor:
        """How often each of `LENGTHS`, and any other, is met in one tune, int64 [13]."""
        bins = [LENGTHS.index(event.length) if event.length in LENGTHS else len(LENGTHS) for event in sounds]
        return torch.bincount(torch.tensor(bins, dtype=torch.int64), minlength=len(LENGTHS) + 1)


def jensen_shannon_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The distance between two histograms of counts [B], 0 to 1; NaN where one of them is empty."""
    p, q = first.double() / first.sum(), second.double() / second.sum()  # [B]
    middle = (p + q) / 2
    bits = sum(torch.special.xlogy(part, part / middle).nansum() for part in (p, q)) / (2 * math.log(2))
    return torch.where(torch.isnan(middle).any(), torch.nan, bits.clamp(0, 1).sqrt())
