"""What of a training configuration decides memory, disk and time, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

BUCKET = 200_000_000
"""Lightning's default of ``reduce_bucket_size`` and ``allgather_bucket_size``: elements that are sent together."""
PRECISIONS = {
    "32": "32-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    **{name: name for name in ("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true")},
}


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How ranks share a model."""

    kind: str
    """``single``, ``ddp`` or ``zero``."""
    stage: int = 0
    """Of ZeRO."""
    offload_optimizer: bool = False
    offload_parameters: bool = False
    bucket: int = BUCKET
    """Elements of a buffer that gradients are sent in."""

    def __str__(self) -> str:
        """For people."""
        if self.kind != "zero":
            return {"single": "one process", "ddp": "DDP"}[self.kind]
        offloaded = [name for name in ("optimizer", "parameters") if getattr(self, f"offload_{name}")]
        return f"ZeRO-{self.stage}" + (f" with {' and '.join(offloaded)} offloaded" if offloaded else "")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training run."""

    ranks_per_node: int
    nodes: int
    on_gpu: bool
    precision: str
    strategy: Strategy
    seq_len: int
    micro_batch: int
    global_batch: int
    max_steps: int | None
    max_epochs: int
    checkpoints: int
    """How many are kept, the newest and the best."""
    exports: bool
    """Whether the trained model is merged and written at the end."""

    @property
    def ranks(self) -> int:
        """Processes, one for each device."""
        return self.ranks_per_node * self.nodes

    @property
    def accumulation(self) -> int:
        """Micro-batches of each rank in an optimizer step; 0 where the numbers do not fit together."""
        steps, rest = divmod(self.global_batch, self.micro_batch * self.ranks)
        return 0 if rest else steps


def read_plan(cfg: "DictConfig", *, gpus: int) -> Plan:
    """The plan of a configuration of ``train``; ``gpus`` is how many this machine has, for ``devices: auto``.

    Raises:
        UserError: a value is none that Lightning takes.
    """
    trainer = cfg.trainer
    on_gpu = trainer.accelerator in ("gpu", "cuda") or (trainer.accelerator == "auto" and gpus > 0)
    ranks_per_node = _devices(trainer.devices, here=gpus if on_gpu else 1)
    nodes = int(trainer.get("num_nodes") or 1)
    checkpoints = [node for node in cfg.callbacks.values() if node and "ModelCheckpoint" in node._target_]
    return Plan(
        ranks_per_node=ranks_per_node,
        nodes=nodes,
        on_gpu=on_gpu,
        precision=_precision(trainer.precision),
        strategy=_strategy(trainer.get("strategy"), ranks=ranks_per_node * nodes),
        seq_len=cfg.data.seq_len,
        micro_batch=cfg.data.micro_batch,
        global_batch=cfg.data.global_batch,
        max_steps=trainer.max_steps if trainer.max_steps and trainer.max_steps > 0 else None,
        max_epochs=max(1, trainer.max_epochs or 1),
        checkpoints=sum(max(0, node.get("save_top_k", 1)) + bool(node.get("save_last")) for node in checkpoints),
        exports=cfg.callbacks.get("merge_and_export") is not None,
    )


def _devices(devices: Any, *, here: int) -> int:
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return max(1, here)
    if not str(devices).isdigit():
        raise UserError(f"trainer.devices={devices}: use a number, a list of numbers, or auto")
    return int(devices)


def _precision(precision: Any) -> str:
    name = str(precision if precision is not None else "32-true")
    if name not in PRECISIONS:
        raise UserError(f"trainer.precision={name}: use one of {', '.join(PRECISIONS.values())}")
    return PRECISIONS[name]


def _strategy(strategy: Any, *, ranks: int) -> Strategy:
    if strategy is None or isinstance(strategy, str):
        name = strategy or "auto"
        if name.startswith("deepspeed"):
            offload = name.endswith("_offload")
            stage = next((number for number in (1, 2, 3) if f"stage_{number}" in name), 2)
            return Strategy(kind="zero", stage=stage, offload_optimizer=offload, offload_parameters=offload)
        return Strategy(kind="ddp" if name.startswith("ddp") or ranks > 1 else "single")
    if "deepspeed" not in strategy._target_.lower():
        return Strategy(kind="ddp" if ranks > 1 or "DDP" in strategy._target_ else "single")
    return Strategy(
        kind="zero",
        stage=strategy.get("stage", 2),
        offload_optimizer=bool(strategy.get("offload_optimizer")),
        offload_parameters=bool(strategy.get("offload_parameters")),
        bucket=strategy.get("reduce_bucket_size", BUCKET),
    )
