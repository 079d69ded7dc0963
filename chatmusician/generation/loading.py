"""A `Generator` from files: a model folder or a Hub id, optionally with a LoRA adapter that stays unmerged.

Only safetensors are read (a pickle can run code) and no code from a repository is run. What is wrong with a folder is
said before torch is imported.
"""

import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.folders import check_adapter_folder, check_model_folder, check_tokenizer_folder, is_hub_id

if TYPE_CHECKING:
    import torch

    from chatmusician.generation.generator import Generator

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")

OUTPUTS = Path("outputs")
"""Where training runs leave their exports, relative to the working directory."""

log = logging.getLogger(__name__)


def check_sources(*, model: str, adapter: str | None, tokenizer: str | None) -> None:
    """Refuse what is not there or is not what it is given for, without reading a tensor.

    Raises:
        UserError: naming what the folder lacks and how to make one.
    """
    if not is_hub_id(model):
        check_model_folder(Path(model))
    if adapter is not None:
        check_adapter_folder(Path(adapter))
    place = tokenizer or model
    if not is_hub_id(place):
        check_tokenizer_folder(Path(place), option="tokenizer" if tokenizer else "model")


def newest_export(outputs: Path) -> Path | None:
    """The newest model folder that a run left under ``outputs`` (``outputs/**/model``), by its config's time."""
    found = [
        config for config in outputs.glob("**/model/config.json") if next(config.parent.glob("*.safetensors"), None)
    ]
    return max(found, key=lambda config: config.stat().st_mtime).parent if found else None


def model_or_newest(model: str | None) -> str:
    """The model that was given, or else the newest export in the working directory's ``outputs``.

    Raises:
        UserError: none was given and there is none.
    """
    if model is not None:
        return model
    found = newest_export(OUTPUTS)
    if found is None:
        raise UserError(
            f"no model was given and {OUTPUTS}/ holds no export: give model=FOLDER, or train one with "
            "python -m chatmusician.train"
        )
    print(f"model={found} (the newest export)", file=sys.stderr, flush=True)
    return str(found)


def load_generator(
    *,
    model: str,
    adapter: str | None = None,
    tokenizer: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    batch_size: int = 16,
) -> "Generator":
    """Load a model for generation.

    Args:
        model: a Hugging Face folder, or a Hub id ("owner/name").
        adapter: a PEFT LoRA folder, applied without merging.
        tokenizer: folder or Hub id of the tokenizer; by default the model's.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" is float32 on the CPU (the fastest there), bfloat16 on CUDA where supported, else float16.
        load_in_8bit: quantise the linear layers with bitsandbytes; and likewise ``load_in_4bit``.
        batch_size: most answers generated at once.

    Raises:
        UserError: a source, device, dtype or quantisation that cannot be used, each in one line.
    """
    _check_choice("device", device, DEVICES)
    _check_choice("dtype", dtype, DTYPES)
    _check_quantisation(load_in_8bit, load_in_4bit)
    check_sources(model=model, adapter=adapter, tokenizer=tokenizer)

    from chatmusician.generation.generator import Generator

    place = _pick_device(device)
    precision = _pick_dtype(dtype, place)
    loaded = _load_model(model, place, precision, load_in_8bit=load_in_8bit, load_in_4bit=load_in_4bit)
    if adapter is not None:
        loaded = _apply_adapter(loaded, adapter)
    return Generator(model=loaded.eval(), tokenizer=_load_tokenizer(tokenizer or model), batch_size=batch_size)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name}={value} is unknown: choose one of {', '.join(choices)}")


def _check_quantisation(load_in_8bit: bool, load_in_4bit: bool) -> None:
    if load_in_8bit and load_in_4bit:
        raise UserError("load_in_8bit=true and load_in_4bit=true exclude each other: choose one")
    if (load_in_8bit or load_in_4bit) and importlib.util.find_spec("bitsandbytes") is None:
        option = "load_in_8bit" if load_in_8bit else "load_in_4bit"
        raise UserError(
            f"{option}=true needs bitsandbytes, which is not installed: pip install bitsandbytes accelerate"
        )


def _pick_device(device: str) -> str:
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[device]:
        raise UserError(f"device={device} is not available on this machine: use device=auto")
    return device


def _pick_dtype(dtype: str, device: str) -> "torch.dtype":
    import torch

    if dtype == "auto":
        if device == "cpu":
            return torch.float32
        return torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
    if device == "cpu" and dtype != "float32":
        from chatmusician.generation.half_precision import enable_half_precision_on_cpu

        if enable_half_precision_on_cpu():
            log.warning("%s products crash on this CPU with AMX: set ONEDNN_MAX_CPU_ISA to go without", dtype)
    return getattr(torch, dtype)


def _load_model(name: str, device: str, dtype: "torch.dtype", *, load_in_8bit: bool, load_in_4bit: bool) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantised = load_in_8bit or load_in_4bit
    options: dict[str, Any] = {}
    if quantised:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=load_in_8bit, load_in_4bit=load_in_4bit, bnb_4bit_compute_dtype=dtype
        )
        options["device_map"] = device
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa", **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model={name} cannot be loaded: {_first_line(error)}") from error
    return model if quantised else model.to(device)


def _apply_adapter(model: Any, adapter: str) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        return PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise UserError(f"adapter={adapter} does not fit the model: {_first_line(error)}") from error


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"tokenizer={name} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
