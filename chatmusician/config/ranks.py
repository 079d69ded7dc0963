"""How many processes a job takes, and which of them this one is.

A process is a rank if torchrun, srun, DeepSpeed's launcher or our own (`chatmusician.config.launching`) started it
beside others; what they leave in the environment says so. A process that is none and whose trainer wants several
devices of this machine starts the ranks itself.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chatmusician.config.problems import Problem
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SLURM_SHELLS = ("bash", "interactive")
"""Names of SLURM jobs that are a shell to work in, for Lightning too."""
_ALL = ("auto", -1, "-1", None)
"""Values of ``trainer.devices`` that mean all of them."""


def world_size(environment: Mapping[str, str] = os.environ) -> int:
    """How many ranks the job of this process has, 1 if it is none."""
    if "RANK" in environment or "LOCAL_RANK" in environment:
        return int(environment.get("WORLD_SIZE", 1))
    return int(environment["SLURM_NTASKS"]) if _is_slurm_task(environment) else 1


def own_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Which rank of all this process is, 0 if it is none."""
    if "RANK" in environment or "LOCAL_RANK" in environment:
        return int(environment.get("RANK", environment.get("LOCAL_RANK", 0)))
    return int(environment["SLURM_PROCID"]) if _is_slurm_task(environment) else 0


def _is_slurm_task(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process beside others. In a script of sbatch SLURM_NTASKS is set too, but no step."""
    named_as_shell = environment.get("SLURM_JOB_NAME") in _SLURM_SHELLS
    return {"SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS"} <= environment.keys() and not named_as_shell


def trainer_processes(cfg: "DictConfig") -> int:
    """How many processes to start for a config with a node ``trainer``: one a device of this machine, 1 for none.

    Raises:
        UserError: the trainer wants several machines, or other devices than there are ranks here.
    """
    trainer = cfg.trainer
    nodes, wanted = int(trainer.get("num_nodes", 1)), trainer.get("devices", "auto")
    ranks = world_size()
    is_rank = ranks > 1 or "LOCAL_RANK" in os.environ
    if is_rank and wanted in _ALL:
        return 1
    accelerator = str(trainer.get("accelerator", "auto"))
    devices = count_devices(wanted, lambda: _all_devices(accelerator))
    problem = start_problem(devices=devices, nodes=nodes, started=ranks, name=str(cfg.name), is_rank=is_rank)
    if problem is not None:
        raise UserError(str(problem))
    return 1 if is_rank else devices


def start_problem(*, devices: int, nodes: int, started: int, name: str, is_rank: bool | None = None) -> Problem | None:
    """What is wrong with how a job of ``devices`` ranks on each of ``nodes`` machines was started; None for nothing.

    Args:
        devices: ranks on a machine.
        nodes: machines.
        started: ranks that torchrun or srun has started; 1 where neither has.
        name: of the run.
        is_rank: whether this process is one of them; by default it is where there are several.
    """
    if is_rank or (is_rank is None and started > 1):
        if devices * nodes == started:
            return None
        message = f"with trainer.num_nodes={nodes} that is {devices * nodes} processes, but {started} were started"
        return Problem(path=f"trainer.devices={devices}", message=f"{message}: make them equal")
    if nodes == 1:
        return None
    overrides = shlex.join(_overrides())
    return Problem(
        path=f"trainer.num_nodes={nodes}",
        message="one command starts the processes of one machine. Type on each of them: "
        f"torchrun --nnodes {nodes} --nproc-per-node {devices} --rdzv-backend c10d --rdzv-id {name} "
        f"--rdzv-endpoint FIRST_MACHINE:29400 -m chatmusician.train {overrides}; or on SLURM: srun --nodes {nodes} "
        f"--ntasks-per-node {devices} python -m chatmusician.train {overrides}",
    )


def count_devices(devices: Any, all_devices: Callable[[], int]) -> int:
    """What Lightning makes of ``trainer.devices``: a number, a list of them ("0,2" too), or "auto" and -1 for all.

    ``all_devices`` is asked where all are wanted.
    """
    if isinstance(devices, str):
        text = devices.strip()
        if "," in text:
            devices = [part for part in text.split(",") if part.strip()]
        elif text != "auto":
            devices = int(text) if text.lstrip("-").isdigit() else text
    if isinstance(devices, int):
        return all_devices() if devices == -1 else max(1, devices)
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(1, len(devices))
    if devices in _ALL:
        return all_devices()
    raise UserError(f"trainer.devices={devices}: give a number, a list of numbers, or auto")


def _all_devices(accelerator: str) -> int:
    """Asked in a process of its own: this one only waits for the job, and torch takes seconds and memory."""
    if accelerator not in ("auto", "gpu", "cuda"):
        return 1
    question = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=False)
    return max(1, int(answer.stdout.strip() or 1))


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def shared_run_dir(own: str, *, settled: bool) -> str:
    """The folder that all ranks write to: rank 0's, where each has found one of its own (there is a clock in its name).

    Args:
        own: what this process found.
        settled: whether every rank has found the same.

    Raises:
        UserError: they have not, and there is no way to tell them rank 0's.
    """
    if settled:
        return own
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError("each rank would write to a folder of its own: add hydra.run.dir=FOLDER, the same for all")
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"chatmusician/run_dir/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if own_rank() == 0:
        store.set(key, own)
    found: str = store.get(key).decode()  # waits for it
    return found
