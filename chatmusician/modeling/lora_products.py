"""W x + (alpha / r) B A dropout(x) as one operation, for a frozen W.

Differentiated step by step, as PEFT's layer is, the expression writes and keeps the dropped input of every projection
(for the seven of a layer five times its hidden states), and takes a pass over memory for each sum and scaling; under
autocast, PEFT computes dropout in float32 besides. Here the products add to their output themselves, x is kept once for
all the projections that share it, and of the dropout a byte an element; what was dropped is made again from them. The
gradients are, with x' = dropout(x), h = A x' and the output's gradient g::

    dB = s g h^T      dA = s (B^T g) x'^T      dx = dropout(s A^T B^T g) + W^T g

Parameters, their names and checkpoints stay PEFT's: `FusedLora` is PEFT's layer with another forward, which takes
PEFT's own wherever something else is asked of it than that expression.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch.autograd.function import once_differentiable

from chatmusician.modeling.dropout import exact, kept, only
from chatmusician.modeling.plain_linear import products_of, weight_to_read


class LoraProduct(torch.autograd.Function):
    """The expression of the module for tokens [T, in], W [out, in], A [r, in], B [out, r]; gives [T, out].

    Computed in the tokens' type of numbers, whatever that of the weights; gradients of A and B are of their own type.
    ``keep`` [T, in] says what dropout keeps, see `chatmusician.modeling.dropout`; None keeps all. ``scaling`` is s,
    times 1 / (1 - p) under dropout.
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
        ctx.types, ctx.scaling = (a.dtype, b.dtype), scaling
        weight, a, b = (value.to(tokens.dtype) for value in (weight, a, b))
        low = only(tokens, keep).mm(a.t())  # [T, r]
        ctx.save_for_backward(tokens, weight, a, b, keep, low)
        return tokens.mm(weight.t()).addmm_(low, b.t(), alpha=scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of tokens, A and B."""
        tokens, weight, a, b, keep, low = ctx.saved_tensors
        of_low = gradient.mm(b)  # [T, r], but for s
        of_a = _product(ctx.scaling, of_low.t(), only(tokens, keep)).to(ctx.types[0])
        of_b = _product(ctx.scaling, gradient.t(), low).to(ctx.types[1])
        of_tokens = None
        if ctx.needs_input_grad[0]:
            of_tokens = only(_product(ctx.scaling, of_low, a), keep).addmm_(gradient, weight)
        return of_tokens, None, of_a, of_b, None, None


def _product(scaling: float, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The product times a number, in one pass: what there is to add to is not read."""
    return torch.addmm(left.new_empty(()), left, right, beta=0, alpha=scaling)


class FusedLora(PeftLinear):
    """PEFT's LoRA beside a linear layer, computed by `LoraProduct` where that is the same."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """[..., in] to [..., out]."""
        products = products_of(x)
        adapter = self._only_adapter()
        if args or kwargs or products is None or adapter is None:
            return super().forward(x, *args, **kwargs)
        layers = (self.base_layer, self.lora_A[adapter], self.lora_B[adapter])
        weight, a, b = (weight_to_read(layer, x, products) for layer in layers)
        if weight is None or a is None or b is None or weight.requires_grad:
            return super().forward(x)
        tokens = x.reshape(-1, x.shape[-1]).to(products.dtype)
        dropout = self.lora_dropout[adapter]
        p = exact(dropout.p) if self.training and isinstance(dropout, torch.nn.Dropout) else 0.0
        keep = kept(tuple(tokens.shape), p=p, device=tokens.device) if p else None
        product = LoraProduct.apply(tokens, weight, a, b, keep, self.scaling[adapter] / (1 - p))
        return product.view(*x.shape[:-1], -1)

    def _only_adapter(self) -> str | None:
        """The name of the one plain adapter that takes part; None where none does, or it is not that simple."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        (adapter,) = self.active_adapters
        plain = adapter in self.lora_A and adapter not in self.lora_variant and not self.lora_bias[adapter]
        return adapter if plain else None
