"""What only a GPU computes, against what PEFT and Transformers compute there."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import tiny_llama

from chatmusician.data.packing import IGNORED
from chatmusician.modeling.dropout import exact, kept
from chatmusician.modeling.fast_step import take_faster_parts
from chatmusician.modeling.lora_products import FusedLora
from chatmusician.modeling.loss import hidden_states, summed_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA can use")

GPU = torch.device("cuda", 0)
POSITIONS = torch.tensor([[*range(9), *range(14), *range(9)], [*range(32)]])
KINDS = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products of float32 in float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(64).view(2, 32) % 30
    targets = ids.roll(-1, 1).masked_fill(ids % 3 == 0, IGNORED)
    return {
        name: value.to(GPU) for name, value in (("input_ids", ids), ("position_ids", POSITIONS), ("targets", targets))
    }


def adapted(kind: torch.dtype, *, faster: bool, dropout: float = 0.0) -> Any:
    """A tiny Llama on the GPU with an adapter that does something, in float32 beside a base of ``kind``."""
    torch.manual_seed(0)
    base = tiny_llama(32, initializer_range=0.05).to(kind)  # gradients that float16 can hold without a scaled loss
    names = ["q_proj", "v_proj", "o_proj", "down_proj"]
    model: Any = get_peft_model(base, LoraConfig(r=4, lora_alpha=16, lora_dropout=dropout, target_modules=names))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    model.to(GPU).train()
    if faster:
        take_faster_parts(model, device=GPU, dtype=kind)
    return model


def gradients(model: Any, kind: torch.dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    with torch.autocast("cuda", kind, enabled=kind != torch.float32):
        loss, _ = summed_loss(model, batch())
    (loss / 8).backward()
    return loss.detach(), {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_peft_and_transformers(kind: torch.dtype) -> None:
    plain, faster = adapted(kind, faster=False), adapted(kind, faster=True)
    assert any(isinstance(module, FusedLora) for module in faster.modules())
    by_document = kind != torch.float32 and torch.cuda.get_device_capability(GPU) >= (8, 0)
    assert faster.config._attn_implementation == ("varlen" if by_document else "sdpa")
    (loss, expected), (found_loss, found) = gradients(plain, kind), gradients(faster, kind)
    near = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}[kind]
    assert found_loss.item() == pytest.approx(loss.item(), rel=near / 10)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert (value - expected[name]).norm() <= near * expected[name].norm(), name


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_no_document_sees_another(kind: torch.dtype) -> None:
    model, other = adapted(kind, faster=True), batch()
    other["input_ids"][0, :9] = 20
    with torch.no_grad(), torch.autocast("cuda", kind):
        before, after = hidden_states(model, batch()), hidden_states(model, other)
    differs = (before != after).any(-1)
    assert differs[0, 1:9].all()
    assert not differs[0, 9:].any()
    assert not differs[1].any()


def test_dropout_is_the_same_when_a_layer_is_computed_again() -> None:
    """So gradient checkpointing changes nothing but the order of sums in embeddings."""
    outcomes = []
    for checkpointing in (False, True):
        model = adapted(torch.bfloat16, faster=True, dropout=0.3)
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
        torch.manual_seed(7)
        outcomes.append(gradients(model, torch.bfloat16))
    assert outcomes[0][0] == outcomes[1][0]
    for name, value in outcomes[0][1].items():
        torch.testing.assert_close(value, outcomes[1][1][name], msg=name)


def test_the_share_that_is_dropped() -> None:
    torch.manual_seed(0)
    keep = kept((1000, 1000), p=0.1, device=GPU)
    assert keep.dtype == torch.bool
    assert keep.device == GPU
    assert 1 - keep.float().mean().item() == pytest.approx(exact(0.1), abs=0.0012)
