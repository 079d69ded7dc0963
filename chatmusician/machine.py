"""What this machine can compute with, as plain values: GPUs, packages, compilers, and who started this process.

Checks of a configuration (`chatmusician.requirements`) take these values, so that they can be asked about any machine.
"""

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OPTIONAL_PACKAGES = ("bitsandbytes", "flash_attn", "flash_attn_interface", "kernels", "liger_kernel", "ninja")
"""Modules that some option needs and that a plain installation may lack."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as torch sees it."""

    name: str
    capability: tuple[int, int]
    """CUDA's compute capability: 7.0 is Volta, 8.0 Ampere, 9.0 Hopper."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, or the part of it that this process may use."""

    gpus: tuple[Gpu, ...] = ()
    torch: str = ""
    """Version of torch, such as ``2.13.0+cpu``."""
    torch_has_cuda: bool = False
    """Whether torch was built for CUDA, be there a GPU or not."""
    has_nvidia_driver: bool = False
    packages: frozenset[str] = frozenset()
    """Those of `OPTIONAL_PACKAGES` that are installed."""
    has_compiler: bool = True
    """Whether g++ is there, with which DeepSpeed builds its kernels."""
    started_ranks: int | None = None
    """Processes of the job that torchrun or srun has started, over all nodes; None where neither has."""
    offline: bool = False
    """Whether the Hugging Face Hub must not be asked."""


def this_machine() -> Machine:
    """The machine that runs this. Imports torch."""
    import torch

    count = torch.cuda.device_count()
    return Machine(
        gpus=tuple(
            Gpu(name=torch.cuda.get_device_name(index), capability=torch.cuda.get_device_capability(index))
            for index in range(count)
        ),
        torch=torch.__version__,
        torch_has_cuda=torch.version.cuda is not None,
        has_nvidia_driver=Path("/dev/nvidiactl").exists(),
        packages=frozenset(name for name in OPTIONAL_PACKAGES if find_spec(name) is not None),
        has_compiler=shutil.which("g++") is not None,
        started_ranks=_started_ranks(),
        offline=_is_set("HF_HUB_OFFLINE") or _is_set("TRANSFORMERS_OFFLINE"),
    )


def _started_ranks() -> int | None:
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):  # torchrun, srun
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return None


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
