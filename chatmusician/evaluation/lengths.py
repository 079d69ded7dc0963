"""How long tunes are, and how few tokens they take (compression)."""

from typing import Any

import torch
from torchmetrics import Metric

from chatmusician.evaluation.answers import AnswerMean, TuneAnswer


class BarsPerTune(AnswerMean):
    """Bars of a tune, those of all voices added up, repeats not unfolded; the mean over tunes that parse."""

    def value(self, answer: TuneAnswer) -> float | None:
        """Bars, None unless the tune parses."""
        return float(answer.check.bars) if answer.check is not None and answer.check.parses else None


class NotesPerTune(AnswerMean):
    """Notes of a tune, tied ones as one, each of a chord; grace notes left out; the mean over tunes that parse."""

    def value(self, answer: TuneAnswer) -> float | None:
        """Notes, None unless the tune parses."""
        return float(sum(len(event.notes) for event in answer.sounds)) if answer.tune is not None else None


class TokensPerTune(AnswerMean):
    """Tokens of a tune from ``X:`` on, without special tokens; the mean over tunes that parse.

    The paper's 288 tokens a song in ABC are of LLaMA2's tokenizer.
    """

    def __init__(self, *, tokenizer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer

    def value(self, answer: TuneAnswer) -> float | None:
        """Tokens, None unless the tune parses."""
        if answer.tune is None or answer.abc is None:
            return None
        return float(token_count(answer.abc, self.tokenizer))


class BytesPerToken(Metric):
    """Bytes of UTF-8 that a token stands for: bytes of all tunes that parse / their tokens; NaN without tunes."""

    full_state_update = False

    bytes: torch.Tensor
    tokens: torch.Tensor

    def __init__(self, *, tokenizer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.add_state("bytes", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("tokens", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, answer: TuneAnswer) -> None:
        """Add an answer."""
        if answer.tune is not None and answer.abc is not None:
            self.bytes += len(answer.abc.encode())
            self.tokens += token_count(answer.abc, self.tokenizer)

    def compute(self) -> torch.Tensor:
        """Bytes a token."""
        return self.bytes / self.tokens


def token_count(text: str, tokenizer: Any) -> int:
    """Tokens of a text without special tokens."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
