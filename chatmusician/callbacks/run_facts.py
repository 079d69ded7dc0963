"""What a training run can say of itself: its adapter, its base, its machine."""

import json
import os
import platform
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from chatmusician.export.folders import ADAPTER_CONFIG, is_hub_id

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def adapter_config(model: Any) -> dict[str, Any]:
    """The content of adapter_config.json, as PEFT would write it."""
    with TemporaryDirectory() as folder:
        model.peft_config["default"].save_pretrained(folder)
        config: dict[str, Any] = json.loads((Path(folder) / ADAPTER_CONFIG).read_text())
    return config


def describe_adapter(config: Any) -> str:
    """One line on a LoRA configuration, for the model card."""
    targets = config.target_modules
    modules = targets if isinstance(targets, str) else " ".join(sorted(targets))
    kind = ("rs" if config.use_rslora else "") + ("DoRA" if config.use_dora else "LoRA")
    whole = f", and whole: {' '.join(sorted(config.modules_to_save))}" if config.modules_to_save else ""
    return f"{kind} of rank {config.r}, alpha {config.lora_alpha}, on {modules}{whole}"


def base_name(path: str) -> str:
    """What a card calls a base: its Hub id, else the name of its folder, ``nano_pretrain/model`` for one of a run."""
    folder = Path(path)
    if is_hub_id(path):
        return path
    return f"{folder.absolute().parent.name}/{folder.name}" if folder.name == "model" else folder.name


def hardware(trainer: "Trainer") -> str:
    """What the run ran on: ``8 x NVIDIA A100-SXM4-80GB``, ``CPU, 2 cores``."""
    import torch

    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    processes = f"{trainer.world_size} processes on " if trainer.world_size > 1 else ""
    return f"{processes}{os.cpu_count()} cores, {platform.machine()}, no GPU"


def is_peft(model: Any) -> bool:
    """Whether PEFT has wrapped a model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")
