"""Fused LoRA against PEFT's own layer, values and gradients."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from chatmusician.modeling.dropout import kept
from chatmusician.modeling.fast_step import take_faster_parts
from chatmusician.modeling.lora_products import FusedLora, LoraProduct
from chatmusician.modeling.plain_linear import products_of


def adapted(*, fused: bool, bias: bool = False, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """One linear layer 12 -> 8 with an adapter of rank 3 that does something."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8, bias=bias, dtype=dtype))
    model = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=["0"], **options))  # type: ignore[arg-type,assignment] # any module
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value)
    if fused:
        take_faster_parts(model, device=torch.device("cpu"), dtype=torch.float32)
    layer: Any = model.base_model.model[0]  # type: ignore[union-attr,index]
    return layer


def outcome(layer: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients of input, A and B."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.sin().sum().backward()
    return [y.detach(), x.grad, *(value.grad for value in layer.parameters() if value.requires_grad)]


def is_fused(y: torch.Tensor) -> bool:
    """Whether a fused product made ``y``, perhaps as another shape."""
    maker = y.grad_fn
    assert maker is not None
    makers = [maker, *(before for before, _ in maker.next_functions if before is not None)]
    return any("LoraProduct" in node.name() for node in makers)


def test_values_and_gradients_are_those_of_peft() -> None:
    x = torch.randn(2, 5, 12)
    plain, fused = adapted(fused=False), adapted(fused=True)
    assert isinstance(fused, FusedLora)
    assert plain.state_dict().keys() == fused.state_dict().keys()
    assert is_fused(fused(x))
    assert not is_fused(plain(x))
    expected, found = outcome(plain, x), outcome(fused, x)
    assert len(expected) == len(found) == 4
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_under_dropout_are_those_of_the_expression() -> None:
    torch.manual_seed(0)
    tokens, weight, a, b = (torch.randn(size, dtype=torch.float64) for size in ((5, 4), (3, 4), (2, 4), (3, 2)))
    keep = kept((5, 4), p=0.4)
    assert 0 < keep.sum() < 20
    trained = [value.requires_grad_() for value in (tokens, a, b)]
    by_hand = tokens @ weight.T + 1.7 * (tokens * keep) @ a.T @ b.T
    product = LoraProduct.apply(tokens, weight, a, b, keep, 1.7)
    torch.testing.assert_close(product, by_hand)
    expected = torch.autograd.grad(by_hand.cos().sum(), trained)
    for found, wanted in zip(torch.autograd.grad(product.cos().sum(), trained), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    layer = adapted(fused=True, lora_dropout=0.3)
    x = torch.ones(1, 12)
    layer.eval()
    whole = layer(x)
    assert torch.equal(whole, layer(x))
    layer.train()
    draws = layer(x.expand(40_000, 12))
    assert len(draws.unique(dim=0)) > 1000
    error = draws.std(0) / 40_000**0.5
    assert ((draws.mean(0) - whole[0]).abs() < 5 * error).all()


def test_projections_of_one_input_drop_on_their_own() -> None:
    first, second = (adapted(fused=True, lora_dropout=0.5) for _ in range(2))
    x = torch.randn(4, 12)
    assert not torch.equal(first(x), second(x))


def test_a_first_layer_needs_no_gradient_of_its_input() -> None:
    layer = adapted(fused=True, lora_dropout=0.5)
    x = torch.randn(4, 12)
    y = layer(x)
    assert is_fused(y)
    y.sum().backward()
    assert x.grad is None
    assert layer.lora_A["default"].weight.grad.any()


@pytest.mark.parametrize(
    "options",
    [{"use_dora": True}, {"bias": True}, {"lora_bias": True, "bias": True}, {"dtype": torch.bfloat16}],
    ids=["dora", "bias", "bias of the adapter", "mixed types"],
)
def test_what_is_not_that_expression_is_left_to_peft(options: dict[str, Any]) -> None:
    x = torch.randn(4, 12, dtype=options.get("dtype", torch.float32))
    if "dtype" in options:  # products in bfloat16 may not run on this CPU; PEFT would compute them, ours must not
        assert products_of(x) is None
        return
    plain, fused = adapted(fused=False, **options), adapted(fused=True, **options)
    assert not is_fused(fused(x))
    for a, b in zip(outcome(plain, x), outcome(fused, x), strict=True):
        assert torch.equal(a, b)


def test_hooks_of_the_layers_inside_are_kept() -> None:
    """ZeRO-3 and offloading bring a weight in a hook of the layer that holds it."""
    layer = adapted(fused=True)
    seen: list[str] = []
    layer.base_layer.register_forward_pre_hook(lambda *_: seen.append("called"))
    assert not is_fused(layer(torch.randn(4, 12)))
    assert seen == ["called"]


def test_merged_and_disabled_adapters_are_left_to_peft() -> None:
    layer = adapted(fused=True)
    x = torch.randn(4, 12)
    expected = layer(x)
    layer.merge()
    torch.testing.assert_close(layer(x), expected)
    layer.unmerge()
    layer.enable_adapters(False)
    assert torch.equal(layer(x), layer.base_layer(x))
