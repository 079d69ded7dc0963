"""A LoRA adapter on disk, read as changes to named tensors of a base model.

PEFT's names map to the base's by two rules::

    base_model.model.{X}.lora_A.weight [r, in]     W_X += s * B A      (s = alpha / r, or alpha / sqrt(r) for rsLoRA)
    base_model.model.{X}.lora_B.weight [out, r]
    base_model.model.{X}.weight                    W_X  = this         (modules_to_save)

Variants of LoRA with another formula are refused rather than merged wrongly.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.folders import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_adapter_folder,
    read_json,
    tensor_headers,
)

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "base_model.model."

PLAIN_LORA: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
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
    "trainable_token_indices": (None, [], {}),
    "alpha_pattern": (None, {}),
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}
"""Settings of adapter_config.json that decide the formula, with the values under which it is the one above.

Initialisations that also change the base's weights (PiSSA, OLoRA, LoftQ, CorDA, LoRA-GA) are left out on purpose.
"""


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """A change of low rank to one tensor."""

    down: str
    """Name of A in the adapter's file."""
    up: str
    """Name of B."""
    rank: int
    shape: tuple[int, ...]
    """Of the product: [out, in]."""
    scaling: float


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A tensor that was trained whole."""

    name: str
    """In the adapter's file."""
    shape: tuple[int, ...]


Change = LowRank | Replaced


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What an adapter folder does to its base."""

    file: Path
    changes: dict[str, Change]
    """By the base's tensor names."""
    ties_weights: bool
    """Whether a change of the embedding was trained as a change of a tied output head too."""

    def read(self, name: str) -> "Tensor":
        """A tensor of the file, float32.

        Raises:
            UserError: it holds NaN or infinity.
        """
        import torch
        from safetensors import safe_open

        with safe_open(self.file, framework="pt") as stream:
            value = stream.get_tensor(name).to(torch.float32)
        if not bool(torch.isfinite(value).all()):
            raise UserError(
                f"{self.file} holds NaN or infinity in {name}: the training diverged, use an earlier checkpoint"
            )
        return value

    def apply(self, name: str, base: "Tensor") -> "Tensor":
        """The changed tensor ``name`` in float32, from its value in the base (float32, may be overwritten)."""
        change = self.changes[name]
        if isinstance(change, Replaced):
            return self.read(change.name)
        return base.add_((self.read(change.up) @ self.read(change.down)).mul_(change.scaling))


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter's settings and the names and shapes of its tensors.

    Raises:
        UserError: files are missing, the adapter is not plain LoRA, or a tensor has no partner or no meaning.
    """
    check_adapter_folder(folder)
    settings = read_json(folder / ADAPTER_CONFIG)
    check_plain_lora(folder / ADAPTER_CONFIG, settings)
    file = folder / ADAPTER_WEIGHTS
    shapes = {name: tuple(entry["shape"]) for name, entry in tensor_headers(file).items()}
    changes: dict[str, Change] = {}
    for name in shapes:
        target = _target(file, name)
        if target is None:
            continue
        if name.endswith(".lora_A.weight"):
            changes[target] = _low_rank(file, name, shapes, settings)
        else:
            changes[target] = Replaced(name=name, shape=shapes[name])
    if not changes:
        raise UserError(f"{file} holds no tensors: save the adapter again")
    return Adapter(file=file, changes=changes, ties_weights=bool(settings.get("ensure_weight_tying")))


def base_tensor_name(name: str) -> str | None:
    """The base's name of a parameter of a PEFT model in memory; None for a parameter that the adapter added.

    >>> base_tensor_name("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
    'model.layers.0.mlp.up_proj.weight'
    """
    if "lora_" in name or ".modules_to_save." in name:
        return None
    return name.removeprefix(PREFIX).replace(".base_layer.", ".").replace(".original_module.", ".")


def check_plain_lora(config: Path, settings: dict[str, Any]) -> None:
    """Refuse every variant that does not compute W + s B A.

    Raises:
        UserError: naming the setting.
    """
    if settings.get("peft_type") != "LORA":
        raise UserError(f"{config}: peft_type={settings.get('peft_type')} cannot be merged here, only LORA")
    for name, plain in PLAIN_LORA.items():
        if settings.get(name) not in plain:
            raise UserError(f"{config}: {name}={settings[name]} cannot be merged here, only plain LoRA and rsLoRA")
    if not isinstance(settings.get("lora_alpha"), int | float):
        raise UserError(f"{config}: lora_alpha={settings.get('lora_alpha')} is not a number")


def _target(file: Path, name: str) -> str | None:
    """The base's tensor that ``name`` changes; None for a lora_B, which its lora_A stands for."""
    module, kind = next(
        (
            (name.removesuffix(end), end)
            for end in (".lora_A.weight", ".lora_B.weight", ".weight")
            if name.endswith(end)
        ),
        (name, ""),
    )
    if not name.startswith(PREFIX) or not kind or "lora_" in module:
        raise UserError(f"{file}: the tensor {name} is not part of plain LoRA, so it cannot be merged here")
    return None if kind == ".lora_B.weight" else module.removeprefix(PREFIX) + ".weight"


def _low_rank(file: Path, down: str, shapes: dict[str, tuple[int, ...]], settings: dict[str, Any]) -> LowRank:
    up = down.replace(".lora_A.", ".lora_B.")
    if up not in shapes:
        raise UserError(f"{file} has {down} but not {up}: the adapter is incomplete, save it again")
    (rank, width), (height, rank_of_up) = shapes[down], shapes[up]
    if rank != rank_of_up:
        raise UserError(f"{file}: {down} has rank {rank} but {up} has rank {rank_of_up}: the files are mixed up")
    if not settings.get("rank_pattern") and rank != settings.get("r"):
        raise UserError(f"{file}: {down} has rank {rank} but {ADAPTER_CONFIG} says r={settings.get('r')}")
    scaling = settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return LowRank(down=down, up=up, rank=rank, shape=(height, width), scaling=scaling)
