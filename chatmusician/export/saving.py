"""Saving a model in memory as a Hugging Face folder: same layout, same all-or-nothing rule as a merge."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.folders import check_output_folder, whole_folder
from chatmusician.export.metadata import write_chat_template, write_generation_config
from chatmusician.export.model_card import CardFacts, write_model_card
from chatmusician.export.reading import DTYPE_NAMES, is_finite
from chatmusician.export.shards import MAX_SHARD_BYTES, Rows, Spec, rows_of, write_shards

if TYPE_CHECKING:
    import torch


def save_model_folder(
    *,
    model: Any,
    tokenizer: Any,
    output: Path,
    state: Mapping[str, "torch.Tensor"] | None = None,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
    decoding: Mapping[str, float] | None = None,
    card: CardFacts | None = None,
) -> Path:
    """Write a model folder; returns ``output``.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        output: the folder to make.
        state: the weights by the model's names, where they are not (whole) in ``model`` itself.
        dtype: "float32", "bfloat16" or "float16" to round the weights to; by default they are kept.
        max_shard_bytes: size of one weights file.
        overwrite: replace an output that is not empty.
        decoding: settings for generation_config.json; by default the paper's.
        card: facts for the model card.

    Raises:
        UserError: the output is not empty, or a weight is not finite.
    """
    import torch

    check_output_folder(output, overwrite=overwrite)
    tied = set(model._tied_weights_keys or ()) if model.config.tie_word_embeddings else set()
    weights = {name: value for name, value in (state or model.state_dict()).items() if name not in tied}
    target = getattr(torch, dtype) if dtype else None
    specs = [
        Spec(name=name, shape=tuple(value.shape), dtype=DTYPE_NAMES[_dtype_name(target or value.dtype)])
        for name, value in weights.items()
    ]

    def source(spec: Spec) -> Rows:
        value = weights[spec.name].detach().cpu()
        dtype = target or value.dtype
        if not is_finite(value, dtype):
            raise UserError(f"{spec.name} holds NaN or infinity: the training diverged, use an earlier checkpoint")
        return rows_of(value.to(dtype))

    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = target or next(iter(weights.values())).dtype
    with whole_folder(output, overwrite=overwrite) as folder:
        write_shards(folder, specs, source, max_shard_bytes=max_shard_bytes)
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_chat_template(folder)
        write_generation_config(folder, config.to_dict(), decoding)
        write_model_card(folder, card or CardFacts())
    return output


def _dtype_name(dtype: "torch.dtype") -> str:
    return str(dtype).removeprefix("torch.")
