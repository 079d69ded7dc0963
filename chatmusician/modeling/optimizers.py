"""Optimizers and the learning-rate schedule, as settings that build torch objects."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from chatmusician.errors import UserError
from chatmusician.modeling.muon import Muon

NamedParameters = Iterable[tuple[str, torch.nn.Parameter]]


class OptimizerSettings(Protocol):
    """What the LightningModule needs: settings that build an optimizer."""

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        """An optimizer over the trained ones among the named parameters."""


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """AdamW (Loshchilov and Hutter 2019). Weight decay applies to matrices, not to norms and biases."""

    lr: float
    betas: Sequence[float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        """The optimizer over the trained parameters."""
        return torch.optim.AdamW(
            _decay_groups(parameters, weight_decay=self.weight_decay),
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
        )


@dataclass(frozen=True, kw_only=True)
class MuonSettings:
    """Muon for the matrices of the layers, AdamW for embeddings, norms and head; see `chatmusician.modeling.muon`.

    ``lr`` is the size of Muon's steps, ``adam_lr`` that of AdamW's. On the nano model a run of 400,000 tokens ended at
    2.28 bits per byte with Muon and at 2.81 with AdamW (lr 3e-3), all else equal.
    """

    lr: float = 0.02
    adam_lr: float = 5e-3
    momentum: float = 0.95
    betas: Sequence[float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        """The optimizer over the trained parameters."""
        trained = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        matrices = [parameter for name, parameter in trained if _is_layer_matrix(name, parameter)]
        others = [parameter for name, parameter in trained if not _is_layer_matrix(name, parameter)]
        return Muon(
            _non_empty(
                {
                    "params": matrices,
                    "orthogonal": True,
                    "lr": self.lr,
                    "momentum": self.momentum,
                    "weight_decay": self.weight_decay,
                },
                {
                    "params": others,
                    "orthogonal": False,
                    "lr": self.adam_lr,
                    "betas": (self.betas[0], self.betas[1]),
                    "eps": self.eps,
                    "weight_decay": 0.0,
                },
            )
        )


def _is_layer_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    return _dimensions(parameter) == 2 and ".layers." in f".{name}"


def _decay_groups(parameters: NamedParameters, *, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for _, parameter in parameters if parameter.requires_grad]
    return _non_empty(
        {"params": [parameter for parameter in trained if _dimensions(parameter) >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if _dimensions(parameter) < 2], "weight_decay": 0.0},
    )


def _non_empty(*groups: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups that have parameters: DeepSpeed drops the others, and the schedule would count one too many."""
    return [group for group in groups if group["params"]]


def _dimensions(parameter: torch.nn.Parameter) -> int:
    """Of the whole parameter; under ZeRO-3 what is here is a flat piece of it."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}
"""From 1 to 0 as progress goes from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up to the full learning rate, then decay to a share of it.

    With 10 steps, ``warmup`` 0.2 and ``final`` 0.1, linear: 0.5, 1, 1, 0.89, 0.78, ... 0.21 of the learning rate.
    """

    shape: str = "cosine"
    """How it decays: cosine or linear."""
    warmup: float = 0.05
    """Share of all optimizer steps in which it rises."""
    final: float = 0.0
    """Share of the learning rate that is left after the last step."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UserError(f"schedule.shape={self.shape!r}: use {' or '.join(SHAPES)}")
        for name, share in (("warmup", self.warmup), ("final", self.final)):
            if not 0 <= share <= 1:
                raise UserError(f"schedule.{name}={share}: use a share between 0 and 1")

    def factor(self, step: int, *, total: int) -> float:
        """The share of the learning rate at optimizer step ``step`` of ``total``, counted from 0."""
        rising = round(self.warmup * total)
        if step < rising:
            return (step + 1) / rising
        progress = min(1.0, (step - rising) / max(1, total - rising))
        return self.final + (1 - self.final) * SHAPES[self.shape](progress)


def trained_parameters(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Name and value of every parameter that gets gradients."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)
