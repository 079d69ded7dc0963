"""A LoRA adapter on disk, read as changes to named tensors of a base model.

PEFT's names map to the base's by these rules, with X a module and s = alpha / r, or alpha / sqrt(r) for rsLoRA::

    base_model.model.{X}.lora_A.weight [r, in]     W_X += s B A
    base_model.model.{X}.lora_B.weight [out, r]
    base_model.model.{X}.lora_embedding_A [r, V]   W_X += s (B A)^T       an embedding, W [V, d]
    base_model.model.{X}.lora_embedding_B [d, r]
    base_model.model.{X}.lora_magnitude_vector     W_X = m (W + s B A) / |W + s B A|    DoRA: a norm and an m a row
    base_model.model.{X}.weight                    W_X = this             modules_to_save, and resized embeddings
    base_model.model.{X}.token_adapter.trainable_tokens_delta [k, d]      k rows of W_X are these
    base_model.model.{X}.base_layer.weight         W_X before all this: an embedding that was resized

`chatmusician.export.adapter_rows` computes them. Variants of LoRA with another formula are refused rather than merged
wrongly. DoRA: Liu et al. 2024, arXiv 2402.09353, equation 5.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError
from chatmusician.export.folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_adapter_folder, read_json
from chatmusician.export.reading import DTYPE_BYTES, StoredTensor, stored_tensors

PREFIX = "base_model.model."

PLAIN_LORA: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "use_qalora": (False, None),
    "use_bdlora": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "velora_config": (None,),
    "arrow_config": (None,),
    "alora_invocation_tokens": (None,),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}
"""Settings of adapter_config.json that decide the formula, with the values under which it is one of those above.

Initialisations that also change the base's weights (PiSSA, OLoRA, LoftQ, CorDA, LoRA-GA) are left out on purpose.
"""

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
EMBEDDING_DOWN, EMBEDDING_UP = ".lora_embedding_A", ".lora_embedding_B"
MAGNITUDE = ".lora_magnitude_vector"
TOKENS = ".token_adapter.trainable_tokens_delta"
BASE, TOKENS_BASE = ".base_layer.weight", ".token_adapter.base_layer.weight"
WHOLE = ".weight"
PARTS: dict[str, tuple[str, ...]] = {
    UP: (DOWN,),
    EMBEDDING_UP: (EMBEDDING_DOWN,),
    MAGNITUDE: (DOWN, EMBEDDING_DOWN),
    TOKENS_BASE: (TOKENS,),
    BASE: (DOWN, EMBEDDING_DOWN),
    ".modules_to_save.weight": (WHOLE,),
    ".original_module.weight": (WHOLE,),
    WHOLE: (),
}
"""Endings of names that are a part of a change, with those that stand for it; a weight stands for itself.

Of a resized embedding that was trained whole, PEFT stores what it was and what it became a second time.
"""
ENDS = (DOWN, EMBEDDING_DOWN, TOKENS, *PARTS)


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """A change of low rank to one tensor, and with ``magnitude`` DoRA's scaling of its rows."""

    down: str
    """Name of A in the adapter's file."""
    up: str
    """Name of B."""
    rank: int
    shape: tuple[int, ...]
    """Of the tensor that is changed: [out, in], of an embedding [V, d]."""
    scaling: float
    magnitude: str | None = None
    embedding: bool = False
    base: str | None = None
    """Name of the weight that is changed, where the adapter's file holds it; else it is the base's."""

    @property
    def divisible(self) -> bool:
        """Whether rows can be computed apart: not where DoRA takes norms over the rows of an embedding."""
        return not (self.embedding and self.magnitude)


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A tensor that was trained whole."""

    name: str
    """In the adapter's file."""
    shape: tuple[int, ...]
    divisible = True


@dataclass(frozen=True, kw_only=True)
class ReplacedRows:
    """Some rows of an embedding that were trained: those of added tokens, for example."""

    name: str
    """In the adapter's file."""
    rows: tuple[int, ...]
    """Which rows of the base these are, in the order in which the adapter stores them."""
    width: int
    base: str | None = None
    """As in `LowRank`."""
    base_rows: int | None = None
    """Rows of ``base``, more than the base model has where tokens were added; None without it."""
    divisible = True


Change = LowRank | Replaced | ReplacedRows


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What an adapter folder does to its base."""

    file: Path
    changes: Mapping[str, Change]
    """By the base's tensor names."""
    stored: Mapping[str, StoredTensor]
    """What the file holds, by its own names."""
    ties_weights: bool
    """Whether a change of the embedding was trained as a change of a tied output head too."""
    base: str | None
    """What the adapter was trained on: a Hub id, or a folder on the machine that trained it."""


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter's settings and the names and shapes of its tensors.

    Raises:
        UserError: files are missing, the adapter is of another kind, or a tensor has no partner or no meaning.
    """
    check_adapter_folder(folder)
    settings = read_json(folder / ADAPTER_CONFIG)
    check_lora(folder / ADAPTER_CONFIG, settings)
    file = folder / ADAPTER_WEIGHTS
    stored = stored_tensors([file])
    quantised = next((name for name, tensor in stored.items() if tensor.dtype not in DTYPE_BYTES), None)
    if quantised is not None:
        raise UserError(f"{file}: {quantised} is stored as {stored[quantised].dtype}: save it as floats")
    changes = dict(filter(None, (_change(file, name, stored, settings) for name in stored)))
    if not changes:
        raise UserError(f"{file} holds no tensors: save the adapter again")
    return Adapter(
        file=file,
        changes=changes,
        stored=stored,
        ties_weights=bool(settings.get("ensure_weight_tying")),
        base=settings.get("base_model_name_or_path"),
    )


def base_tensor_name(name: str) -> str | None:
    """The base's name of a parameter of a PEFT model in memory; None for a parameter that the adapter added.

    >>> base_tensor_name("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
    'model.layers.0.mlp.up_proj.weight'
    """
    if "lora_" in name or ".modules_to_save." in name or "trainable_tokens_" in name:
        return None
    name = name.removeprefix(PREFIX).replace(".token_adapter.base_layer.", ".")
    return name.replace(".base_layer.", ".").replace(".original_module.", ".")


def adapter_tensor_name(name: str) -> str | None:
    """The adapter file's name of a parameter of a PEFT model in memory; None for a parameter of the base.

    >>> adapter_tensor_name("base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight")
    'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight'
    >>> adapter_tensor_name("base_model.model.lm_head.modules_to_save.default.weight")
    'base_model.model.lm_head.weight'
    """
    if base_tensor_name(name) is not None or name.endswith(".trainable_tokens_original.default"):
        return None
    name = name.replace(".modules_to_save.default.", ".")
    if MAGNITUDE in name:
        return name.removesuffix(".default.weight")
    return name.replace(".default.", ".").removesuffix(".default")


def check_lora(config: Path, settings: dict[str, Any]) -> None:
    """Refuse every variant with a formula that is not in the module's docstring.

    Raises:
        UserError: naming the setting.
    """
    if settings.get("peft_type") != "LORA":
        raise UserError(f"{config}: peft_type={settings.get('peft_type')} cannot be merged here, only LORA")
    for name, plain in PLAIN_LORA.items():
        if settings.get(name) not in plain:
            raise UserError(f"{config}: {name}={settings[name]} cannot be merged here, only LoRA, rsLoRA and DoRA")
    if not isinstance(settings.get("lora_alpha"), int | float):
        raise UserError(f"{config}: lora_alpha={settings.get('lora_alpha')} is not a number")


def _change(
    file: Path, name: str, stored: Mapping[str, StoredTensor], settings: Mapping[str, Any]
) -> tuple[str, Change] | None:
    """The base's tensor that ``name`` changes and how; None for a part of a change that another name stands for."""
    end = next((end for end in ENDS if name.endswith(end)), None)
    if end is None or not name.startswith(PREFIX) or "lora_" in name.removesuffix(end):
        raise UserError(f"{file}: the tensor {name} is not part of LoRA or DoRA, so it cannot be merged here")
    module = name.removeprefix(PREFIX).removesuffix(end)
    if end in (DOWN, EMBEDDING_DOWN):
        return module + WHOLE, _low_rank(file, module, end, stored, settings)
    if end == TOKENS:
        return module + WHOLE, _replaced_rows(file, module, name, stored, settings)
    leaders = [PREFIX + module + leader for leader in PARTS[end]]
    if not leaders:
        return module + WHOLE, Replaced(name=name, shape=stored[name].shape)
    if not any(leader in stored for leader in leaders):
        raise UserError(f"{file} has {name} but not {leaders[0]}: the adapter is incomplete, save it again")
    return None


def _low_rank(
    file: Path, module: str, end: str, stored: Mapping[str, StoredTensor], settings: Mapping[str, Any]
) -> LowRank:
    embedding = end == EMBEDDING_DOWN
    down, up = PREFIX + module + end, PREFIX + module + (EMBEDDING_UP if embedding else UP)
    if up not in stored:
        raise UserError(f"{file} has {down} but not {up}: the adapter is incomplete, save it again")
    for name in (down, up):
        if len(stored[name].shape) != 2:
            raise UserError(f"{file}: {name} has shape {list(stored[name].shape)}, not that of a matrix: save it again")
    (rank, width), (height, rank_of_up) = stored[down].shape, stored[up].shape
    if rank != rank_of_up:
        raise UserError(f"{file}: {down} has rank {rank} but {up} has rank {rank_of_up}: the files are mixed up")
    configured = _for_module(module, settings, "rank_pattern", "r")
    if rank != configured:
        raise UserError(f"{file}: {down} has rank {rank} but {ADAPTER_CONFIG} says r={configured}")
    alpha = _for_module(module, settings, "alpha_pattern", "lora_alpha")
    magnitude = PREFIX + module + MAGNITUDE
    if bool(settings.get("use_dora")) != (magnitude in stored):
        state = "has no" if settings.get("use_dora") else "has a"
        raise UserError(
            f"{file} {state} {magnitude} but {ADAPTER_CONFIG} says use_dora={settings.get('use_dora')}: save it again"
        )
    if magnitude in stored and stored[magnitude].shape != (height,):
        raise UserError(f"{file}: {magnitude} has shape {list(stored[magnitude].shape)}, but {up} has {height} rows")
    return LowRank(
        down=down,
        up=up,
        rank=rank,
        shape=(width, height) if embedding else (height, width),
        scaling=alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank),
        magnitude=magnitude if magnitude in stored else None,
        embedding=embedding,
        base=base if (base := PREFIX + module + BASE) in stored else None,
    )


def _for_module(module: str, settings: Mapping[str, Any], patterns: str, default: str) -> Any:
    """A setting of one module: that of the first pattern that its name ends in, as PEFT matches them."""
    for pattern, value in (settings.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return settings.get(default)


def _replaced_rows(
    file: Path, module: str, name: str, stored: Mapping[str, StoredTensor], settings: Mapping[str, Any]
) -> ReplacedRows:
    indices = settings.get("trainable_token_indices") or []
    if isinstance(indices, dict):
        listed = [rows for key, rows in indices.items() if re.match(rf"(.*\.)?({key})$", module)]
        # PEFT trains a tied head with the embedding's rows, stores them twice, and lists them once.
        indices = next(iter(listed or indices.values()), [])
    count, width = stored[name].shape if len(stored[name].shape) == 2 else (0, 0)
    if count == 0 or count != len(indices):
        raise UserError(f"{file}: {name} has {count} rows but {ADAPTER_CONFIG} lists {len(indices)} trained tokens")
    base = PREFIX + module + TOKENS_BASE
    if base not in stored:
        return ReplacedRows(name=name, rows=tuple(indices), width=width)
    return ReplacedRows(name=name, rows=tuple(indices), width=width, base=base, base_rows=stored[base].shape[0])
