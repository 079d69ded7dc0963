"""Real recipes held against machines that are not here."""

from collections.abc import Sequence

import pytest

from chatmusician.config.composition import compose
from chatmusician.diagnosis.computing import Peaks
from chatmusician.diagnosis.recipe.command import is_asked
from chatmusician.diagnosis.recipe.estimate import Estimate, estimate
from chatmusician.diagnosis.recipe.verdict import duration, figures, fits, remedies, shortages, step_seconds
from chatmusician.diagnosis.resources import Gpu, Resources
from chatmusician.machine import Gpu as TorchGpu
from chatmusician.machine import Machine

GB, GIB = 10**9, 2**30


def resources(*, gpus: int, gpu_bytes: int = 80 * GIB, memory: int = 1024 * GIB) -> Resources:
    gpu = Gpu(name="A100", memory_bytes=gpu_bytes, capability="8.0", bf16=True)
    return Resources(
        processor="", cores=64, memory_bytes=memory, available_bytes=memory, disk_free_bytes=10**13, gpus=(gpu,) * gpus
    )


def estimated(gpus: int, *overrides: str) -> Estimate:
    machine = Machine(gpus=(TorchGpu(name="A100", capability=(8, 0)),) * gpus, packages=frozenset({"bitsandbytes"}))
    return estimate(compose("doctor", ["+experiment=sft_78k", *overrides]), machine=machine)


@pytest.fixture(scope="module")
def as_in_the_paper() -> Estimate:
    return estimated(8)


def test_the_paper_s_recipe_fits_on_eight_a100(as_in_the_paper: Estimate) -> None:
    parts = {part.name: part.device for part in as_in_the_paper.memory.parts}
    assert parts["frozen weights"] == 2 * 6_738_415_616
    assert parts["trained weights"] == 2 * 422_051_840
    assert parts["gradients"] == 2 * 52_756_480  # a share of 422,051,840 / 8
    assert parts["masters"] + parts["optimizer states"] == 12 * 52_756_480
    assert parts["buffers of communication"] == 2 * 2 * 200_000_000
    assert fits(as_in_the_paper, resources(gpus=8))
    assert as_in_the_paper.steps == 23_660  # ten epochs of 18,934 rows // 8


def test_each_shortage_is_told_with_what_there_is(as_in_the_paper: Estimate) -> None:
    lines = shortages(as_in_the_paper, resources(gpus=8, gpu_bytes=16 * GIB, memory=32 * GIB))
    assert len(lines) == 2
    assert "on each GPU, which has 16.0 GiB; the largest part are the frozen weights, 12.6 GiB" in lines[0]
    assert lines[1].endswith("of memory, of which 32.0 GiB are free")


def test_a_smaller_machine_is_told_the_fewest_overrides_that_make_it_fit() -> None:
    """One GPU of 12 GiB cannot hold the weights in 16 bits, and does in 4."""
    one = resources(gpus=1, gpu_bytes=12 * GIB)

    def attempt(overrides: Sequence[str]) -> Estimate:
        return estimated(1, "trainer=gpu", "lora=released", *overrides)

    overrides, found = remedies(attempt([]), one, attempt)
    assert overrides == ["model.backbone.load_in_4bit=true"]
    assert found is not None and fits(found, one)


def test_the_time_is_that_of_the_peak(as_in_the_paper: Estimate) -> None:
    peaks = Peaks(cpu_float32=None, cpu_bfloat16=None, gpu=3e14)
    seconds = step_seconds(as_in_the_paper, resources(gpus=8), peaks)
    assert seconds == as_in_the_paper.step_flops / 2.4e15
    said = {finding.name: finding.found for finding in figures(as_in_the_paper, resources(gpus=8), peaks)}
    assert said["devices"] == "8 GPUs, ZeRO-2, bf16-mixed"
    assert said["batch"] == "8 rows of 2048 tokens: micro-batches of 1 x 1 accumulated x 8 ranks"
    assert said["time"].startswith(f"at best {duration(seconds)} a step")


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        ([], False),
        (["json=true", "output=report.json", "hydra.verbose=true"], False),
        (["+experiment=sft_78k"], True),
        (["trainer=zero2"], True),
        (["~callbacks.progress"], True),
    ],
)
def test_a_run_is_looked_at_where_something_of_it_is_asked_for(overrides: list[str], asked: bool) -> None:
    assert is_asked(overrides) is asked
