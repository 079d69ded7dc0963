"""Everything that is known of a run beforehand, put together from its configuration."""

import hashlib
import logging
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from chatmusician.config.problems import Problem
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.diagnosis.recipe.memory import Memory, memory_of
from chatmusician.diagnosis.recipe.plan import Plan, read_plan
from chatmusician.diagnosis.recipe.rows import Rows, optimizer_steps, rows_of
from chatmusician.diagnosis.recipe.shapes import Weights, build_on_meta
from chatmusician.diagnosis.recipe.storage import Store, stores
from chatmusician.machine import Machine
from chatmusician.modeling.flops import training_flops
from chatmusician.requirements import training_problems

if TYPE_CHECKING:
    from omegaconf import DictConfig


_REHEARSED: dict[tuple[Any, ...], int] = {}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A run, before it runs."""

    plan: Plan
    weights: Weights
    shapes_from: str
    memory: Memory
    rows: Rows | None
    steps: int | None
    stores: tuple[Store, ...]
    problems: tuple[Problem, ...]
    """What is missing or does not fit together, whatever the sizes; see `chatmusician.requirements`."""
    step_flops: int
    """Operations of an optimizer step, over all ranks; recomputation for gradient checkpointing is left out."""

    @property
    def disk(self) -> int:
        """Bytes that are not on the disk yet."""
        return sum(store.bytes for store in self.stores if not store.there)


def estimate(cfg: "DictConfig", *, machine: Machine) -> Estimate:
    """The estimate of an accepted configuration of ``train`` on a machine.

    Raises:
        UserError: shapes are not to be had, or a value does not fit the others.
    """
    from hydra.utils import instantiate

    _quieten()
    plan = read_plan(cfg, gpus=len(machine.gpus))
    backbone, lora = instantiate(cfg.model.backbone), instantiate(cfg.model.lora)
    optimizer = instantiate(cfg.model.optimizer)
    vocabulary = 0 if backbone.path is not None else _pieces(instantiate(cfg.data.tokenizer))
    found = build_on_meta(
        backbone=backbone,
        lora=lora,
        optimizer=optimizer,
        vocabulary=vocabulary,
        trained_in_float32=plan.strategy.kind != "zero",
    )
    weights = found.weights
    quantised = any(getattr(backbone, name, False) for name in ("load_in_4bit", "load_in_8bit"))
    rows = rows_of(cfg.data)
    base_bytes = weights.base * _exported_width(backbone, found.model)
    return Estimate(
        plan=plan,
        weights=weights,
        shapes_from=found.source,
        memory=memory_of(
            plan,
            weights,
            working=_working(found.model, plan, alike=f"{lora} {backbone.path} {_shapes(found.model)}"),
            quantised=quantised,
        ),
        rows=rows,
        steps=optimizer_steps(plan, rows),
        stores=stores(
            plan,
            weights,
            rows,
            base=backbone.path,
            base_bytes=base_bytes,
            prepared=rows is not None and not rows.estimated,
        ),
        problems=tuple(training_problems(cfg, machine=machine)),
        step_flops=_step_flops(plan, weights, rows),
    )


def _working(model: Any, plan: Plan, *, alike: str) -> int:
    """Bytes of a step beyond weights and gradients.

    Args:
        model: on the meta device.
        plan: the run.
        alike: what else decides the size of a step; one that was rehearsed is not rehearsed again, since looking for
            overrides with which a run fits asks for the same step many times.
    """
    key = (alike, plan.micro_batch, plan.seq_len, plan.precision, plan.strategy.kind, plan.gradient_checkpointing)
    if key not in _REHEARSED:
        _REHEARSED[key] = _rehearse(model, plan)
    return _REHEARSED[key]


def _shapes(model: Any) -> str:
    """Sizes and dtypes of a model, in a word."""
    shapes = sorted((name, tuple(weight.shape), str(weight.dtype)) for name, weight in model.named_parameters())
    return hashlib.sha256(repr(shapes).encode()).hexdigest()


def _rehearse(model: Any, plan: Plan) -> int:
    import torch

    from chatmusician.diagnosis.recipe.rehearsal import working_bytes

    mixed = plan.precision.endswith("-mixed")
    in_16_bits = plan.precision != "32-true"
    if in_16_bits and (plan.strategy.kind == "zero" or not mixed):
        model, mixed = model.to(torch.bfloat16), False  # float16 has the same size
    autocast = torch.bfloat16 if mixed and in_16_bits else None
    return working_bytes(model, micro_batch=plan.micro_batch, seq_len=plan.seq_len, autocast=autocast)


def _step_flops(plan: Plan, weights: Weights, rows: Rows | None) -> int:
    """Every document is taken to fill its row, which is the most that attention can have to do."""
    tokens = plan.global_batch * plan.seq_len
    trained = tokens
    if rows is not None and rows.trained_tokens is not None:
        trained = round(rows.trained_tokens / max(1, rows.rows) * plan.global_batch)
    pairs = plan.global_batch * plan.seq_len * (plan.seq_len + 1) // 2
    return training_flops(weights.matrices, tokens=tokens, trained_tokens=trained, attended_pairs=pairs)


def _pieces(tokenizer: Any) -> int:
    if isinstance(tokenizer, TrainedTokenizer):
        return tokenizer.vocab_size
    return int(tokenizer.describe()["vocabulary"])


def _exported_width(backbone: Any, model: Any) -> int:
    """Bytes of a weight of the base's files, and of the exported model's."""
    if backbone.path is None:
        return int(next(model.parameters()).element_size())
    from chatmusician.diagnosis.recipe.shapes import find_config

    config, _ = find_config(backbone.path)
    return 4 if str(config.dtype).endswith("float32") else 2


@cache
def _quieten() -> None:
    """Leave out what libraries say of themselves while they are imported."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
