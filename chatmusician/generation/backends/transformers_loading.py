"""A model of transformers from a folder or the Hub, onto a device, quantised perhaps, with LoRA adapters beside it."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError, first_line

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def pick_device(device: str) -> str:
    """The device of a name: "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        UserError: this machine has it not.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[device]:
        raise UserError(f"device={device} is not available on this machine: use device=auto")
    return device


def pick_dtype(dtype: str, device: str) -> "torch.dtype":
    """The dtype of a name; "auto" is float32 on the CPU, bfloat16 on CUDA where supported, else float16."""
    import torch

    if dtype == "auto":
        if device == "cpu":
            return torch.float32
        return torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
    if device == "cpu" and dtype != "float32":
        from chatmusician.half_precision import enable_half_precision_on_cpu

        if enable_half_precision_on_cpu():
            log.warning("%s products crash on this CPU with AMX: set ONEDNN_MAX_CPU_ISA to go without", dtype)
    return getattr(torch, dtype)


def load_model(name: str, device: str, dtype: "torch.dtype", *, load_in_8bit: bool, load_in_4bit: bool) -> Any:
    """A causal language model, from safetensors and without code from its repository.

    Raises:
        UserError: it cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    from chatmusician.modeling.quantisation import loading_options

    quantised = loading_options(
        load_in_8bit=load_in_8bit, load_in_4bit=load_in_4bit, compute_dtype=dtype, device=device
    )
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa", **quantised
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model={name} cannot be loaded: {first_line(error)}") from error
    return model if quantised else model.to(device)


def apply_adapters(model: Any, adapters: Mapping[str, str]) -> Any:
    """The model with LoRA adapters of the given names and folders, unmerged.

    Raises:
        UserError: one does not fit the model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    for name, folder in adapters.items():
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(folder, adapter_name=name)
            else:
                model = PeftModel.from_pretrained(model, folder, adapter_name=name)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise UserError(f"adapter={folder} does not fit the model: {first_line(error)}") from error
    return model
