"""Each kind of end that a probe may have, and the child with all of them."""

import os
import signal

import pytest

from chatmusician.diagnosis.computing import Probes, TorchChild, communication, gpus, graphics, peaks, processor
from chatmusician.diagnosis.findings import Finding, State
from chatmusician.diagnosis.resources import Resources, look_around
from chatmusician.diagnosis.torch_probes import in_a_fork


def die() -> None:
    os.kill(os.getpid(), signal.SIGILL)


def hang() -> None:
    signal.pause()


def fail() -> None:
    raise RuntimeError("no such device\nand much more")


@pytest.mark.parametrize(
    ("probe", "found"),
    [
        (lambda: {"flops": 1.5}, {"result": {"flops": 1.5}}),
        (die, {"fault": "was killed by SIGILL"}),
        (hang, {"fault": "took longer than 0.2 s"}),
        (fail, {"fault": "RuntimeError: no such device"}),
        (lambda: os._exit(3), {"fault": "ended without a word"}),
    ],
    ids=["result", "crash", "hang", "exception", "exit"],
)
def test_a_probe_ends_in_a_result_or_a_fault(probe: object, found: dict[str, object]) -> None:
    assert in_a_fork(probe, seconds=0.2 if probe is hang else 20) == found  # type: ignore[arg-type] # any of them


@pytest.fixture(scope="module")
def probes() -> Probes:
    child = TorchChild()
    assert "gloo" not in child.products()
    return child.all()


@pytest.fixture(scope="module")
def machine() -> Resources:
    return look_around()


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_the_child_tries_all_of_it(probes: Probes, machine: Resources) -> None:
    assert {"torch", "float32", "bfloat16", "float16", "gpus", "gloo"} <= probes.keys()
    assert peaks(probes).cpu_float32 is not None
    assert by_name(list(processor(machine, probes)))["float32 products"].state is State.OK
    assert by_name(list(communication(probes)))["gloo"].state is State.OK
    if not gpus(probes):
        (none,) = graphics(probes)
        assert none.state is State.OPTIONAL and none.remedy


def test_a_product_that_kills_its_process_is_told_with_what_avoids_it(machine: Resources) -> None:
    lines = {
        "torch": {"result": {"version": "2.13.0", "capability": "AVX512"}},
        "float32": {"result": {"flops": 2.5e11}},
        "bfloat16": {"fault": "was killed by SIGILL", "without_amx": {"result": {"flops": 3e11}}},
        "float16": {"fault": "was killed by SIGILL", "without_amx": {"fault": "was killed by SIGILL"}},
    }
    found = by_name(list(processor(machine, lines)))
    assert found["float32 products"].found == "250 GFLOP/s"
    assert found["bfloat16 products"].state is State.OPTIONAL
    assert "300 GFLOP/s without AMX" in found["bfloat16 products"].found
    assert found["bfloat16 products"].remedy.endswith("export ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16")
    assert "float32" in found["float16 products"].remedy
    assert peaks(lines).cpu_bfloat16 == 3e11


def test_a_torch_that_cannot_be_imported_is_broken(machine: Resources) -> None:
    lines = {"torch": {"fault": "OSError: libcudart.so: cannot open shared object file"}}
    assert by_name(list(processor(machine, lines)))["torch"].state is State.BROKEN


def test_gpus_are_told_with_what_they_cannot_do() -> None:
    volta = {"name": "V100", "memory_bytes": 16 * 2**30, "capability": "7.0", "bf16": False}
    lines = {
        "torch": {"result": {"cuda": "13.0"}},
        "gpus": {"result": {"gpus": [volta], "nccl": "2.27.5", "flops": 9.5e13}},
    }
    found = by_name(list(graphics(lines)))
    assert found["V100"].found == "16.0 GiB, compute capability 7.0, no bfloat16"
    assert found["V100"].remedy == "trainer.precision=16-mixed"
    assert found["CUDA"].found == "13.0, NCCL 2.27.5"
    assert found["16-bit products"].found == "95.0 TFLOP/s"
    assert [gpu.name for gpu in gpus(lines)] == ["V100"]


def test_a_driver_that_crashes_is_broken() -> None:
    (found,) = graphics({"gpus": {"fault": "was killed by SIGSEGV"}})
    assert (found.state, found.found) == (State.BROKEN, "was killed by SIGSEGV")


def test_communication_that_fails_names_the_variable_to_set() -> None:
    (found,) = communication({"gloo": {"fault": "took longer than 20 s"}})
    assert found.state is State.OPTIONAL and found.remedy.startswith("export GLOO_SOCKET_IFNAME=lo")
