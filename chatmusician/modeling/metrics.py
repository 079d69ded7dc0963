"""Metrics of the loss that hold over ranks and batches of different sizes."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import Metric


class BitsPerByte(Metric):
    """Bits that the model needs for one byte of text: nats summed / (ln 2 x bytes summed).

    Unlike the loss per token it does not change with the tokenizer, so models can be compared by it.
    """

    full_state_update = False

    nats: torch.Tensor
    bytes: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("nats", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("bytes", default=torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nats: torch.Tensor, bytes: torch.Tensor) -> None:
        """Add a batch: its summed negative log likelihood in nats [] and the bytes it stands for []."""
        self.nats += nats.detach().to(self.nats)
        self.bytes += bytes.to(self.bytes)

    def compute(self) -> torch.Tensor:
        """Bits per byte of everything seen; NaN where nothing was."""
        return (self.nats / (math.log(2) * self.bytes)).float()


class BitsPerByteBySource(Metric):
    """`BitsPerByte` of each of S sources; the sums are added up over ranks, which may each see some sources only."""

    full_state_update = False

    nats: torch.Tensor
    bytes: torch.Tensor

    def __init__(self, sources: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sources = tuple(sources)
        count = len(self.sources)
        self.add_state("nats", default=torch.zeros(count, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("bytes", default=torch.zeros(count, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nats: torch.Tensor, sources: torch.Tensor, bytes: torch.Tensor) -> None:
        """Add a batch: the nats of its trained tokens [N], which source each is of [N], and the bytes of each [S]."""
        self.nats.index_add_(0, sources, nats.detach().to(self.nats))
        self.bytes += bytes.to(self.bytes)

    def compute(self) -> dict[str, torch.Tensor]:
        """Bits per byte by the name of the source, of those that were seen."""
        bits = (self.nats / (math.log(2) * self.bytes)).float()
        return {name: bits[i] for i, name in enumerate(self.sources) if self.bytes[i] > 0}
