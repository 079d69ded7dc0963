"""What this machine can compute with, as plain values: GPUs, packages, compilers, and who started this process.

Checks of a configuration (`chatmusician.requirements`) take these values, so that they can be asked about any machine.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chatmusician.config.ranks import world_size

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
    started_ranks: int = 1
    """Processes of the job that torchrun or srun has started, over all nodes; 1 where neither has."""
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
        started_ranks=world_size(),
        offline=_is_set("HF_HUB_OFFLINE") or _is_set("TRANSFORMERS_OFFLINE"),
    )


@functools.cache
def machine_without_torch() -> Machine:
    """`this_machine` as another process sees it, for one that does not import torch itself."""
    question = (
        "import dataclasses, json; from chatmusician.machine import this_machine; "
        "seen = dataclasses.asdict(this_machine()); "
        "print(json.dumps({**seen, 'packages': sorted(seen['packages'])}))"
    )
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    gpus = [Gpu(name=gpu["name"], capability=tuple(gpu["capability"])) for gpu in seen["gpus"]]
    return Machine(**{**seen, "gpus": tuple(gpus), "packages": frozenset(seen["packages"])})


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
