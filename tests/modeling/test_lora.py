from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.modeling.backbone import NewLlama
from chatmusician.modeling.lora import ALL_LINEAR, AllWeights, Lora
from chatmusician.modeling.optimizers import trained_parameters

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    torch.manual_seed(0)
    backbone = NewLlama(hidden_size=16, layers=2, heads=2, intermediate_size=24, max_length=32, tied_embeddings=False)
    return backbone.build(tokenizer)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_an_adapter_begins_as_the_base(model: LlamaForCausalLM) -> None:
    before = logits(model)
    adapted = Lora(r=4, alpha=8).attach(model)
    assert torch.equal(logits(adapted), before)
    parts = {name: value for name, value in adapted.named_parameters() if "lora_" in name}
    assert all(not value.any() for name, value in parts.items() if "lora_B" in name)
    assert all(value.any() for name, value in parts.items() if "lora_A" in name)
    assert len(parts) == 2 * 2 * 7  # A and B, in 2 layers, for 7 projections


def test_only_the_adapter_is_trained(model: LlamaForCausalLM) -> None:
    adapted = Lora(r=4, alpha=8).attach(model)
    names = [name for name, _ in trained_parameters(adapted)]
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    # r x (in + out): q k v o 16 + 16, gate up down 16 + 24; two layers
    assert sum(value.numel() for _, value in trained_parameters(adapted)) == 2 * 4 * (4 * 32 + 3 * 40)
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names} == set(ALL_LINEAR)


def test_the_scale_is_alpha_over_r(model: LlamaForCausalLM) -> None:
    """With A and B set by hand, one projection is W x + (8 / 4) B A x."""
    adapted = Lora(r=4, alpha=8, target_modules=["q_proj"]).attach(model)
    projection = adapted.base_model.model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        projection.lora_B["default"].weight.normal_()
    x = torch.randn(3, 16)
    a, b, w = projection.lora_A["default"].weight, projection.lora_B["default"].weight, projection.base_layer.weight
    torch.testing.assert_close(projection(x), x @ w.T + 2 * x @ a.T @ b.T)


def test_modules_may_be_trained_whole(model: LlamaForCausalLM) -> None:
    adapted = Lora(r=2, alpha=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]).attach(model)
    whole = sorted(name for name, _ in trained_parameters(adapted) if "lora_" not in name)
    assert [name.split(".modules_to_save")[0].rsplit(".", 1)[1] for name in whole] == ["lm_head", "embed_tokens"]


def test_dropout_works_in_training_and_not_in_evaluation(model: LlamaForCausalLM) -> None:
    adapted = Lora(r=4, alpha=64, dropout=0.5).attach(model)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.normal_()
    assert adapted.training
    assert not torch.equal(logits(adapted), logits(adapted))
    adapted.eval()
    assert torch.equal(logits(adapted), logits(adapted))


def test_without_adapter_every_weight_is_trained(model: LlamaForCausalLM) -> None:
    assert AllWeights().attach(model) is model
    assert len(list(trained_parameters(model))) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0, "alpha": 1}, "lora.r=0: the rank is at least 1"),
        ({"r": 1, "alpha": 1, "dropout": 1.0}, "lora.dropout=1.0: use a probability below 1"),
        ({"r": 1, "alpha": 1, "dropout": -0.1}, "lora.dropout=-0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Lora(**options)


def test_a_target_that_is_not_there_is_refused(model: LlamaForCausalLM) -> None:
    with pytest.raises(UserError, match=r"the adapter does not fit the model: .*c_attn"):
        Lora(r=1, alpha=1, target_modules=["c_attn"]).attach(model)
