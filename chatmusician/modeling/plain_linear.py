"""Which linear layers a fused operation may take the weight of, instead of calling them."""

import torch


def may_be_read(layer: torch.nn.Module, x: torch.Tensor) -> bool:
    """Whether a linear layer does to ``x`` what the product with its weight does: `layer(x)` and `x @ weight.T`.

    Not where it has a bias, or hooks (ZeRO-3 and offloading fetch the weight in them), where the weight is not whole or
    not a plain tensor, or where types are mixed, of 16 bits, or on another device than the CPU.
    """
    weight = layer.weight
    return (
        type(layer) is torch.nn.Linear
        and layer.bias is None
        and not layer._forward_pre_hooks
        and not layer._forward_hooks
        and type(weight) is torch.nn.Parameter
        and not hasattr(weight, "ds_id")  # partitioned by ZeRO-3
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
    )
