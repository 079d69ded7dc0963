"""Processor, GPUs and communication, as `chatmusician.diagnosis.torch_probes` finds them in a child process."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chatmusician.diagnosis.findings import Finding, State, gibibytes
from chatmusician.diagnosis.resources import Gpu, Resources
from chatmusician.half_precision import WITHOUT_AMX

SECONDS = 180
"""Time allowed to the child with all its probes, most of it importing torch where the disk is slow."""

Probes = Mapping[str, Mapping[str, Any]]
"""Name of a probe -> its line: ``result`` or ``fault``."""


class TorchChild:
    """The child process, started at once and read when its lines are needed."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "chatmusician.diagnosis.torch_probes"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: dict[str, dict[str, Any]] = {}
        self._limit = threading.Timer(SECONDS, self._child.kill)
        self._limit.start()

    def products(self) -> Probes:
        """Wait until the products are timed, before which the processor should have nothing else to do."""
        return self._read(until="products")

    def all(self) -> Probes:
        """Wait for the end. A child that fails is in the line ``torch``."""
        lines = self._read(until=None)
        complaint = (self._child.stderr.read() if self._child.stderr else "").strip().splitlines()
        status = self._child.wait()
        self._limit.cancel()
        if status and "torch" not in lines:
            self._lines["torch"] = {"fault": complaint[-1] if complaint else f"ended with status {status}"}
        return self._lines

    def _read(self, *, until: str | None) -> Probes:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            found = json.loads(line)
            self._lines[found["probe"]] = found
            if found["probe"] == until:
                break
        return self._lines


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Operations a second of matrix products; None where they do not work."""

    cpu_float32: float | None
    cpu_bfloat16: float | None
    gpu: float | None


def peaks(probes: Probes) -> Peaks:
    """What was measured."""

    def rate(name: str) -> float | None:
        line = probes.get(name, {})
        found = line.get("result") or line.get("without_amx", {}).get("result") or {}
        return found.get("flops")

    return Peaks(cpu_float32=rate("float32"), cpu_bfloat16=rate("bfloat16"), gpu=rate("gpus"))


def gpus(probes: Probes) -> tuple[Gpu, ...]:
    """The GPUs that torch sees."""
    return tuple(Gpu(**gpu) for gpu in probes.get("gpus", {}).get("result", {}).get("gpus", ()))


def processor(machine: Resources, probes: Probes) -> Iterator[Finding]:
    """Cores, memory, and which products the CPU really computes."""
    yield Finding(name="processor", state=State.OK, found=f"{machine.processor}, {machine.cores} cores to use")
    found = f"{gibibytes(machine.memory_bytes)} to use, {gibibytes(machine.available_bytes)} of it free"
    yield Finding(name="memory", state=State.OK, found=found)
    torch = probes.get("torch", {})
    if "result" not in torch:
        found = torch.get("fault", f"took longer than {SECONDS} s to import")
        yield Finding(name="torch", state=State.BROKEN, found=found, remedy="pip install 'torch>=2.13,<2.14'")
        return
    version = f"{torch['result']['version']}, {torch['result']['capability']} kernels"
    yield Finding(name="torch", state=State.OK, found=version)
    for dtype in ("float32", "bfloat16", "float16"):
        if dtype in probes:
            yield _product(dtype, probes[dtype])


def _product(dtype: str, line: Mapping[str, Any]) -> Finding:
    name = f"{dtype} products"
    if "result" in line:
        speed = _speed(line["result"]["flops"])
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
        return Finding(name=name, state=State.OK, found=f"{speed}{f' (ONEDNN_MAX_CPU_ISA={limit})' if limit else ''}")
    if dtype == "float32":
        return Finding(name=name, state=State.BROKEN, found=line["fault"], remedy="install torch again")
    without = line.get("without_amx", {})
    if "result" in without:
        found = f"the process {line['fault']}; {_speed(without['result']['flops'])} without AMX, which our commands do"
        remedy = f"for programs of your own: export ONEDNN_MAX_CPU_ISA={WITHOUT_AMX}"
        return Finding(name=name, state=State.OPTIONAL, found=found, remedy=remedy)
    remedy = "use float32 on the CPU (trainer.precision=32-true, dtype=float32)"
    return Finding(name=name, state=State.OPTIONAL, found=line["fault"], remedy=remedy)


def graphics(probes: Probes) -> Iterator[Finding]:
    """GPUs, the versions that go with them, and their speed."""
    line, torch = probes.get("gpus", {}), probes.get("torch", {}).get("result", {})
    found = gpus(probes)
    if "fault" in line:
        yield Finding(
            name="CUDA", state=State.BROKEN, found=line["fault"], remedy="look at nvidia-smi; install the driver again"
        )
    elif not found:
        yield _no_gpu(cuda=torch.get("cuda"))
    else:
        yield Finding(name="CUDA", state=State.OK, found=f"{torch.get('cuda')}, NCCL {line['result']['nccl']}")
        for gpu in found:
            text = f"{gibibytes(gpu.memory_bytes)}, compute capability {gpu.capability}"
            remedy = "" if gpu.bf16 else "trainer.precision=16-mixed"
            bf16 = "bfloat16" if gpu.bf16 else "no bfloat16"
            yield Finding(name=gpu.name, state=State.OK, found=f"{text}, {bf16}", remedy=remedy)
        yield Finding(name="16-bit products", state=State.OK, found=_speed(line["result"]["flops"]))


def _no_gpu(*, cuda: str | None) -> Finding:
    if cuda is None:
        found = "none: this torch is built without CUDA"
        remedy = "for NVIDIA GPUs: install the build for CUDA (pytorch.org/get-started)"
    else:
        found = f"none: torch is built for CUDA {cuda} and finds no GPU"
        remedy = "see nvidia-smi, CUDA_VISIBLE_DEVICES, and in a container --gpus all"
    return Finding(name="CUDA", state=State.OPTIONAL, found=found, remedy=remedy)


def communication(probes: Probes) -> Iterator[Finding]:
    """Whether processes of this machine can train together."""
    for backend, purpose in (("gloo", "several processes on CPUs"), ("nccl", "several GPUs")):
        line = probes.get(backend)
        if line is None:
            continue
        if "result" in line:
            over = f" over {line['result']}" if line["result"] else ""
            yield Finding(name=backend, state=State.OK, found=f"processes of this machine added numbers{over}")
        else:
            remedy = f"export {backend.upper()}_SOCKET_IFNAME=lo, or the name of the interface to use"
            found = f"{line['fault']}: needed for {purpose}"
            yield Finding(name=backend, state=State.OPTIONAL, found=found, remedy=remedy)


def _speed(flops: float) -> str:
    return f"{flops / 1e12:.1f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"
