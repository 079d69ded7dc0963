"""Whether this CPU can multiply bfloat16 and float16 matrices, found out without dying of it.

Some virtual CPUs advertise AMX, which oneDNN then uses for 16-bit products, and cannot run it: the process is killed by
SIGILL. A child process tries first. Where it dies, ``ONEDNN_MAX_CPU_ISA`` keeps oneDNN off AMX; the library reads it
once, before its first product, so this must run before the model does. Training, generation and the doctor ask.
"""

import os
import subprocess
import sys

from chatmusician.errors import UserError

WITHOUT_AMX = "AVX512_CORE_FP16"
"""The newest instruction set of oneDNN below AMX."""

PROBE = """
import torch
for dtype in (torch.bfloat16, torch.float16):
    a = torch.ones(64, 64, dtype=dtype)
    assert torch.nn.functional.linear(a, a)[0, 0] == 64
"""
PROBE_SECONDS = 120
"""Time allowed to the child, most of it importing torch on a busy machine."""


def enable_half_precision_on_cpu() -> bool:
    """Make 16-bit matrix products safe in this process; returns whether ``ONEDNN_MAX_CPU_ISA`` had to be set.

    Raises:
        UserError: the products fail even without AMX.
    """
    if "ONEDNN_MAX_CPU_ISA" in os.environ or _survives(os.environ):
        return False
    if not _survives({**os.environ, "ONEDNN_MAX_CPU_ISA": WITHOUT_AMX}):
        raise UserError("this CPU cannot multiply 16-bit matrices: use dtype=float32")
    os.environ["ONEDNN_MAX_CPU_ISA"] = WITHOUT_AMX
    return True


def computes_in_half_precision(*, precision: str | int, dtype: str | None) -> bool:
    """Whether a run has 16-bit products: by Lightning's ``precision``, or by the ``dtype`` that weights are loaded in.

    >>> computes_in_half_precision(precision="bf16-mixed", dtype="float32")
    True
    >>> computes_in_half_precision(precision="32-true", dtype=None)
    False
    """
    return str(precision).startswith(("bf16", "16")) or dtype in ("bfloat16", "float16", "auto")


def _survives(environment: "os._Environ[str] | dict[str, str]") -> bool:
    child = [sys.executable, "-c", PROBE]
    return (
        subprocess.run(child, env=environment, capture_output=True, timeout=PROBE_SECONDS, check=False).returncode == 0
    )
