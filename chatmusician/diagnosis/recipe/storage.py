"""Disk that a run needs: what it fetches, prepares, keeps and exports.

A checkpoint holds trained weights and the optimizer's states and nothing frozen; while one is written the one before
is still there. Prepared rows take 3 bytes a token: a 16-bit id and a byte of mask.
"""

from dataclasses import dataclass
from pathlib import Path

from chatmusician.diagnosis.recipe.plan import Plan
from chatmusician.diagnosis.recipe.rows import Rows
from chatmusician.diagnosis.recipe.shapes import Weights

ROW_BYTES = 3
"""A token of a prepared row, with a vocabulary of at most 65,536 pieces."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Something on the disk, in bytes; ``there`` is what needs no more room."""

    name: str
    bytes: int
    there: bool = False


def stores(
    plan: Plan, weights: Weights, rows: Rows | None, *, base: str | None, base_bytes: int, prepared: bool
) -> tuple[Store, ...]:
    """All that a run puts on the disk.

    Args:
        plan: the run.
        weights: of the model.
        rows: of the data, if known.
        base: folder or Hub id that training starts from; None for a new model.
        base_bytes: of its files, and of the exported model.
        prepared: whether the data are prepared already.
    """
    kept = checkpoint_bytes(plan, weights)
    found = [] if base is None else [Store(name="base", bytes=base_bytes, there=is_here(base))]
    if rows is not None:
        found.append(Store(name="prepared rows", bytes=rows.rows * plan.seq_len * ROW_BYTES, there=prepared))
    found.append(
        Store(name=f"{plan.checkpoints} checkpoints, and one being written", bytes=(plan.checkpoints + 1) * kept)
    )
    if plan.exports:
        if weights.frozen:
            found.append(Store(name="adapter", bytes=weights.trained_bytes))
        found.append(Store(name="exported model", bytes=base_bytes))
    return tuple(found)


def checkpoint_bytes(plan: Plan, weights: Weights) -> int:
    """One checkpoint: trained weights and optimizer states; under DeepSpeed the float32 masters are the weights."""
    if plan.strategy.kind == "zero":
        return 4 * (weights.trained + weights.states)
    return weights.trained_bytes + weights.state_bytes


def is_here(base: str) -> bool:
    """Whether the weights of a folder or Hub id are on this disk."""
    if Path(base).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "model.safetensors.index.json")
    return "/" in base and any(isinstance(try_to_load_from_cache(base, name), str) for name in names)
