"""Offloading trains what one process trains, and ZeRO-3 loads a model in pieces."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trained_by_ranks import BACKBONE, make_data, train, write_corpus

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("trained_by_ranks.py")
SPREAD = ["zero2_offload_cpu", "zero3_offload_cpu"]


def launch(*arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each rank saw, by option: one process without a strategy, and two with each."""
    folder = tmp_path_factory.mktemp("ranks")
    corpus = tmp_path_factory.mktemp("corpus")
    data = make_data(write_corpus(corpus))
    data.prepare_data()
    data.setup()
    torch.manual_seed(3)
    BACKBONE.build(data.tokenizer).save_pretrained(folder / "base")
    arguments = [str(SCRIPT), str(corpus), str(folder / "base"), str(folder)]
    seen = train("cpu", corpus, folder / "base", folder, 1)
    (folder / "cpu-0.json").write_text(json.dumps({**seen.held, "losses": seen.losses, "trained": seen.trained}))
    launch("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments, *SPREAD)
    ranks = {"cpu": 1, **dict.fromkeys(SPREAD, 2)}
    return {
        option: [json.loads((folder / f"{option}-{rank}.json").read_text()) for rank in range(count)]
        for option, count in ranks.items()
    }


@pytest.mark.parametrize("option", SPREAD)
def test_two_ranks_train_what_one_process_trains(runs: dict[str, list[dict[str, Any]]], option: str) -> None:
    alone = runs["cpu"][0]
    losses = [sum(shares) for shares in zip(*(rank["losses"] for rank in runs[option]), strict=True)]
    assert losses == pytest.approx(alone["losses"], rel=1e-4)
    trained = runs[option][0]["trained"]
    assert trained.keys() == alone["trained"].keys()
    for name, value in alone["trained"].items():
        assert trained[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("option", SPREAD)
def test_a_rank_of_zero3_never_has_the_whole_model(runs: dict[str, list[dict[str, Any]]], option: str) -> None:
    whole = runs["cpu"][0]["frozen_here"]
    for rank in runs[option]:
        if option.startswith("zero3"):
            assert rank["frozen_here"] == 0
            assert whole / 2 <= rank["frozen_pieces"] < 0.55 * whole  # pieces are rounded up
        else:
            assert rank["frozen_here"] == whole
