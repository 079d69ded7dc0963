"""Tries what torch can do here: ``python -m chatmusician.diagnosis.torch_probes``, a JSON line for each probe.

Importing torch takes seconds, so that it is imported once, and each probe runs in a fork: a product that dies of an
illegal instruction, a communicator that hangs or a driver that crashes ends one fork and becomes a line. The process
that forks never computes and never touches CUDA, both of which a fork would not survive.

::

    {"probe": "bfloat16", "result": {"flops": 3.6e11}}
    {"probe": "gloo", "fault": "took longer than 20 s"}
"""

import faulthandler
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatmusician.half_precision import WITHOUT_AMX

SECONDS = 20
"""Time allowed to a probe. On two busy cores none takes more than three."""
SIDES = (512, 2048)
"""Rows of the matrices that products are timed with: the larger ones only where the smaller were not too slow."""
SLOW = 1e10
"""Operations a second below which they are: float16 has 1e9 on some processors, where the larger would take 100 s."""


def main() -> None:
    """Run the probes in turn and print what each found, at once."""
    import torch

    tell("torch", {"version": torch.__version__, "cuda": torch.version.cuda, "capability": _capability()})
    for dtype in ("float32", "bfloat16", "float16"):
        found = in_a_fork(lambda dtype=dtype: product(dtype))  # type: ignore[misc] # bound now, called now
        if "fault" in found and dtype != "float32":
            found |= {"without_amx": in_a_fork(lambda dtype=dtype: product(dtype, isa=WITHOUT_AMX))}  # type: ignore[misc] # the same
        _print({"probe": dtype, **found})
    _print({"probe": "products"})  # from here on the processor may be busy with other things
    gpus = in_a_fork(graphics)
    _print({"probe": "gpus", **gpus})
    _print({"probe": "gloo", **in_a_fork(lambda: communicate("gloo", ranks=2))})
    if gpus.get("result", {}).get("gpus"):
        ranks = min(2, len(gpus["result"]["gpus"]))
        _print({"probe": "nccl", **in_a_fork(lambda: communicate("nccl", ranks=ranks))})


def tell(probe: str, result: Any) -> None:
    """Print a result."""
    _print({"probe": probe, "result": result})


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def in_a_fork(probe: Callable[[], Any], *, seconds: float = SECONDS) -> dict[str, Any]:
    """What ``probe`` returned, as ``result``; or as ``fault`` why it did not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        faulthandler.disable()  # how it ended is told by its parent
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        os.write(writing, json.dumps(_outcome(probe)).encode())
        os._exit(0)
    os.close(writing)
    answer = _read(reading, until=time.monotonic() + seconds)
    os.close(reading)
    if answer is None:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answer is None:
        return {"fault": f"took longer than {seconds:g} s"}
    if os.WIFSIGNALED(status):
        return {"fault": f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"}
    outcome: dict[str, Any] = json.loads(answer) if answer else {"fault": "ended without a word"}
    return outcome


def _outcome(probe: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": probe()}
    except Exception as error:  # noqa: BLE001 -- whatever goes wrong is what was asked for
        lines = str(error).strip().splitlines()
        return {"fault": f"{type(error).__name__}: {lines[0] if lines else ''}"}


def _read(pipe: int, *, until: float) -> bytes | None:
    """All that is written to a pipe before it is closed; None if that does not come in time."""
    parts: list[bytes] = []
    while (left := until - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        part = os.read(pipe, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def _capability() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def product(dtype: str, *, isa: str | None = None) -> dict[str, float]:
    """Operations a second of a matrix product on the CPU, checked first; with oneDNN held to ``isa``."""
    if isa is not None:
        os.environ["ONEDNN_MAX_CPU_ISA"] = isa
    import torch

    from chatmusician.modeling.flops import matrix_product_peak

    kind = getattr(torch, dtype)
    ones = torch.ones(64, 64, dtype=kind)
    assert float(torch.nn.functional.linear(ones, ones)[0, 0]) == 64, "a product of ones is wrong"
    cpu = torch.device("cpu")
    flops = matrix_product_peak(device=cpu, dtype=kind, size=SIDES[0])
    return {"flops": flops if flops < SLOW else matrix_product_peak(device=cpu, dtype=kind, size=SIDES[1])}


def graphics() -> dict[str, Any]:
    """The GPUs that torch sees, and what the first can do."""
    import torch

    if not torch.cuda.is_available():
        return {"gpus": [], "nccl": None, "flops": None}
    from chatmusician.modeling.flops import matrix_product_peak

    gpus = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        gpus.append(
            {
                "name": properties.name,
                "memory_bytes": properties.total_memory,
                "capability": f"{properties.major}.{properties.minor}",
                "bf16": properties.major >= 8,
            }
        )
    dtype = torch.bfloat16 if gpus[0]["bf16"] else torch.float16
    flops = matrix_product_peak(device=torch.device("cuda", 0), dtype=dtype)
    return {"gpus": gpus, "nccl": ".".join(map(str, torch.cuda.nccl.version())), "flops": flops}


def communicate(backend: str, *, ranks: int) -> str:
    """Let processes of this machine add numbers over ``backend``, as training does; the interface it went over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(ranks):
            child = os.fork()
            if child == 0:
                outcome = _outcome(lambda rank=rank: _add(backend, rank=rank, ranks=ranks, port=port))  # type: ignore[misc] # bound now
                (Path(folder) / str(rank)).write_text(json.dumps(outcome))
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        for rank in range(ranks):
            outcome = json.loads((Path(folder) / str(rank)).read_text())
            if "fault" in outcome:
                raise RuntimeError(f"rank {rank}: {outcome['fault']}")
    return os.environ.get(f"{backend.upper()}_SOCKET_IFNAME", "")


def _add(backend: str, *, rank: int, ranks: int, port: int) -> None:
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    if backend == "nccl":
        torch.cuda.set_device(rank)
    limit = timedelta(seconds=SECONDS / 2)
    dist.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks, timeout=limit)
    number = torch.tensor([rank + 1.0], device="cuda" if backend == "nccl" else "cpu")
    dist.all_reduce(number)
    dist.destroy_process_group()
    expected = ranks * (ranks + 1) / 2
    assert number.item() == expected, f"the sum of {ranks} ranks is {number.item()} and not {expected}"


if __name__ == "__main__":
    main()
