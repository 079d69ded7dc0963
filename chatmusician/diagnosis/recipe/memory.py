"""The parts of a rank's memory, by strategy and precision.

With P parameters of which T are trained, N ranks, and AdamW, in bytes (Rajbhandari et al. 2020, "ZeRO", section 3.1
and 5: weights and gradients in 16 bits, and 12 bytes a trained weight for its master and two moments)::

    part              one process, DDP       ZeRO-1     ZeRO-2     ZeRO-3
    weights           as stored              2 P        2 P        2 P / N
    gradients         as the weights         2 T        2 T / N    2 T / N
    masters, moments  moments as weights     12 T / N   12 T / N   12 T / N

In one process and under DDP frozen weights keep the dtype they are loaded in, and trained ones are float32: 4 + 4 + 8
bytes. DDP has gradients twice, in place and in buckets, unless it is told otherwise. DeepSpeed casts all to 16 bits
unless the precision is 32, and sends gradients from buckets, two under ZeRO-1 and 2 where sending overlaps with
computing; under ZeRO-3 it also holds the weights that are in use, 1e9 at most. What is offloaded is in the node's
memory. During the step the partition's gradients are there in float32, when the activations are gone: the larger of
both counts.

Example: LLaMA2-7B with 159,907,840 trained weights, bfloat16, ZeRO-2 on 8 ranks: weights 2 x 6,898,323,456 = 13.80 GB,
gradients 2 / 8 x 0.160 = 0.04 GB, masters and moments 12 / 8 x 0.160 = 0.24 GB on each.
"""

from dataclasses import dataclass

from chatmusician.diagnosis.recipe.plan import Plan
from chatmusician.diagnosis.recipe.shapes import Weights

MAX_LIVE = 1_000_000_000
"""Weights that ZeRO-3 holds whole at once, at most: DeepSpeed's ``stage3_max_live_parameters``."""
CUDA = int(0.8 * 2**30)
"""Bytes that a process takes on a GPU for itself: context, cuBLAS. An assumption: no GPU was at hand to measure it."""
PROCESS = int(0.7 * 2**30)
"""Private bytes of a process that has imported everything, measured by ``smoke_7b.py --shapes tiny``."""
SHARD = 2_000_000_000
"""Bytes of a file of weights, which ZeRO-3 has in memory while it loads."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What something takes of one rank: bytes on its device, and bytes of its node's memory."""

    name: str
    device: int
    host: int = 0


@dataclass(frozen=True, kw_only=True)
class Memory:
    """All parts of a rank, and what a node needs while the ranks load the model."""

    parts: tuple[Part, ...]
    loading: int
    """Bytes of a node's memory, for all of its ranks, before anything is on a device."""

    @property
    def device(self) -> int:
        """Bytes on the device of a rank."""
        return sum(part.device for part in self.parts)

    @property
    def host(self) -> int:
        """Bytes of a node's memory for one rank, while it trains."""
        return sum(part.host for part in self.parts)


def memory_of(plan: Plan, weights: Weights, *, working: int, quantised: bool) -> Memory:
    """What each rank needs.

    Args:
        plan: the run.
        weights: of the model.
        working: bytes that a step needs beyond weights and gradients; see `rehearsal`.
        quantised: whether the frozen weights are, and so keep their size under DeepSpeed.
    """
    parts = _under_zero(plan, weights, working, quantised) if plan.strategy.kind == "zero" else _plain(plan, weights)
    if plan.strategy.kind != "zero":
        parts.append(Part(name="activations and temporary", device=max(working, _largest_step(weights, plan))))
    process = Part(name="libraries", device=CUDA if plan.on_gpu else PROCESS, host=PROCESS if plan.on_gpu else 0)
    whole = weights.frozen_bytes + weights.trained_bytes
    partitioned = plan.strategy.kind == "zero" and plan.strategy.stage == 3
    loading = whole * plan.ranks_per_node // plan.ranks + SHARD if partitioned else whole * plan.ranks_per_node
    return Memory(parts=(*parts, process), loading=loading + PROCESS * plan.ranks_per_node)


def _plain(plan: Plan, weights: Weights) -> list[Part]:
    copies = 2 if plan.strategy.gradients_twice else 1
    width = _width(plan, mixed=False)
    frozen, trained, states = weights.frozen_bytes, weights.trained_bytes, weights.state_bytes
    if width is not None:  # precision=bf16-true casts the model
        frozen, trained, states = weights.frozen * width, weights.trained * width, weights.states * width
    return [
        Part(name="frozen weights", device=frozen),
        Part(name="trained weights", device=trained),
        Part(name="gradients" + (", and buckets of them" if copies == 2 else ""), device=copies * trained),
        Part(name="optimizer states", device=states),
    ]


def _largest_step(weights: Weights, plan: Plan) -> int:
    """torch's AdamW on GPUs updates all weights at once, with a copy of them; on the CPU one after another."""
    return weights.trained_bytes if plan.on_gpu else 0


def _under_zero(plan: Plan, weights: Weights, working: int, quantised: bool) -> list[Part]:
    strategy, ranks = plan.strategy, plan.ranks
    stored = _width(plan, mixed=True)
    frozen = weights.frozen_bytes if quantised or stored is None else weights.frozen * stored
    trained = weights.trained_bytes if stored is None else weights.trained * stored
    width = stored or 4
    share = -(-weights.trained // ranks)
    sharded = strategy.stage == 3
    if sharded:
        frozen, trained = frozen // ranks, trained // ranks
    has_masters = stored is not None or not sharded  # in float32 ZeRO-3 takes its pieces for masters
    optimizer = [
        Part(name="masters", device=4 * share if has_masters else 0),
        Part(name="optimizer states", device=4 * -(-weights.states // ranks)),
    ]
    gradients = Part(name="gradients", device=width * (share if strategy.stage >= 2 else weights.trained))
    if strategy.offload_optimizer:
        optimizer = [_to_host(part) for part in optimizer]
        gradients = Part(name="gradients", device=0, host=4 * share)
    parts = [Part(name="frozen weights", device=frozen), Part(name="trained weights", device=trained)]
    if sharded and strategy.offload_parameters:
        parts = [_to_host(part) for part in parts]
    buffers = strategy.bucket * width * (1 if sharded else 2)
    if sharded:
        buffers += min(MAX_LIVE, weights.frozen + weights.trained) * width
    step = 0 if strategy.offload_optimizer else 4 * share
    return [
        *parts,
        gradients,
        *optimizer,
        Part(name="buffers of communication", device=buffers),
        Part(name="activations and temporary", device=max(working, step)),
    ]


def _to_host(part: Part) -> Part:
    return Part(name=f"{part.name} (offloaded)", device=0, host=part.device)


def _width(plan: Plan, *, mixed: bool) -> int | None:
    """Bytes of a weight where the precision decides it, else None; DeepSpeed's mixed precision is a cast too."""
    if plan.precision == "32-true":
        return None
    return 2 if mixed or plan.precision.endswith("-true") else None
