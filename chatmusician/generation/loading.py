"""A `Generator` from files: a model folder, a Hub id or a GGUF file, with LoRA adapters that stay unmerged.

Only safetensors and GGUF are read (a pickle can run code) and no code from a repository is run. What is wrong with a
source is said before torch is imported.
"""

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError, first_line
from chatmusician.export.folders import (
    ADAPTER_CONFIG,
    check_adapter_folder,
    check_model_folder,
    check_tokenizer_folder,
    is_hub_id,
    read_json,
)
from chatmusician.generation.backends.backend import BASE

if TYPE_CHECKING:
    from chatmusician.generation.backends.backend import Backend
    from chatmusician.generation.backends.llama_cpp_backend import LlamaCppBackend
    from chatmusician.generation.backends.transformers_backend import TransformersBackend
    from chatmusician.generation.backends.vllm_backend import VllmBackend
    from chatmusician.generation.generator import Generator

BACKENDS = ("auto", "transformers", "llama_cpp", "vllm")
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")

OUTPUTS = Path("outputs")
"""Where training runs leave their exports, relative to the working directory."""
ONLY_ADAPTER = "adapter"
"""The name of an adapter that is given as a folder alone."""


def check_sources(
    *, model: str, adapter: str | None, tokenizer: str | None, adapters: Mapping[str, str] | None = None
) -> None:
    """Refuse what is not there or is not what it is given for, without reading a tensor.

    Raises:
        UserError: naming what the folder lacks and how to make one.
    """
    if is_gguf(model):
        if not Path(model).is_file():
            raise UserError(f"model={model} does not exist: write one with python -m chatmusician.merge gguf=q8_0")
    elif not is_hub_id(model):
        check_model_folder(Path(model))
    for folder in _named_adapters(adapter, adapters).values():
        check_adapter_folder(Path(folder))
    place = tokenizer or _folder_of(model)
    if not is_hub_id(place):
        check_tokenizer_folder(Path(place), option="tokenizer" if tokenizer else "model")


def read_adapters(listed: Iterable[str]) -> dict[str, str]:
    """Names to folders, from a list of NAME:FOLDER.

    Raises:
        UserError: an entry is none, or a name comes twice or is that of the model without adapters.
    """
    named: dict[str, str] = {}
    for entry in listed:
        name, _, folder = str(entry).partition(":")
        if not name or not folder:
            raise UserError(f"adapters: {entry!r} is not NAME:FOLDER")
        if name == BASE or name in named:
            raise UserError(f"adapters: the name {name!r} is taken; choose another for {folder}")
        named[name] = folder
    return named


def is_gguf(model: str) -> bool:
    """Whether a model is given as a GGUF file."""
    return model.endswith(".gguf")


def _folder_of(model: str) -> str:
    """Where a model's tokenizer and settings are: a GGUF file lies in the folder that it was written from."""
    return str(Path(model).parent) if is_gguf(model) else model


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
    backend: str = "auto",
    adapter: str | None = None,
    adapters: Mapping[str, str] | None = None,
    tokenizer: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    batch_size: int = 16,
) -> "Generator":
    """Load a model for generation.

    Args:
        model: a Hugging Face folder, a Hub id ("owner/name"), or a GGUF file beside the folder's tokenizer.
        backend: "transformers", "llama_cpp" (GGUF files) or "vllm"; "auto" takes llama.cpp for a GGUF file, else
            transformers.
        adapter: a PEFT LoRA folder, applied without merging, or the name in ``adapters`` to begin with.
        adapters: more of them by name, between which each generation chooses. With none to begin with, it is the model
            without any.
        tokenizer: folder or Hub id of the tokenizer; by default the model's.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" is float32 on the CPU (the fastest there), bfloat16 on CUDA where supported, else float16.
        load_in_8bit: quantise the linear layers with bitsandbytes; and likewise ``load_in_4bit``.
        batch_size: most answers generated at once.

    Raises:
        UserError: a source, backend, device, dtype or quantisation that cannot be used, each in one line.
    """
    _check_choice("backend", backend, BACKENDS)
    _check_choice("device", device, DEVICES)
    _check_choice("dtype", dtype, DTYPES)
    _check_quantisation(load_in_8bit, load_in_4bit)
    engine = _pick_backend(backend, model)
    source = _Source(model=model, tokenizer=tokenizer, adapter=adapter, adapters=_named_adapters(adapter, adapters))
    if engine != "transformers" and (load_in_8bit or load_in_4bit):
        raise UserError(f"load_in_8bit and load_in_4bit are for backend=transformers, not for {engine}")
    if engine == "llama_cpp" and source.adapters:
        raise UserError("a GGUF file takes no LoRA adapter: merge it first with python -m chatmusician.merge gguf=q8_0")
    check_sources(model=model, adapter=adapter, tokenizer=tokenizer, adapters=adapters)

    from chatmusician.generation.generator import Generator

    loaded: Backend
    if engine == "transformers":
        loaded = _by_transformers(source, device, dtype, load_in_8bit=load_in_8bit, load_in_4bit=load_in_4bit)
    elif engine == "llama_cpp":
        loaded = _by_llama_cpp(source, device)
    else:
        loaded = _by_vllm(source, dtype, slots=batch_size)
    return Generator(backend=loaded, batch_size=batch_size)


def load_as_configured(cfg: Any, model: str, *, batch_size: int) -> "Generator":
    """`load_generator` by the keys that the commands share (conf/generate.yaml), quiet where nobody looks on.

    Raises:
        UserError: as `load_generator`.
    """
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    return load_generator(
        model=model,
        backend=cfg.backend,
        adapter=cfg.adapter,
        adapters=read_adapters(cfg.adapters),
        tokenizer=cfg.tokenizer,
        device=cfg.device,
        dtype=cfg.dtype,
        load_in_8bit=cfg.load_in_8bit,
        load_in_4bit=cfg.load_in_4bit,
        batch_size=batch_size,
    )


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a model, its tokenizer and its adapters are."""

    model: str
    tokenizer: str | None
    adapter: str | None
    adapters: Mapping[str, str]

    @property
    def begin(self) -> str | None:
        """The adapter that is meant where none is named."""
        if not self.adapters:
            return None
        if self.adapter is None:
            return BASE
        return self.adapter if self.adapter in self.adapters else ONLY_ADAPTER

    def load_tokenizer(self) -> Any:
        return _load_tokenizer(self.tokenizer or _folder_of(self.model))


def _by_transformers(
    source: _Source, device: str, dtype: str, *, load_in_8bit: bool, load_in_4bit: bool
) -> "TransformersBackend":
    from chatmusician.generation.backends.transformers_backend import TransformersBackend
    from chatmusician.generation.backends.transformers_loading import (
        apply_adapters,
        load_model,
        pick_device,
        pick_dtype,
    )

    place = pick_device(device)
    precision = pick_dtype(dtype, place)
    model = load_model(source.model, place, precision, load_in_8bit=load_in_8bit, load_in_4bit=load_in_4bit)
    if source.adapters:
        model = apply_adapters(model, source.adapters)
    return TransformersBackend(model=model.eval(), tokenizer=source.load_tokenizer(), adapter=source.begin)


def _by_llama_cpp(source: _Source, device: str) -> "LlamaCppBackend":
    from chatmusician.generation.backends.llama_cpp_backend import LlamaCppBackend

    tokenizer = source.load_tokenizer()
    ends = _eos_ids(tokenizer, _folder_of(source.model))
    return LlamaCppBackend(path=Path(source.model), tokenizer=tokenizer, eos_ids=ends, device=device)


def _by_vllm(source: _Source, dtype: str, *, slots: int) -> "VllmBackend":
    from chatmusician.generation.backends.vllm_backend import VllmBackend

    tokenizer = source.load_tokenizer()
    ranks = [int(read_json(Path(folder) / ADAPTER_CONFIG)["r"]) for folder in source.adapters.values()]
    return VllmBackend(
        model=source.model,
        tokenizer=tokenizer,
        eos_ids=_eos_ids(tokenizer, source.model),
        dtype=dtype,
        slots=slots,
        adapters=source.adapters,
        adapter=source.begin,
        largest_rank=max(ranks, default=1),
    )


def _named_adapters(adapter: str | None, adapters: Mapping[str, str] | None) -> dict[str, str]:
    """Names to folders of all that are to be loaded."""
    named = {str(name): str(folder) for name, folder in (adapters or {}).items()}
    if adapter is not None and adapter not in named:
        named[ONLY_ADAPTER] = adapter
    return named


def _pick_backend(backend: str, model: str) -> str:
    picked = backend if backend != "auto" else "llama_cpp" if is_gguf(model) else "transformers"
    if is_gguf(model) != (picked == "llama_cpp"):
        kind = "GGUF files" if picked == "llama_cpp" else "model folders"
        raise UserError(f"backend={picked} reads {kind}, and model={model} is none: give one of these")
    packages = {"llama_cpp": ("llama_cpp", "'chatmusician[llama-cpp]'"), "vllm": ("vllm", "vllm")}
    if picked in packages:
        module, package = packages[picked]
        if importlib.util.find_spec(module) is None:
            raise UserError(f"backend={picked} needs a package that is not installed: pip install {package}")
    return picked


def _eos_ids(tokenizer: Any, folder: str) -> tuple[int, ...]:
    from transformers import GenerationConfig

    from chatmusician.generation.backends.backend import find_eos_ids

    try:
        settings = GenerationConfig.from_pretrained(folder)
    except OSError:  # the folder has none: the tokenizer says
        settings = GenerationConfig()
    return find_eos_ids(tokenizer, settings)


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


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"tokenizer={name} cannot be loaded: {first_line(error)}") from error
