"""An answer taken apart once, for all metrics: the tune in it, whether it parses, and what it is made of.

Flow: question, task and answer -> `read_answer` -> `TuneAnswer` -> the metrics, each an `AnswerMean`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torchmetrics import Metric

from chatmusician.data.folk import melody_of
from chatmusician.evaluation.requirements import Requirements
from chatmusician.music.checks import TuneCheck, check_tune
from chatmusician.music.events import Event, events, sounding
from chatmusician.music.extraction import extract_tune
from chatmusician.music.form import form_letters
from chatmusician.music.lexer import Kind
from chatmusician.music.tunes import Tune, parse_tune


@dataclass(frozen=True, kw_only=True)
class TuneAnswer:
    """An answer, and what its question asks for."""

    requirements: Requirements
    text: str
    """The whole answer."""
    abc: str | None
    """The tune, without the text around it; None if there is none."""
    check: TuneCheck | None
    """What was found in the tune; None if there is none."""
    reason: str | None
    """Why there is no tune, or why it does not parse; None if it does."""
    tune: Tune | None
    """The tune, if it parses."""

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Notes, chords and rests; none unless the tune parses."""
        return events(self.tune) if self.tune is not None else ()

    @cached_property
    def sounds(self) -> tuple[Event, ...]:
        """Notes and chords, tied ones as one; none unless the tune parses."""
        return sounding(self.events)

    @cached_property
    def letters(self) -> str:
        """The form as letters; empty unless the tune parses."""
        return form_letters(self.tune) if self.tune is not None else ""

    @cached_property
    def melody(self) -> str | None:
        """Diatonic steps from note to note (`chatmusician.data.folk.melody_of`); None unless the tune parses."""
        return melody_of(self.tune) if self.tune is not None else None

    @property
    def chords(self) -> tuple[str, ...]:
        """The chord symbols, in their order; none unless the tune parses."""
        tokens = self.tune.tokens if self.tune is not None else ()
        return tuple(token.text.strip('" ') for token in tokens if token.kind is Kind.CHORD_SYMBOL)


def read_answer(text: str, *, requirements: Requirements) -> TuneAnswer:
    """Find the first tune in an answer and check it. Nothing in an answer is an error."""
    found = extract_tune(text)
    check = check_tune(found.abc) if found.abc is not None else None
    return TuneAnswer(
        requirements=requirements,
        text=text,
        abc=found.abc,
        check=check,
        reason=check.reason if check is not None else found.reason,
        tune=parse_tune(found.abc) if found.abc is not None and check is not None and check.parses else None,
    )


class AnswerMean(Metric):
    """The mean of a value over the answers to which it applies; NaN where it applied to none.

    The sum and the count are states that are added up, so the mean is right over ranks and batches of any size.
    """

    full_state_update = False

    total: torch.Tensor
    count: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def value(self, answer: TuneAnswer) -> float | None:
        """The value of one answer, None where the metric does not apply."""

    def update(self, answer: TuneAnswer) -> None:
        """Add an answer."""
        value = self.value(answer)
        if value is not None:
            self.total += value
            self.count += 1

    def compute(self) -> torch.Tensor:
        """The mean over the answers that counted."""
        return self.total / self.count
