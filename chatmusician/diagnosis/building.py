"""Compilers, and the one operation of DeepSpeed that is compiled here.

On GPUs nothing of DeepSpeed's is compiled: optimizer states are updated by torch's AdamW, offloaded ones too. On CPUs
its first start compiles ``deepspeed_shm_comm``, which adds up numbers over shared memory.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from chatmusician.diagnosis.findings import Finding, State

SHARED_MEMORY = "deepspeed_shm_comm"


def compilers(*, with_gpu: bool) -> Iterator[Finding]:
    """What compiles, and what it is needed for."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    yield _tool("C++ compiler", compiler, purpose="DeepSpeed on CPUs", remedy="apt-get install g++")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    found = str(header) if header.is_file() else None
    yield _tool("Python.h", found, purpose="DeepSpeed on CPUs", remedy="apt-get install python3-dev")
    yield _tool("ninja", find_ninja(), purpose="DeepSpeed on CPUs", remedy="pip install ninja")
    if with_gpu:
        remedy = "install the CUDA toolkit of torch's version, and set CUDA_HOME"
        yield _tool("nvcc", shutil.which("nvcc"), purpose="building flash-attn", remedy=remedy)


def deepspeed_operations() -> Iterator[Finding]:
    """Whether the operation is compiled already."""
    built = next(extensions_folder().glob(f"py*_cpu/{SHARED_MEMORY}/{SHARED_MEMORY}*.so"), None)
    if built is not None:
        yield Finding(name=SHARED_MEMORY, state=State.OK, found=f"compiled: {built.parent}")
    elif find_ninja() is None:
        found = "not compiled, and cannot be: needed for ZeRO on CPUs"
        yield Finding(name=SHARED_MEMORY, state=State.OPTIONAL, found=found, remedy="pip install ninja")
    else:
        found = "not compiled yet: the first start with ZeRO on CPUs takes about a minute longer"
        yield Finding(name=SHARED_MEMORY, state=State.OK, found=found)


def extensions_folder() -> Path:
    """Where torch keeps what it has compiled."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")


def find_ninja() -> str | None:
    """The ninja of this environment, which `DeepSpeedOnCPU` puts on PATH, or another."""
    return shutil.which("ninja", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def _tool(name: str, found: str | None, *, purpose: str, remedy: str) -> Finding:
    if found:
        return Finding(name=name, state=State.OK, found=found)
    return Finding(name=name, state=State.OPTIONAL, found=f"not found: needed for {purpose}", remedy=remedy)
