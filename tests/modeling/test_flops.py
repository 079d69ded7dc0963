import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from chatmusician.modeling.flops import MatrixWeights, matrix_product_peak, matrix_weights, training_flops
from chatmusician.modeling.lora import Lora

CONFIG = LlamaConfig(
    vocab_size=10,
    hidden_size=4,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=8,
    tie_word_embeddings=False,
)
LAYER = 4 * 4 * 4 + 3 * 4 * 8
"""Weights of q, k, v, o and of gate, up, down."""


def test_weights_of_a_whole_model_are_counted_by_hand() -> None:
    found = matrix_weights(LlamaForCausalLM(CONFIG))
    assert found == MatrixWeights(layers=2, width=4, frozen=0, trained=2 * LAYER, head=40, head_trained=True)


def test_an_adapter_is_trained_beside_a_frozen_base() -> None:
    found = matrix_weights(Lora(r=1, alpha=1, target_modules=["q_proj"]).attach(LlamaForCausalLM(CONFIG)))
    assert found == MatrixWeights(layers=2, width=4, frozen=2 * LAYER, trained=2 * 8, head=40, head_trained=False)


def test_a_head_beside_the_adapter_is_trained() -> None:
    model = Lora(r=1, alpha=1, target_modules=["q_proj"], modules_to_save=["lm_head"]).attach(LlamaForCausalLM(CONFIG))
    assert matrix_weights(model).head_trained


@pytest.mark.parametrize(("head_trained", "head"), [(True, 3 * 6 * 40), (False, 3 * 4 * 40)])
def test_operations_of_the_row_drawn_in_the_module(head_trained: bool, head: int) -> None:
    weights = MatrixWeights(layers=2, width=4, frozen=100, trained=10, head=40, head_trained=head_trained)
    position_ids = torch.tensor([[0, 1, 0, 1, 2, 3]])
    pairs = int((position_ids + 1).sum())
    assert pairs == 13
    assert training_flops(weights, tokens=6, trained_tokens=3, attended_pairs=pairs) == 6 * 460 + head + 12 * 2 * 4 * 13


def test_a_device_does_some_operations_a_second() -> None:
    assert matrix_product_peak(device=torch.device("cpu"), dtype=torch.float32, size=64) > 1e6
