"""A run held against this machine: its figures as findings, what does not fit, and the overrides that make it fit.

The overrides are tried, in the order of what they cost in quality or speed, each on top of the one before, by composing
the configuration with them and estimating again; the first combination that fits is what is told.
"""

from collections.abc import Callable, Iterator, Sequence

from chatmusician.diagnosis.computing import Peaks
from chatmusician.diagnosis.findings import Finding, State, gibibytes
from chatmusician.diagnosis.recipe.estimate import Estimate
from chatmusician.diagnosis.resources import Resources
from chatmusician.errors import UserError

IN_4_BITS = "model.backbone.load_in_4bit=true"
OF_THE_BASE = ("model.backbone.path", "data.tokenizer.path")
"""Paths of the problems that no size changes."""

Try = Callable[[Sequence[str]], Estimate]
"""An estimate with further overrides; raises UserError where they cannot be had together."""


def shortages(estimate: Estimate, machine: Resources) -> list[str]:
    """What is too large for this machine, a line each; empty if the run fits. See `Estimate.problems` for the rest."""
    plan, memory, found = estimate.plan, estimate.memory, []
    least = min((gpu.memory_bytes for gpu in machine.gpus), default=None)
    if plan.on_gpu and least is not None and memory.device > least:
        found.append(f"{gibibytes(memory.device)} on each GPU, which has {gibibytes(least)}; {_largest(estimate)}")
    if (node := node_bytes(estimate)) > machine.available_bytes:
        largest = "" if plan.on_gpu else f"; {_largest(estimate)}"
        found.append(f"{gibibytes(node)} of memory, of which {gibibytes(machine.available_bytes)} are free{largest}")
    if estimate.disk > machine.disk_free_bytes:
        found.append(f"{gibibytes(estimate.disk)} of disk, of which {gibibytes(machine.disk_free_bytes)} are free")
    return found


def node_bytes(estimate: Estimate) -> int:
    """The most memory that a node needs: while all of its ranks load the model, or while they train."""
    plan, memory = estimate.plan, estimate.memory
    rank = memory.host if plan.on_gpu else memory.host + memory.device
    return max(memory.loading, plan.ranks_per_node * rank)


def _largest(estimate: Estimate) -> str:
    part = max(estimate.memory.parts, key=lambda part: part.device)
    return f"the largest part are the {part.name}, {gibibytes(part.device)}"


def figures(estimate: Estimate, machine: Resources, peaks: Peaks) -> Iterator[Finding]:
    """The run in numbers."""
    plan, weights = estimate.plan, estimate.weights
    devices = f"{plan.ranks_per_node} {'GPU' if plan.on_gpu else 'CPU process'}{'s' * (plan.ranks_per_node > 1)}"
    yield _said("model", f"{weights.base:,} parameters, by {estimate.shapes_from}")
    yield _said("trained", f"{weights.trained:,} parameters, {100 * weights.trained / weights.base:.1f}% as many")
    nodes = f" on each of {plan.nodes} nodes" if plan.nodes > 1 else ""
    yield _said("devices", f"{devices}{nodes}, {plan.strategy}, {plan.precision}")
    yield _said(
        "batch",
        f"{plan.global_batch} rows of {plan.seq_len} tokens: micro-batches of {plan.micro_batch} x "
        f"{plan.accumulation} accumulated x {plan.ranks} ranks",
    )
    for part in estimate.memory.parts:
        host = f"{gibibytes(part.host)} of the node's memory" if part.host else ""
        device = gibibytes(part.device) if part.device or not host else ""
        yield _said(f"  {part.name}", " and ".join(filter(None, (device, host))))
    yield _said("memory of a rank", gibibytes(estimate.memory.device) + (" on its GPU" if plan.on_gpu else ""))
    yield _said("memory of a node", f"{gibibytes(node_bytes(estimate))}, at its most while the model is loaded")
    yield from _time(estimate, machine, peaks)
    for store in estimate.stores:
        yield _said(f"  {store.name}", gibibytes(store.bytes) + (", there" if store.there else ""))
    yield _said("disk", f"{gibibytes(estimate.disk)} more; what the corpus is fetched into is not counted")


def _said(name: str, found: str) -> Finding:
    return Finding(name=name, state=State.FACT, found=found)


def _time(estimate: Estimate, machine: Resources, peaks: Peaks) -> Iterator[Finding]:
    if estimate.steps is None:
        yield Finding(
            name="steps",
            state=State.OPTIONAL,
            found="not known before the data are prepared",
            remedy="python -m chatmusician.prepare with the same overrides",
        )
    else:
        rows = "" if estimate.rows is None else f", {estimate.rows.rows:,} rows an epoch ({estimate.rows.source})"
        yield _said("steps", f"{estimate.steps:,}{rows}")
    seconds = step_seconds(estimate, machine, peaks)
    if seconds is not None:
        whole = "" if estimate.steps is None else f", {duration(seconds * estimate.steps)} in all"
        yield _said("time", f"at best {duration(seconds)} a step{whole}, at the peak measured here")


def step_seconds(estimate: Estimate, machine: Resources, peaks: Peaks) -> float | None:
    """Seconds of an optimizer step at the peak of this machine's devices, which no run reaches; None without them."""
    plan = estimate.plan
    if plan.on_gpu:
        peak, devices = peaks.gpu, min(plan.ranks_per_node, len(machine.gpus)) * plan.nodes
    else:
        peak, devices = peaks.cpu_float32 if plan.precision == "32-true" else peaks.cpu_bfloat16, plan.nodes
    return estimate.step_flops / (peak * devices) if peak and devices else None


def duration(seconds: float) -> str:
    """A length of time in its largest sensible unit.

    >>> duration(0.042), duration(75), duration(90_000)
    ('0.042 s', '75 s', '25 hours')
    """
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "minutes"), (100 * 3600, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:,.0f} days"


def remedies(first: Estimate, machine: Resources, attempt: Try) -> tuple[list[str], Estimate | None]:
    """Overrides with which the run fits on this machine, and what it then is; none if none are enough."""
    devices = min(first.plan.ranks_per_node, len(machine.gpus))

    def asked(chosen: Sequence[str]) -> list[str]:
        """Options of ``trainer`` come with a number of GPUs of their own."""
        changed = devices and any(option.startswith("trainer=") for option in chosen)
        return list(dict.fromkeys([*chosen, f"trainer.devices={devices}"] if changed else chosen))

    chosen: list[str] = []
    for option in _options(first, devices=devices):
        group = option.partition("=")[0]
        excluded = {IN_4_BITS} if option.startswith("trainer=zero3") else set()
        kept = [other for other in chosen if other.partition("=")[0] != group and other not in excluded]
        found = _attempted(asked([*kept, option]), attempt)
        if found is None:
            continue
        chosen = [*kept, option]
        if fits(found, machine):
            chosen, found = _fewest(chosen, found, machine, lambda overrides: attempt(asked(overrides)))
            return asked(chosen), found
    return [], None


def _options(first: Estimate, *, devices: int) -> Iterator[str]:
    """What makes a run smaller, in the order of what it costs in speed or quality."""
    plan = first.plan
    on_gpus = plan.on_gpu and devices > 0
    if on_gpus and devices < plan.ranks_per_node:
        yield f"trainer.devices={devices}"
    if not on_gpus:
        yield from ("trainer=cpu", "trainer.precision=bf16-mixed")  # it runs, and is for trying the recipe only
    if plan.micro_batch > 1:
        yield "data.micro_batch=1"
    if not plan.gradient_checkpointing:
        yield "model.backbone.gradient_checkpointing=true"
    if on_gpus and devices > 1:
        yield "trainer=zero2"
    if on_gpus:
        yield IN_4_BITS
    if on_gpus and devices > 1:
        yield "trainer=zero3"
    if on_gpus:
        yield from ("trainer=zero2_offload", "trainer=zero3_offload")
    yield "lora=released"


def _fewest(chosen: list[str], found: Estimate, machine: Resources, attempt: Try) -> tuple[list[str], Estimate]:
    """Leave out what the run fits without."""
    for option in chosen[:-1]:
        fewer = [other for other in chosen if other != option]
        without = _attempted(fewer, attempt)
        if without is not None and fits(without, machine):
            chosen, found = fewer, without
    return chosen, found


def _attempted(overrides: Sequence[str], attempt: Try) -> Estimate | None:
    try:
        return attempt(overrides)
    except UserError:
        return None


def fits(estimate: Estimate, machine: Resources) -> bool:
    """Whether a run fits; that its base is not on this disk, or is another one, is a matter apart."""
    of_devices = [problem for problem in estimate.problems if not problem.path.startswith(OF_THE_BASE)]
    return not of_devices and not shortages(estimate, machine)
