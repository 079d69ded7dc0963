"""Saving whole models as Hugging Face folders: same layout, same all-or-nothing rule as a merge."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.folders import CONFIG, check_output_folder, whole_folder
from chatmusician.export.metadata import copy_tokenizer, write_chat_template, write_generation_config, write_json
from chatmusician.export.model_card import CardFacts, write_model_card
from chatmusician.export.reading import DTYPE_NAMES, TORCH_NAMES, is_finite
from chatmusician.export.shards import MAX_SHARD_BYTES, Rows, Spec, rows_of, write_shards

if TYPE_CHECKING:
    from torch import Tensor


def save_model_folder(
    *,
    model: Any,
    tokenizer: Any,
    output: Path,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
) -> Path:
    """Write a model of transformers that is in memory, with its tokenizer, to a folder; returns ``output``.

    See `write_model_folder` for the other arguments and errors.
    """

    def put_tokenizer(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        write_chat_template(folder)

    config = {**config_of(model), "architectures": [type(model).__name__]}
    return _write(dict(model.named_parameters()), config, output, dtype, max_shard_bytes, overwrite, put_tokenizer)


def config_of(model: Any) -> dict[str, Any]:
    """The content of a model's config.json, as transformers would write it."""
    config: dict[str, Any] = json.loads(model.config.to_json_string())
    return config


def write_model_folder(
    *,
    state: Mapping[str, "Tensor"],
    config: Mapping[str, Any],
    tokenizer: Path,
    output: Path,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
    decoding: Mapping[str, float] | None = None,
    card: CardFacts | None = None,
) -> Path:
    """Write weights, a configuration and a tokenizer as a model folder; returns ``output``.

    Args:
        state: the weights by the model's names; of tied weights the first.
        config: config.json.
        tokenizer: the folder that its files are copied from.
        output: the folder to make.
        dtype: "float32", "bfloat16" or "float16" to round the weights to; by default they are kept.
        max_shard_bytes: size of one weights file.
        overwrite: replace an output that is not empty.
        decoding: settings for generation_config.json; by default the paper's.
        card: facts for the model card.

    Raises:
        UserError: the output is not empty, or a weight is not finite.
    """

    def put_tokenizer(folder: Path) -> None:
        copy_tokenizer(tokenizer, folder)

    return _write(state, config, output, dtype, max_shard_bytes, overwrite, put_tokenizer, decoding, card)


def _write(
    state: Mapping[str, "Tensor"],
    config: Mapping[str, Any],
    output: Path,
    dtype: str | None,
    max_shard_bytes: int,
    overwrite: bool,
    put_tokenizer: Callable[[Path], None],
    decoding: Mapping[str, float] | None = None,
    card: CardFacts | None = None,
) -> Path:
    import torch

    check_output_folder(output, overwrite=overwrite)
    specs = [
        Spec(name=name, shape=tuple(value.shape), dtype=DTYPE_NAMES[dtype or str(value.dtype).removeprefix("torch.")])
        for name, value in state.items()
    ]

    def source(spec: Spec) -> Rows:
        value, target = state[spec.name].detach().cpu(), getattr(torch, TORCH_NAMES[spec.dtype])
        if not is_finite(value, target):
            raise UserError(f"{spec.name} holds NaN or infinity: the training diverged, use an earlier checkpoint")
        return rows_of(value.to(target))

    settings = {**config, "dtype": TORCH_NAMES[specs[0].dtype]}
    with whole_folder(output, overwrite=overwrite) as folder:
        write_shards(folder, specs, source, max_shard_bytes=max_shard_bytes)
        write_json(folder / CONFIG, settings)
        put_tokenizer(folder)
        write_generation_config(folder, settings, decoding)
        write_model_card(folder, card or CardFacts())
    return output
