"""Weights of 8 or 4 bits in memory, by bitsandbytes: the same for training beside them (QLoRA) and for generation.

QLoRA (Dettmers et al. 2023, arXiv 2305.14314): the base's linear layers in 4-bit NormalFloat with their scales
quantised again, about 4.13 bits a weight, and products in ``compute_dtype``. LLM.int8() (Dettmers et al. 2022, arXiv
2208.07339) for 8 bits. The output head stays as it is, and so do embeddings and norms.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig


def quantisation(
    *, load_in_8bit: bool, load_in_4bit: bool, compute_dtype: "torch.dtype"
) -> "BitsAndBytesConfig | None":
    """What transformers is to do to the weights while it loads them; None for nothing."""
    from transformers import BitsAndBytesConfig

    if not (load_in_8bit or load_in_4bit):
        return None
    return BitsAndBytesConfig(
        load_in_8bit=load_in_8bit,
        load_in_4bit=load_in_4bit,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def loading_options(
    *, load_in_8bit: bool, load_in_4bit: bool, compute_dtype: "torch.dtype", device: Any
) -> dict[str, Any]:
    """Arguments for ``from_pretrained``, which quantises on the device that the weights are to be on."""
    settings = quantisation(load_in_8bit=load_in_8bit, load_in_4bit=load_in_4bit, compute_dtype=compute_dtype)
    return {} if settings is None else {"quantization_config": settings, "device_map": {"": device}}
