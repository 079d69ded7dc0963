"""What of a training configuration decides memory, disk and time, as plain values.

What every check of a configuration needs is `chatmusician.training_plan`; here stand the sizes of DeepSpeed's buffers,
what is kept of a run, and the names for people.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatmusician.training_plan import read_plan as read_training_plan

if TYPE_CHECKING:
    from omegaconf import DictConfig

BUCKET = 200_000_000
"""Lightning's default of ``reduce_bucket_size`` and ``allgather_bucket_size``: elements that are sent together."""


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
    """Elements of a buffer that ZeRO sends gradients from."""
    gradients_twice: bool = False
    """Whether DDP has gradients in place and in its buckets."""

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
    gradient_checkpointing: bool = False

    @property
    def ranks(self) -> int:
        """Processes, one for each device."""
        return self.ranks_per_node * self.nodes

    @property
    def accumulation(self) -> int:
        """Micro-batches of each rank in an optimizer step; 0 where the numbers do not fit together."""
        steps, rest = divmod(self.global_batch, max(1, self.micro_batch * self.ranks))
        return 0 if rest else steps


def read_plan(cfg: "DictConfig", *, gpus: int) -> Plan:
    """The plan of an accepted configuration of ``train`` on a machine with so many GPUs."""
    asked = read_training_plan(cfg, gpus=gpus)
    node = cfg.trainer.get("strategy")
    if asked.stage is not None:
        strategy = Strategy(
            kind="zero",
            stage=asked.stage,
            offload_optimizer=asked.offload_optimizer,
            offload_parameters=asked.offload_parameters,
            bucket=_of(node, "reduce_bucket_size", BUCKET),
        )
    elif asked.ranks > 1 or "ddp" in asked.strategy.lower():
        strategy = Strategy(kind="ddp", gradients_twice=not _of(node, "gradient_as_bucket_view", False))
    else:
        strategy = Strategy(kind="single")
    return Plan(
        ranks_per_node=asked.devices,
        nodes=asked.nodes,
        on_gpu=asked.on_gpu,
        precision=asked.precision,
        strategy=strategy,
        seq_len=asked.seq_len,
        micro_batch=asked.micro_batch,
        global_batch=asked.global_batch,
        max_steps=asked.max_steps if asked.max_steps > 0 else None,
        max_epochs=max(1, asked.max_epochs),
        checkpoints=sum(_kept(callback) for callback in cfg.callbacks.values() if callback),
        gradient_checkpointing=bool(cfg.model.backbone.get("gradient_checkpointing")),
        exports=cfg.callbacks.get("merge_and_export") is not None,
    )


def _of(node: Any, key: str, default: Any) -> Any:
    return default if node is None or isinstance(node, str) else node.get(key, default)


def _kept(callback: "DictConfig") -> int:
    """Checkpoints that a callback keeps: the last, and the best where it judges them."""
    if not callback._target_.endswith(".LastAndBest"):
        return 0
    return 1 + (callback.get("monitor") is not None)
