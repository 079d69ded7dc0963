"""Real DeepSpeed and DDP over gloo, two ranks: one trajectory, one format of checkpoints, resumed bit for bit.

LoRA and trained embeddings on a pretrained model of 8,000 weights, two micro-batches a step and rank, and clipping.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
PATHS = [str(TESTS.parent), str(TESTS / "strategies"), str(TESTS / "modeling")]
sys.path.extend(PATHS[1:])

from rank_runs import GLOBAL_BATCH, STEPS, run_once  # noqa: E402 -- from folders of tests
from tiny_run import BACKBONE, make_data, write_corpus  # noqa: E402

STRATEGIES = ("ddp", "zero2", "zero3", "zero2 offload", "zero3 offload")
ROUNDED = ("zero2", "zero3")
"""Computed in bfloat16 too, with weights in float32 beside those that are computed with."""


def plan_of(folder: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """What two ranks run; ``one`` in the folder was run by one."""
    plan: list[dict[str, Any]] = []

    def add(name: str, **arguments: Any) -> None:
        plan.append({"folder": str(folder / name), "ranks": 2, **common, **arguments})

    for strategy in STRATEGIES:
        add(f"{strategy} whole", strategy=strategy, dropout=0.3)
        for name, start in (("once", f"{strategy} whole/step=3.ckpt"), ("twice", f"{strategy} once/step=5.ckpt")):
            add(f"{strategy} {name}", strategy=strategy, dropout=0.3, resume=str(folder / start))
    for strategy in ROUNDED:
        add(f"{strategy} rounded", strategy=strategy, precision="bf16-mixed")
        start = str(folder / f"{strategy} rounded/step=3.ckpt")
        add(f"{strategy} rounded once", strategy=strategy, precision="bf16-mixed", resume=start)
    for strategy in ("ddp", "zero2", "zero3"):
        add(f"{strategy} plain", strategy=strategy, checkpointing=True)
        add(f"{strategy} after one", strategy=strategy, resume=str(folder / "one/step=2.ckpt"))
    return plan


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of one rank and of two, in folders named after them."""
    folder = tmp_path_factory.mktemp("runs")
    corpus = write_corpus(folder)
    data = make_data(corpus)
    data.prepare_data()
    data.setup()
    torch.manual_seed(0)
    BACKBONE.build(data.tokenizer).save_pretrained(folder / "base")
    common = {"corpus": str(corpus), "base": str(folder / "base")}
    run_once(folder=str(folder / "one"), **common)
    run_once(folder=str(folder / "all weights"), adapter=False, **common)
    plan = folder / "plan.json"
    plan.write_text(json.dumps(plan_of(folder, common)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(PATHS),
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16",  # bfloat16 kills processes of some virtual machines
    }
    script = str(Path(__file__).parent / "rank_runs.py")
    done = subprocess.run(
        [*launch, script, str(plan)], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


def saved(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def seen(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "seen.json").read_text())
    return content


def assert_same(one: Path, other: Path) -> None:
    """Two checkpoints hold the same weights and the same state of the optimizer, bit by bit."""
    a, b = saved(one), saved(other)
    assert a["global_step"] == b["global_step"] == STEPS
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for name, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][name]), name
    ours, theirs = a["optimizer_states"][0], b["optimizer_states"][0]
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in ours["state"].items():
        for key, value in state.items():
            assert torch.equal(value, theirs["state"][index][key]), (index, key)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_resumed_twice_in_an_epoch_is_the_one_never_stopped(runs: Path, strategy: str) -> None:
    assert_same(runs / f"{strategy} whole" / "last.ckpt", runs / f"{strategy} once" / "last.ckpt")
    assert_same(runs / f"{strategy} whole" / "last.ckpt", runs / f"{strategy} twice" / "last.ckpt")


@pytest.mark.parametrize("strategy", ROUNDED)
def test_weights_that_are_rounded_to_compute_with_are_saved_in_full(runs: Path, strategy: str) -> None:
    assert_same(runs / f"{strategy} rounded" / "last.ckpt", runs / f"{strategy} rounded once" / "last.ckpt")
    weights = saved(runs / f"{strategy} rounded" / "last.ckpt")["state_dict"]
    assert any(not torch.equal(value, value.bfloat16().float()) for value in weights.values())


def assert_close(one: Path, other: Path) -> None:
    a, b = saved(one)["state_dict"], saved(other)["state_dict"]
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_two_ranks_take_the_steps_of_one(runs: Path, strategy: str) -> None:
    """The moments, too: gradients that were all too small by one factor would give the same weights."""
    run = runs / f"{strategy} plain"
    assert_close(runs / "one" / "last.ckpt", run / "last.ckpt")
    ours, theirs = (saved(place / "last.ckpt")["optimizer_states"][0]["state"] for place in (run, runs / "one"))
    for index, state in theirs.items():
        assert ours[index]["step"] == state["step"] == STEPS
        torch.testing.assert_close(ours[index]["exp_avg"], state["exp_avg"], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(ours[index]["exp_avg_sq"], state["exp_avg_sq"], rtol=1e-3, atol=1e-9)
    assert seen(run)["losses"] == pytest.approx(seen(runs / "one")["losses"], rel=1e-5)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_one_rank_goes_on_as_two_and_two_as_one_with_the_same_rows(runs: Path, strategy: str) -> None:
    after = runs / f"{strategy} after one"
    again = runs / f"{strategy} and one again"
    common = {"corpus": str(runs), "base": str(runs / "base"), "micro_batch": 2}
    run_once(folder=str(again), resume=str(after / "step=5.ckpt"), **common)
    assert_close(runs / "one" / "last.ckpt", after / "last.ckpt")
    assert_close(runs / "one" / "last.ckpt", again / "last.ckpt")
    rows = seen(runs / "one")["rows"]
    assert list(rows) == [str(step) for step in range(STEPS)]
    assert all(len(set(of_step)) == GLOBAL_BATCH for of_step in rows.values())
    two = {step: sorted(of_step) for step, of_step in rows.items()}
    for run, first in ((after, 2), (again, 5)):
        found = {step: sorted(of_step) for step, of_step in seen(run)["rows"].items()}
        assert found == {step: of_step for step, of_step in two.items() if int(step) >= first}


@pytest.mark.parametrize("strategy", ["one", "ddp plain", "zero2 plain", "zero3 plain"])
def test_the_adapter_starts_as_nothing_and_the_first_loss_is_the_base_models(runs: Path, strategy: str) -> None:
    run = seen(runs / strategy)
    assert run["largest_b"] == 0
    assert run["losses"]["0"] == pytest.approx(seen(runs / "all weights")["losses"]["0"], rel=1e-6)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_gradient_checkpointing_computes_each_layer_twice(runs: Path, strategy: str) -> None:
    micro_batches = STEPS * GLOBAL_BATCH // 2
    assert seen(runs / f"{strategy} plain")["passes"] == 2 * micro_batches
    assert seen(runs / f"{strategy} whole")["passes"] == micro_batches


@pytest.mark.parametrize("strategy", ["one", "ddp plain", "zero2 plain", "zero3 plain", "zero2 rounded"])
def test_a_checkpoint_is_the_trained_weights_and_two_moments_of_each(runs: Path, strategy: str) -> None:
    path = runs / strategy / "last.ckpt"
    content = saved(path)
    trained = content["state_dict"]
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    assert not any("original_module" in name or "base_layer" in name for name in trained)
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in trained.values())
    states = content["optimizer_states"][0]["state"]
    assert [states[index]["exp_avg"].shape for index in range(len(states))] == [v.shape for v in trained.values()]
    weights = sum(value.numel() for value in trained.values())
    assert 12 * weights < path.stat().st_size < 12 * weights + 1000 * len(trained) + 50_000
