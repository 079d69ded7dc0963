"""Weights counted without being there, and a step rehearsed: against numbers by hand, and against real memory."""

import json
import os
import subprocess
import sys

import pytest

from chatmusician.diagnosis.recipe import rehearsal
from chatmusician.diagnosis.recipe.rehearsal import working_bytes
from chatmusician.diagnosis.recipe.shapes import MetaModel, build_on_meta
from chatmusician.errors import UserError
from chatmusician.modeling.backbone import NewLlama, PretrainedLlama
from chatmusician.modeling.lora import AllWeights, Freeze, Lora
from chatmusician.modeling.optimizers import AdamWSettings, MuonSettings

LLAMA2_7B = 6_738_415_616
SMALL = NewLlama(
    hidden_size=8, layers=6, heads=2, intermediate_size=12, max_length=32, tied_embeddings=False, key_value_heads=1
)
LAYER = 64 + 32 + 32 + 64 + 3 * 96 + 16
"""q and o of 8 x 8, k and v of 4 x 8, three of 12 x 8, two norms."""


def on_meta(backbone: object, lora: object = None, optimizer: object = None) -> MetaModel:
    return build_on_meta(
        backbone=backbone, lora=lora or AllWeights(), optimizer=optimizer or AdamWSettings(lr=1e-4), vocabulary=50
    )


@pytest.mark.parametrize(
    ("whole", "trained", "trained_bytes"),
    [((), 159_907_840, 639_631_360), (("embed_tokens", "lm_head"), 422_051_840, 1_688_207_360)],
    ids=["released", "paper"],
)
def test_llama2_7b_is_counted_to_the_last_weight(whole: tuple[str, ...], trained: int, trained_bytes: int) -> None:
    backbone = PretrainedLlama(path="m-a-p/ChatMusician-Base", dtype="bfloat16", gradient_checkpointing=True)
    found = on_meta(backbone, Lora(r=64, alpha=16, dropout=0.1, modules_to_save=whole))
    assert (found.weights.base, found.weights.frozen, found.weights.trained) == (LLAMA2_7B, LLAMA2_7B, trained)
    assert (found.weights.frozen_bytes, found.weights.trained_bytes) == (2 * LLAMA2_7B, trained_bytes)
    assert "which is not on this disk" in found.source


def test_in_4_bits_the_layers_shrink_and_embeddings_do_not() -> None:
    """6,476,005,376 weights of matrices in layers at 4.127 bits, the other 262,410,240 in 16."""
    backbone = PretrainedLlama(path="meta-llama/Llama-2-7b-hf", dtype="bfloat16", load_in_4bit=True)
    found = on_meta(backbone, Lora(r=64, alpha=16))
    assert found.weights.frozen_bytes == pytest.approx(6_476_005_376 * 4.127 / 8 + 262_410_240 * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("lora", "optimizer", "trained", "states"),
    [
        (AllWeights(), AdamWSettings(lr=1e-4), 6 * LAYER + 808, 2 * (6 * LAYER + 808)),
        # one number for each weight of the layers' matrices, two for norms, embedding and head
        (AllWeights(), MuonSettings(), 6 * LAYER + 808, 6 * (LAYER - 16) + 2 * (6 * 16 + 808)),
        (Freeze(modules=["layers.5."]), AdamWSettings(lr=1e-4), LAYER, 2 * LAYER),
        # r x (in + out) of the seven projections
        (Lora(r=2, alpha=2), AdamWSettings(lr=1e-4), 6 * 2 * 116, 6 * 4 * 116),
    ],
    ids=["all", "muon", "freeze", "lora"],
)
def test_a_small_model_is_counted_as_by_hand(lora: object, optimizer: object, trained: int, states: int) -> None:
    found = on_meta(SMALL, lora, optimizer)
    assert found.weights.base == 6 * LAYER + 50 * 8 * 2 + 8
    assert (found.weights.trained, found.weights.states) == (trained, states)
    assert found.weights.trained_bytes == 4 * trained


def test_shapes_that_are_nowhere_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"no/such-model: no config\.json on this disk .* hf download no/such-model"):
        on_meta(PretrainedLlama(path="no/such-model"))


@pytest.mark.parametrize("lora", [AllWeights(), Lora(r=2, alpha=2, dropout=0.1)], ids=["all", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_few_layers_tell_what_many_need(lora: object, checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def rehearsed() -> int:
        model = on_meta(SMALL, lora).model
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return working_bytes(model, micro_batch=2, seq_len=32, autocast=None)

    few = rehearsed()
    monkeypatch.setattr(rehearsal, "FEW", 3)  # six layers are no more than twice that: all are run
    assert few == rehearsed() > 0


def test_layers_that_differ_are_all_run() -> None:
    """The last layer alone is trained: no other keeps anything for its gradients."""
    only_last = working_bytes(
        on_meta(SMALL, Freeze(modules=["layers.5."])).model, micro_batch=2, seq_len=32, autocast=None
    )
    all_layers = working_bytes(on_meta(SMALL).model, micro_batch=2, seq_len=32, autocast=None)
    assert only_last < all_layers / 2


MEASURE = """
import json, sys, torch
from chatmusician.diagnosis.recipe.shapes import Vocabulary
from chatmusician.modeling.backbone import NewLlama
from chatmusician.modeling.lora import AllWeights, Lora
from chatmusician.modeling.optimizers import AdamWSettings

torch.set_num_threads(1)
settings = json.loads(sys.argv[1])
lora = Lora(**settings["lora"]) if settings["lora"] else AllWeights()

def peak():  # ru_maxrss would begin at what the process of the tests has
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

def train(backbone, rows, tokens):
    model = lora.attach(NewLlama(**backbone).build(Vocabulary(settings["vocabulary"])))
    optimizer = AdamWSettings(lr=1e-4).build(model.named_parameters())
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    for _ in range(2):
        output = model(input_ids=ids, use_cache=False)
        torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), ids.flatten(), reduction="sum").backward()
        del output
        optimizer.step()

train({**settings["backbone"], "layers": 1, "hidden_size": 16, "intermediate_size": 16}, 1, 8)
before = peak()
train(settings["backbone"], settings["rows"], settings["tokens"])
print(peak() - before)
"""


@pytest.mark.parametrize("lora", [None, {"r": 8, "alpha": 8}], ids=["all weights", "adapter"])
def test_the_estimate_is_what_a_real_run_takes(lora: dict[str, int] | None) -> None:
    """Two real steps of 13 million weights on the CPU in a process of their own, within 15%: 0.5 and 0.3 GB."""
    backbone = {"hidden_size": 256, "layers": 8, "heads": 4, "intermediate_size": 688, "max_length": 512}
    settings = {"backbone": {**backbone, "tied_embeddings": False}, "vocabulary": 12_000, "rows": 1, "tokens": 512}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps({**settings, "lora": lora})],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},  # what is freed is given back, not kept for later
        capture_output=True,
        text=True,
        check=True,
    )
    found = build_on_meta(
        backbone=NewLlama(**settings["backbone"]),  # type: ignore[arg-type] # its arguments
        lora=Lora(**lora) if lora else AllWeights(),
        optimizer=AdamWSettings(lr=1e-4),
        vocabulary=12_000,
    )
    weights = found.weights
    estimate = weights.frozen_bytes + 2 * weights.trained_bytes + weights.state_bytes
    estimate += working_bytes(found.model, micro_batch=1, seq_len=512, autocast=None)
    assert int(done.stdout) == pytest.approx(estimate, rel=0.15)
