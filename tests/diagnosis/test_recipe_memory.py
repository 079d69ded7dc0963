"""Parts of memory, disk and steps, worked out by hand for a model of 1,000 frozen and 100 trained weights."""

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from chatmusician.data.shards import Manifest, ShardRecord, SplitManifest
from chatmusician.diagnosis.recipe.memory import CUDA, PROCESS, SHARD, Memory, memory_of
from chatmusician.diagnosis.recipe.plan import Plan, Strategy
from chatmusician.diagnosis.recipe.rows import Rows, estimated_tokens, optimizer_steps, rows_of
from chatmusician.diagnosis.recipe.shapes import Weights
from chatmusician.diagnosis.recipe.storage import checkpoint_bytes, stores
from chatmusician.modeling.flops import MatrixWeights

WEIGHTS = Weights(
    base=1000,
    frozen=1000,
    frozen_bytes=2000,  # bfloat16
    trained=100,
    trained_bytes=400,  # float32
    states=200,
    state_bytes=800,
    matrices=MatrixWeights(layers=1, width=1, frozen=0, trained=0, head=0, head_trained=False),
)


def plan(*, ranks: int = 1, precision: str = "bf16-mixed", kind: str = "single", **strategy: object) -> Plan:
    return Plan(
        ranks_per_node=ranks,
        nodes=1,
        on_gpu=True,
        precision=precision,
        strategy=Strategy(kind=kind, bucket=10, **strategy),  # type: ignore[arg-type] # flags of it
        seq_len=16,
        micro_batch=1,
        global_batch=8,
        max_steps=None,
        max_epochs=3,
        checkpoints=2,
        exports=True,
    )


def parts(memory: Memory) -> dict[str, tuple[int, int]]:
    return {part.name: (part.device, part.host) for part in memory.parts if part.name != "libraries"}


def test_one_process_keeps_frozen_weights_as_they_are_and_16_bytes_a_trained_one() -> None:
    assert parts(memory_of(plan(), WEIGHTS, working=5000, quantised=False)) == {
        "frozen weights": (2000, 0),
        "trained weights": (400, 0),
        "gradients": (400, 0),
        "optimizer states": (800, 0),
        "activations and temporary": (5000, 0),
    }


def test_ddp_has_gradients_twice_unless_they_are_views_of_its_buckets() -> None:
    twice = memory_of(plan(ranks=2, kind="ddp", gradients_twice=True), WEIGHTS, working=0, quantised=False)
    once = memory_of(plan(ranks=2, kind="ddp"), WEIGHTS, working=0, quantised=False)
    assert twice.device - once.device == 400


def test_a_model_that_is_cast_has_two_bytes_of_everything() -> None:
    found = parts(memory_of(plan(precision="bf16-true"), WEIGHTS, working=300, quantised=False))
    assert [device for device, _ in found.values()][:4] == [2000, 200, 200, 400]


ZERO_2 = {
    "frozen weights": (2000, 0),
    "trained weights": (200, 0),
    "gradients": (50, 0),  # 2 x 100 / 4
    "masters": (100, 0),  # 4 x 100 / 4
    "optimizer states": (200, 0),  # 4 x 200 / 4
    "buffers of communication": (40, 0),  # two of 10 x 2
    "activations and temporary": (5000, 0),
}
OFFLOADED = {
    "masters (offloaded)": (0, 100),
    "optimizer states (offloaded)": (0, 200),
    "gradients": (0, 100),  # float32
}


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ({"stage": 1}, {"gradients": (200, 0)}),
        ({"stage": 2}, {}),
        (
            {"stage": 3},
            {
                "frozen weights": (500, 0),
                "trained weights": (50, 0),
                "buffers of communication": (2220, 0),  # one of 10 x 2, and the 1,100 weights in use
            },
        ),
        ({"stage": 2, "offload_optimizer": True}, OFFLOADED),
        (
            {"stage": 3, "offload_optimizer": True, "offload_parameters": True},
            {
                "frozen weights (offloaded)": (0, 500),
                "trained weights (offloaded)": (0, 50),
                "buffers of communication": (2220, 0),
                **OFFLOADED,
            },
        ),
    ],
    ids=["stage 1", "stage 2", "stage 3", "stage 2 offloaded", "stage 3 offloaded"],
)
def test_zero_shares_out_what_its_stage_says(strategy: dict[str, int], changes: dict[str, tuple[int, int]]) -> None:
    found = memory_of(plan(ranks=4, kind="zero", **strategy), WEIGHTS, working=5000, quantised=False)
    replaced = {name.removesuffix(" (offloaded)") for name in changes}
    expected = {name: part for name, part in ZERO_2.items() if name not in replaced} | changes
    assert parts(found) == expected
    assert found.device == CUDA + sum(device for device, _ in expected.values())
    assert found.host == PROCESS + sum(host for _, host in expected.values())


def test_a_step_that_needs_more_than_activations_is_what_counts() -> None:
    found = parts(memory_of(plan(ranks=4, kind="zero", stage=2), WEIGHTS, working=7, quantised=False))
    assert found["activations and temporary"] == (100, 0)  # the partition's gradients in float32


def test_quantised_weights_keep_their_size_under_deepspeed() -> None:
    weights = dataclasses.replace(WEIGHTS, frozen_bytes=516)
    found = parts(memory_of(plan(ranks=4, kind="zero", stage=2), weights, working=0, quantised=True))
    assert found["frozen weights"] == (516, 0)


def test_all_ranks_of_a_node_load_the_model_at_once_but_under_zero_3() -> None:
    whole = memory_of(plan(ranks=4, kind="zero", stage=2), WEIGHTS, working=0, quantised=False)
    shared = memory_of(plan(ranks=4, kind="zero", stage=3), WEIGHTS, working=0, quantised=False)
    assert whole.loading == 4 * (2400 + PROCESS)
    assert shared.loading == 2400 + SHARD + 4 * PROCESS


def test_the_disk_has_room_for_a_checkpoint_that_is_being_written() -> None:
    rows = Rows(rows=10, trained_tokens=None, source="", estimated=True)
    found = stores(plan(), WEIGHTS, rows, base="no/such-model", base_bytes=2000, prepared=False)
    assert {store.name: store.bytes for store in found} == {
        "base": 2000,
        "prepared rows": 480,  # 10 x 16 x 3
        "2 checkpoints, and one being written": 3600,  # 3 x (400 + 800)
        "adapter": 400,
        "exported model": 2000,
    }
    assert not any(store.there for store in found)


def test_a_checkpoint_is_12_bytes_a_trained_weight_under_every_strategy() -> None:
    assert checkpoint_bytes(plan(), WEIGHTS) == checkpoint_bytes(plan(ranks=4, kind="zero", stage=3), WEIGHTS) == 1200


CATEGORIES = {"verbal": ["knowledge", "summary"], "score": ["irishman", "kernscores", "bach"]}


def corpus(path: str | None, mixture: dict[str, object] | None) -> object:
    return OmegaConf.create({"sources": {"sft": {"path": path}}, "mixture": mixture})


def test_the_tokens_of_a_mixture_are_its_rows_times_the_mean_of_each_pool() -> None:
    """52,000 of 430M / 755,000 tokens, and 26,000 of 135.13M / 383,500."""
    mixture = {"categories": CATEGORIES, "shares": {"verbal": 2, "score": 1}, "rows": 78000}
    tokens = estimated_tokens(corpus("m-a-p/MusicPile-sft", mixture))  # type: ignore[arg-type] # a DictConfig
    assert tokens == pytest.approx(29_615_894 + 9_161_161, abs=2)


def test_all_of_musicpile_is_four_billion_tokens() -> None:
    tokens = estimated_tokens(corpus("m-a-p/MusicPile", None))  # type: ignore[arg-type] # a DictConfig
    assert tokens == 4_165_840_000


def test_of_other_corpora_nothing_is_guessed(tmp_path: Path) -> None:
    data = OmegaConf.create({"directory": str(tmp_path), "seq_len": 16, "corpus": corpus("my/rows", None)})
    assert rows_of(data) is None
    assert optimizer_steps(plan(), None) is None


def test_prepared_rows_are_counted(tmp_path: Path) -> None:
    shard = ShardRecord(
        name="0", sha256="", documents=1, rows=50, tokens=700, trained_tokens=600, trained_bytes=1, sources={}, fates={}
    )
    Manifest(settings={"seq_len": 16}, splits={"train": SplitManifest(shards=(shard, shard))}).save(tmp_path)
    data = OmegaConf.create({"directory": str(tmp_path), "seq_len": 16, "corpus": corpus(None, None)})
    found = rows_of(data)
    assert found is not None and (found.rows, found.trained_tokens, found.estimated) == (100, 1200, False)
    assert optimizer_steps(plan(), found) == 36  # 3 epochs of 100 // 8
