"""What a training run needs and does not have, told at once, before data are prepared or a model is loaded.

    accepted config + `chatmusician.machine.Machine` -> `training_problems` -> none, or all of them in one message

An accepted config has valid keys; whether its values fit each other and the machine is looked at here: devices,
precision, attention, packages, strategy and optimizer, batches, the base's folder. What a constructor refuses by itself
(a rank below 1, a schedule that is none) is not repeated.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatmusician.base_checks import base_problems
from chatmusician.config.problems import ConfigError, Problem
from chatmusician.config.ranks import start_problem, trainer_processes, world_size
from chatmusician.machine import Machine, machine_without_torch, this_machine
from chatmusician.training_plan import TrainingPlan, read_plan

if TYPE_CHECKING:
    from omegaconf import DictConfig

AMPERE, HOPPER = (8, 0), (9, 0)
"""Compute capabilities: the first with bfloat16 and flash-attention 2, the first with flash-attention 3."""
FULL_PRECISION = "32-true"
HALVES = ("bfloat16", "float16")


def require_training(cfg: "DictConfig") -> None:
    """Refuse a training run that this machine cannot do.

    Raises:
        ConfigError: with everything that `training_problems` found.
    """
    problems = training_problems(cfg)
    if problems:
        raise ConfigError(problems)


def required_processes(cfg: "DictConfig") -> int:
    """How many processes to start for a run, as `trainer_processes`; none before it is known that they can run.

    Raises:
        ConfigError: with everything that `training_problems` found; once, and not from each of them.
    """
    if world_size() == 1 and read_plan(cfg, gpus=0).ranks > 1:
        problems = training_problems(cfg, machine=machine_without_torch())
        if problems:
            raise ConfigError(problems)
    return trainer_processes(cfg)


def training_problems(cfg: "DictConfig", *, machine: Machine | None = None) -> list[Problem]:
    """All that is missing or does not fit together; empty where training can begin.

    Args:
        cfg: an accepted config of ``chatmusician.train``.
        machine: where it is to run; by default here.
    """
    machine = machine or this_machine()
    plan = read_plan(cfg, gpus=len(machine.gpus))
    found = [*_device_problems(plan, machine)]
    if not found:  # what the devices can do, once they are there
        found += [*_precision_problems(plan, machine), *_kernel_problems(plan, machine)]
    start = start_problem(devices=plan.devices, nodes=plan.nodes, started=machine.started_ranks, name=plan.name)
    return [
        *found,
        *([] if start is None else [start]),
        *_quantisation_problems(plan, machine),
        *_strategy_problems(plan, machine),
        *_schedule_problems(plan),
        *base_problems(plan, offline=machine.offline),
    ]


def _device_problems(plan: TrainingPlan, machine: Machine) -> Iterator[Problem]:
    if not plan.on_gpu:
        return
    if not machine.gpus:
        yield Problem(path=f"trainer.accelerator={plan.accelerator}", message=_no_gpu(plan, machine))
    elif plan.devices > len(machine.gpus):
        fewer = len(machine.gpus)
        stays = f", data.global_batch={plan.global_batch} stays as it is" if plan.splits(fewer * plan.nodes) else ""
        yield Problem(
            path=f"trainer.devices={plan.devices}",
            message=f"this machine has {_counted(fewer, 'GPU')}: give trainer.devices={fewer}{stays}",
        )


def _no_gpu(plan: TrainingPlan, machine: Machine) -> str:
    if machine.has_nvidia_driver and not machine.torch_has_cuda:
        why = f"this machine has a GPU, but torch {machine.torch} is a build without CUDA"
        remedy = "install the build for CUDA (pytorch.org/get-started)"
    else:
        why = f"torch {machine.torch} sees no GPU on this machine"
        remedy = f"run it on a machine with {_counted(plan.devices, 'GPU')}"
    return (
        f"{why}: {remedy}; or try the same path on the CPU with a small model (trainer={plan.cpu_option} "
        "model.backbone.path=FOLDER); +experiment=nano_pretrain is made for the CPU"
    )


def _precision_problems(plan: TrainingPlan, machine: Machine) -> Iterator[Problem]:
    key = f"trainer.precision={plan.precision}"
    if plan.on_gpu and "bf16" in plan.precision:
        for gpu in _older(plan, machine, AMPERE):
            major, minor = gpu
            yield Problem(
                path=key,
                message=f"{machine.gpus[0].name} (compute capability {major}.{minor}) has no bfloat16: give "
                "trainer.precision=16-mixed model.backbone.dtype=float16",
            )
    if not plan.on_gpu and plan.precision.startswith("16"):
        yield Problem(path=key, message="float16 trains on GPUs only: give trainer.precision=32-true or bf16-mixed")
    if plan.precision == "16-true" and plan.stage is None:
        yield Problem(path=key, message="does not scale the loss, so small gradients are lost: give 16-mixed")
    if plan.precision == FULL_PRECISION and plan.dtype in HALVES and not plan.quantised:
        yield Problem(
            path=f"model.backbone.dtype={plan.dtype}",
            message=f"does not go with trainer.precision={FULL_PRECISION}: give model.backbone.dtype=float32, or "
            f"trainer.precision={'bf16-mixed' if plan.dtype == 'bfloat16' else '16-mixed'}",
        )
    if plan.precision.startswith("16") and plan.dtype == "bfloat16":
        yield Problem(
            path="model.backbone.dtype=bfloat16",
            message=f"does not go with {key}: give model.backbone.dtype=float16",
        )


def _older(plan: TrainingPlan, machine: Machine, needed: tuple[int, int]) -> list[tuple[int, int]]:
    """The lowest capability among the GPUs to be used, where it is below the one that is needed."""
    lowest = min(gpu.capability for gpu in machine.gpus[: plan.devices])
    return [lowest] if lowest < needed else []


def _kernel_problems(plan: TrainingPlan, machine: Machine) -> Iterator[Problem]:
    key = f"model.backbone.attention={plan.attention}"
    if plan.attention.startswith("flash_attention"):
        module, package, needed = {
            "flash_attention_2": ("flash_attn", "pip install flash-attn --no-build-isolation", AMPERE),
            "flash_attention_3": ("flash_attn_interface", "build it from hopper/ of its repository", HOPPER),
        }.get(plan.attention, ("", "", AMPERE))
        if not plan.on_gpu:
            yield Problem(path=key, message="runs on GPUs only: give model.backbone.attention=sdpa")
            return
        if module and module not in machine.packages:
            yield Problem(
                path=key,
                message=f"the package {module} is not installed: {package}, or give model.backbone.attention=sdpa",
            )
        for major, minor in _older(plan, machine, needed):
            yield Problem(
                path=key,
                message=f"{machine.gpus[0].name} (compute capability {major}.{minor}) is too old for it, which needs "
                f"{needed[0]}.{needed[1]}: give model.backbone.attention=sdpa",
            )
        if plan.precision == FULL_PRECISION:
            yield Problem(path=key, message="computes in 16 bits: give trainer.precision=bf16-mixed, or attention=sdpa")
    if plan.attention == "flex_attention" and not plan.on_gpu:
        yield Problem(path=key, message="has no gradient on the CPU: give model.backbone.attention=sdpa")
    if plan.liger:
        if "liger_kernel" not in machine.packages:
            message = "liger-kernel is not installed: pip install 'chatmusician[liger]', or give false"
            yield Problem(path="model.backbone.liger=true", message=message)
        if not plan.on_gpu:
            yield Problem(path="model.backbone.liger=true", message="its kernels run on GPUs only: give false")


def _quantisation_problems(plan: TrainingPlan, machine: Machine) -> Iterator[Problem]:
    if not plan.quantised:
        return
    key = f"model.backbone.{'load_in_4bit' if plan.load_in_4bit else 'load_in_8bit'}=true"
    if plan.load_in_4bit and plan.load_in_8bit:
        yield Problem(path=key, message="and load_in_8bit=true exclude each other: choose one")
    if "bitsandbytes" not in machine.packages:
        yield Problem(path=key, message="bitsandbytes is not installed: pip install 'chatmusician[quantised]'")
    if not plan.has_adapter:
        yield Problem(
            path=key, message="quantised weights cannot be trained themselves: give lora=paper, released, dora, ..."
        )
    if plan.stage == 3:
        yield Problem(path=key, message="quantised weights cannot be shared out by ZeRO-3: give trainer=zero2 or ddp")


def _strategy_problems(plan: TrainingPlan, machine: Machine) -> Iterator[Problem]:
    if plan.stage is None:
        return
    strategy = f"trainer.strategy: ZeRO-{plan.stage}"
    if plan.optimizer == "MuonSettings":
        yield Problem(
            path=strategy,
            message="shares out flat pieces, and Muon needs whole matrices: give optim=paper, or "
            f"trainer={'ddp' if plan.on_gpu else 'ddp_cpu'}",
        )
    if plan.offload_parameters and plan.stage != 3:
        yield Problem(path=strategy, message="only ZeRO-3 offloads parameters: give trainer=zero3_offload")
    if plan.use_dora and plan.stage == 3:
        yield Problem(
            path=strategy,
            message="DoRA needs the norms of whole weights: give trainer=zero2, or model.lora.use_dora=false",
        )
    if plan.clips_by_value:
        yield Problem(path="trainer.gradient_clip_algorithm=value", message="DeepSpeed clips by the norm: leave it out")
    if not plan.on_gpu and plan.strategy != "DeepSpeedOnCPU":
        yield Problem(path=strategy, message=f"Lightning runs it on GPUs only: give trainer={plan.cpu_option}")
    elif not plan.on_gpu:
        for there, name in ((machine.has_compiler, "g++"), ("ninja" in machine.packages, "ninja (pip install ninja)")):
            if not there:
                yield Problem(path=strategy, message=f"on the CPU DeepSpeed compiles a kernel, which needs {name}")


def _schedule_problems(plan: TrainingPlan) -> Iterator[Problem]:
    if plan.max_steps < 1 and plan.max_epochs < 1:
        yield Problem(
            path="trainer", message="training would never end: give trainer.max_steps=N or trainer.max_epochs=N"
        )
    if plan.sets_accumulation:
        yield Problem(
            path="trainer.accumulate_grad_batches",
            message="is data.global_batch / (data.micro_batch x ranks): leave it out and give these",
        )
    if plan.micro_batch > 0 and plan.global_batch > 0 and not plan.splits(plan.ranks):
        yield Problem(
            path=f"data.global_batch={plan.global_batch}",
            message=f"is not a multiple of data.micro_batch={plan.micro_batch} x {_counted(plan.ranks, 'rank')}: give "
            f"{_fitting_batch(plan)}, or another trainer.devices",
        )


def _fitting_batch(plan: TrainingPlan) -> str:
    """The change of one number that makes a global batch fit, that of the micro-batch if it can be."""
    share, rest = divmod(plan.global_batch, plan.ranks)
    if not rest:
        smaller = next(size for size in range(min(plan.micro_batch, share), 0, -1) if share % size == 0)
        return f"data.micro_batch={smaller}"
    least = plan.micro_batch * plan.ranks
    return f"data.global_batch={max(1, round(plan.global_batch / least)) * least}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
