"""Muon: momentum, orthogonalised (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks").

For a matrix the update is the momentum with its singular values pressed towards 1, which five steps of a quintic
Newton-Schulz iteration approximate. Vectors, embeddings and heads are updated by AdamW in the same optimizer, so that
one schedule and one checkpoint hold both. ``torch.optim.Muon`` does the iteration in bf16, which is slow or
fatal on CPUs that lack it, and takes matrices only; here it runs in float32.
"""

from collections.abc import Callable
from typing import Any

import torch

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrix [m, n], roughly.

    Singular values from 0.002 of the Frobenius norm upwards end between 0.68 and 1.21; smaller ones grow 485-fold.
    """
    a, b, c = _QUINTIC
    x = matrix.float()
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for parameter groups with ``orthogonal`` true, AdamW for the others.

    Groups of the first kind have ``lr``, ``momentum`` and ``weight_decay``; their parameters are matrices [m, n], and
    the step is scaled by sqrt(max(1, m / n)). Groups of the second have ``lr``, ``betas``, ``eps``, ``weight_decay``.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimizer step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._step_matrix if group["orthogonal"] else self._step_adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, parameter.grad, group)
        return loss

    def _step_matrix(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        nesterov = gradient.lerp(momentum, group["momentum"])
        update = orthogonalise(nesterov)
        scale = max(1.0, parameter.size(0) / parameter.size(1)) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.to(parameter), alpha=-group["lr"] * scale)

    def _step_adam(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = state["step"].item()
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        denominator = (state["square"] / (1 - second**step)).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(state["mean"], denominator, value=-group["lr"] / (1 - first**step))
