import math

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.packing import IGNORED
from chatmusician.modeling.backbone import NewLlama
from chatmusician.modeling.lora import Lora
from chatmusician.modeling.loss import hidden_states, summed_loss

X = IGNORED
POSITIONS = [0, 1, 2, 0, 1, 0, 1, 2]  # the row drawn in chatmusician.data.packing: a b c, d e, padding
IDS = [11, 12, 13, 14, 15, 2, 2, 2]
TARGETS = [12, 13, X, 15, X, X, X, X]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(tokenizer: PreTrainedTokenizerBase, request: pytest.FixtureRequest) -> LlamaForCausalLM:
    torch.manual_seed(0)
    backbone = NewLlama(hidden_size=32, layers=2, heads=2, intermediate_size=48, max_length=32, attention=request.param)
    model = backbone.build(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3  # far from uniform
    return model


def batch_of(ids: list[int], targets: list[int] = TARGETS, positions: list[int] = POSITIONS) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "targets": torch.tensor([targets]),
    }


def test_a_document_does_not_see_the_ones_before_it(model: LlamaForCausalLM) -> None:
    """Changing a b c leaves d e and its logits as they were, to the bit; and d e is as if it stood alone."""
    with torch.no_grad():
        before = hidden_states(model, batch_of(IDS))
        after = hidden_states(model, batch_of([21, 22, 23, *IDS[3:]]))
        alone = hidden_states(model, batch_of(IDS[3:5], [X, X], [0, 1]))
    assert not torch.equal(before[:, :3], after[:, :3])
    assert torch.equal(before[:, 3:], after[:, 3:])
    assert torch.equal(model.lm_head(before[:, 3:]), model.lm_head(after[:, 3:]))
    torch.testing.assert_close(before[:, 3:5], alone)


def test_a_document_is_read_from_left_to_right(model: LlamaForCausalLM) -> None:
    with torch.no_grad():
        before = hidden_states(model, batch_of(IDS))
        after = hidden_states(model, batch_of([11, 12, 23, *IDS[3:]]))
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


def test_the_loss_is_summed_over_the_trained_tokens(model: LlamaForCausalLM) -> None:
    nats, tokens = summed_loss(model, batch_of(IDS))
    first = model(input_ids=torch.tensor([[11, 12]])).logits.log_softmax(-1)
    second = model(input_ids=torch.tensor([[14]])).logits.log_softmax(-1)
    by_hand = -(first[0, 0, 12] + first[0, 1, 13] + second[0, 0, 15])
    assert tokens == 3
    torch.testing.assert_close(nats, by_hand)


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    model = NewLlama(hidden_size=8, layers=1, heads=1, intermediate_size=8, max_length=8).build(tokenizer)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    nats, tokens = summed_loss(model, batch_of(IDS))
    assert nats.item() == pytest.approx(3 * math.log(len(tokenizer)), rel=1e-6)
    assert tokens == 3


def test_logits_are_computed_for_trained_positions_only(model: LlamaForCausalLM) -> None:
    seen: list[torch.Size] = []
    hook = model.lm_head.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    summed_loss(model, batch_of(IDS))
    hook.remove()
    assert seen == [torch.Size([3, 32])]


def test_a_row_without_trained_tokens_costs_nothing(model: LlamaForCausalLM) -> None:
    nats, tokens = summed_loss(model, batch_of(IDS, [X] * 8))
    nats.backward()
    assert (nats.item(), tokens) == (0.0, 0)


def test_an_adapter_is_read_through(tokenizer: PreTrainedTokenizerBase) -> None:
    base = NewLlama(hidden_size=16, layers=1, heads=1, intermediate_size=16, max_length=8).build(tokenizer)
    before = hidden_states(base, batch_of(IDS))
    adapted = Lora(r=2, alpha=4).attach(base)
    assert torch.equal(hidden_states(adapted, batch_of(IDS)), before)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.fill_(0.5)
    assert not torch.equal(hidden_states(adapted, batch_of(IDS)), before)
