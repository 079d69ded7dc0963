"""W x + (alpha / r) B A dropout(x) as one operation, for a frozen W on the CPU.

Differentiated step by step, as PEFT's layer is, the expression writes and keeps the dropped input of every projection
(for the seven of a layer five times its hidden states), and takes a pass over memory for each sum and scaling. Here the
products add to their output themselves, x is kept once for all the projections that share it, and of the dropout a byte
an element; what was dropped is made again from them. The gradients are, with x' = dropout(x), h = s A x' and the
output's gradient g::

    dB = g h^T      dA = s (B^T g) x'^T      dx = W^T g + dropout(s A^T B^T g)

Parameters, their names and checkpoints stay PEFT's: `FusedLora` is PEFT's layer with another forward, which takes
PEFT's own wherever something else is asked of it than that expression.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch.autograd.function import once_differentiable

from chatmusician.modeling.dropout import LEVELS, dropped_levels, kept
from chatmusician.modeling.plain_linear import may_be_read


class LoraProduct(torch.autograd.Function):
    """The expression of the module for tokens [T, in], W [out, in], A [r, in], B [out, r]; gives [T, out].

    ``keep`` [T, in] is 1 where dropout keeps an element, else 0; None keeps all. ``scaling`` is s, times 1 / (1 - p)
    under dropout.
    """

    @staticmethod
    def forward(
        ctx: Any,
        tokens: torch.Tensor,
        weight: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        keep: torch.Tensor | None,
        scaling: float,
    ) -> torch.Tensor:
        """The output [T, out]."""
        low = _dropped(tokens, keep).mm(a.t()).mul_(scaling)  # [T, r]
        ctx.save_for_backward(tokens, weight, a, b, keep, low)
        ctx.scaling = scaling
        return tokens.mm(weight.t()).addmm_(low, b.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of tokens, A and B."""
        tokens, weight, a, b, keep, low = ctx.saved_tensors
        of_low = gradient.mm(b).mul_(ctx.scaling)  # [T, r]
        of_a = of_low.t().mm(_dropped(tokens, keep))
        of_b = gradient.t().mm(low)
        of_tokens = None
        if ctx.needs_input_grad[0]:
            of_tokens = gradient.mm(weight)
            if keep is None:
                of_tokens.addmm_(of_low, a)
            else:
                of_tokens.addcmul_(of_low.mm(a), keep.to(a.dtype))
        return of_tokens, None, of_a, of_b, None, None


def _dropped(tokens: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    return tokens if keep is None else keep.to(tokens.dtype).mul_(tokens)


class FusedLora(PeftLinear):
    """PEFT's LoRA beside a linear layer, computed by `LoraProduct` where that is the same."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """[..., in] to [..., out]."""
        if args or kwargs or not self._is_plain(x):
            return super().forward(x, *args, **kwargs)
        (adapter,) = self.active_adapters
        a, b = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        tokens = x.reshape(-1, x.shape[-1])
        dropout = self.lora_dropout[adapter]
        p = dropout.p if isinstance(dropout, torch.nn.Dropout) and self.training else 0.0
        scaling = self.scaling[adapter]
        keep = None
        if levels := dropped_levels(p):
            keep = kept(tuple(tokens.shape), p=p)
            scaling *= LEVELS / (LEVELS - levels)
        product = LoraProduct.apply(tokens, self.base_layer.weight, a, b, keep, scaling)
        return product.view(*x.shape[:-1], -1)

    def _is_plain(self, x: torch.Tensor) -> bool:
        """Whether this is one plain adapter beside a frozen layer without bias, in one type of numbers on the CPU."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return False
        (adapter,) = self.active_adapters
        if adapter not in self.lora_A or adapter in self.lora_variant or self.lora_bias[adapter]:
            return False
        layers = (self.base_layer, self.lora_A[adapter], self.lora_B[adapter])
        return all(may_be_read(layer, x) for layer in layers) and not self.base_layer.weight.requires_grad
