"""What a training config asks for, as plain values: where it runs, in which precision, what is loaded and trained.

The config may have been changed by hand in any way that its validation lets pass, so every key is read with a default.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatmusician.config.ranks import count_devices

if TYPE_CHECKING:
    from omegaconf import DictConfig

GPU_NAMES = ("gpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The values of a config that have to fit each other and the machine."""

    name: str
    """Of the run."""
    accelerator: str
    on_gpu: bool
    devices: int
    """Ranks on each node."""
    nodes: int
    precision: str
    strategy: str
    """Last part of its class's name, or what Lightning calls it."""
    stage: int | None
    """Of ZeRO; None without DeepSpeed."""
    offload_optimizer: bool
    offload_parameters: bool
    clips_by_value: bool
    max_steps: int
    max_epochs: int
    sets_accumulation: bool
    seq_len: int
    global_batch: int
    micro_batch: int
    base: str | None
    """Folder or Hub id of the weights; None for new ones."""
    tokenizer: str | None
    """Folder or Hub id of the tokenizer; None for one that is trained."""
    max_length: int | None
    """Positions of a new model; None where the base says it."""
    dtype: str | None
    attention: str
    liger: bool
    load_in_4bit: bool
    load_in_8bit: bool
    has_adapter: bool
    use_dora: bool
    optimizer: str
    """Name of the class of its settings."""

    @property
    def ranks(self) -> int:
        """Over all nodes."""
        return self.devices * self.nodes

    @property
    def quantised(self) -> bool:
        """Whether the base's weights are kept in 4 or 8 bits."""
        return self.load_in_4bit or self.load_in_8bit

    @property
    def cpu_option(self) -> str:
        """The option of ``trainer`` that does the same on a machine without a GPU."""
        if self.stage is not None:
            offload = "_offload" if self.offload_optimizer else ""
            return f"zero{max(2, self.stage)}{offload}_cpu"
        return "ddp_cpu" if self.ranks > 1 else "cpu"

    def splits(self, ranks: int) -> bool:
        """Whether a global batch is a whole number of micro-batches on each of ``ranks`` ranks."""
        share = self.micro_batch * ranks
        return share > 0 and self.global_batch >= share and self.global_batch % share == 0


def read_plan(cfg: "DictConfig", *, gpus: int) -> TrainingPlan:
    """The plan of an accepted config on a machine with so many GPUs."""
    from omegaconf import OmegaConf

    def value(key: str, default: Any = None) -> Any:
        found = OmegaConf.select(cfg, key, throw_on_missing=False)
        return default if found is None else found

    accelerator = str(value("trainer.accelerator", "auto"))
    on_gpu = accelerator in GPU_NAMES or (accelerator == "auto" and gpus > 0)
    target, stage = _strategy(value("trainer.strategy", "auto"))
    adapter = str(value("model.lora._target_", ""))
    return TrainingPlan(
        name=str(value("name", "train")),
        accelerator=accelerator,
        on_gpu=on_gpu,
        devices=count_devices(value("trainer.devices", 1), lambda: max(1, gpus) if on_gpu else 1),
        nodes=int(value("trainer.num_nodes", 1)),
        precision=_precision(value("trainer.precision", "32-true")),
        strategy=target,
        stage=stage,
        offload_optimizer=bool(_of_node(value("trainer.strategy"), "offload_optimizer")),
        offload_parameters=bool(_of_node(value("trainer.strategy"), "offload_parameters")),
        clips_by_value=str(value("trainer.gradient_clip_algorithm", "norm")) == "value",
        max_steps=int(value("trainer.max_steps", -1)),
        max_epochs=int(value("trainer.max_epochs", -1)),
        sets_accumulation=value("trainer.accumulate_grad_batches") is not None,
        seq_len=int(value("data.seq_len", 0)),
        global_batch=int(value("data.global_batch", 0)),
        micro_batch=int(value("data.micro_batch", 0)),
        base=_text(value("model.backbone.path")),
        tokenizer=_text(value("data.tokenizer.path")),
        max_length=value("model.backbone.max_length"),
        dtype=_text(value("model.backbone.dtype")),
        attention=str(value("model.backbone.attention", "sdpa")),
        liger=bool(value("model.backbone.liger", False)),
        load_in_4bit=bool(value("model.backbone.load_in_4bit", False)),
        load_in_8bit=bool(value("model.backbone.load_in_8bit", False)),
        has_adapter=adapter.endswith(".Lora"),
        use_dora=bool(value("model.lora.use_dora", False)),
        optimizer=str(value("model.optimizer._target_", "")).rpartition(".")[2],
    )


def _strategy(node: Any) -> tuple[str, int | None]:
    """Name, and stage of ZeRO, of what ``trainer.strategy`` says: a node or one of Lightning's names."""
    target = str(_of_node(node, "_target_") or node)
    name = target.rpartition(".")[2]
    if isinstance(node, str):
        if not name.startswith("deepspeed"):
            return name, None
        stage = next((int(part) for part in name.split("_") if part.isdigit()), 2)
        return name, stage
    if "DeepSpeed" not in name and name != "Zero":
        return name, None
    return name, int(_of_node(node, "stage") or 2)


def _of_node(node: Any, key: str) -> Any:
    return None if node is None or isinstance(node, str) else node.get(key)


def _precision(value: Any) -> str:
    """Lightning's long name of a precision."""
    short = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed", "64": "64-true"}
    return short.get(str(value), str(value))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
