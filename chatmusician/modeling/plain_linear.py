"""Which linear layers a fused operation may take the weight of, instead of calling them."""

import torch

SIXTEEN_BITS = (torch.bfloat16, torch.float16)


def computed_in(x: torch.Tensor) -> torch.dtype | None:
    """The type of numbers that linear layers take ``x`` in here; None where the fused operations are not for it.

    That is autocast's on a GPU, and on a CPU 32 or 64 bits: products of 16 bits are PyTorch's own there.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    if kind == "cuda" or (kind == "cpu" and dtype in (torch.float32, torch.float64)):
        return dtype
    return None


def may_be_read(layer: torch.nn.Module, x: torch.Tensor) -> bool:
    """Whether a linear layer does to ``x`` what the product with its weight does: `layer(x)` and `x @ weight.T`.

    Not where it has a bias, or hooks (ZeRO-3 and offloading fetch the weight in them), where the weight is not whole or
    not a plain tensor or on another device, or where types are mixed without autocast.
    """
    weight = layer.weight
    return (
        type(layer) is torch.nn.Linear
        and layer.bias is None
        and not layer._forward_pre_hooks
        and not layer._forward_hooks
        and type(weight) is torch.nn.Parameter
        and not hasattr(weight, "ds_id")  # partitioned by ZeRO-3
        and x.device == weight.device
        and (weight.dtype == computed_in(x) or torch.is_autocast_enabled(x.device.type))
        and computed_in(x) is not None
    )
