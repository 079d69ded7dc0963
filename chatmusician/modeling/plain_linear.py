"""Which linear layers a fused operation may take the weight of, instead of calling them."""

from typing import NamedTuple

import torch

SIXTEEN_BITS = (torch.bfloat16, torch.float16)


class Products(NamedTuple):
    """How linear layers compute a tensor at a place of the program."""

    dtype: torch.dtype
    """The type of numbers that it is taken in."""
    casts: bool
    """Whether autocast brings weights of another type to it."""


def products_of(x: torch.Tensor) -> Products | None:
    """How linear layers compute ``x`` here; None where the fused operations are not for it.

    They are for any type of numbers on a GPU, and for 32 or 64 bits on a CPU: products of 16 bits are PyTorch's own
    there.
    """
    kind = x.device.type
    casts = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if casts else x.dtype
    if kind == "cuda" or (kind == "cpu" and dtype in (torch.float32, torch.float64)):
        return Products(dtype, casts)
    return None


def weight_to_read(layer: torch.nn.Module, x: torch.Tensor, products: Products) -> torch.nn.Parameter | None:
    """The weight of a linear layer that does to ``x`` what the product with it does: `layer(x)` and `x @ weight.T`.

    None where it has a bias, or hooks (ZeRO-3 and offloading fetch the weight in them), where the weight is not whole
    or not a plain tensor or on another device, or where types are mixed without autocast.
    """
    if type(layer) is not torch.nn.Linear or layer._forward_pre_hooks or layer._forward_hooks:
        return None
    parameters = layer._parameters  # `layer.weight` takes a microsecond, of which a step has thousands
    weight = parameters["weight"]
    plain = (
        parameters["bias"] is None
        and type(weight) is torch.nn.Parameter
        and (weight.dtype == products.dtype or products.casts)
        and weight.device == x.device
        and not hasattr(weight, "ds_id")  # partitioned by ZeRO-3
    )
    return weight if plain else None
