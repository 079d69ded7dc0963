"""Attention by document against Transformers' masks, values and gradients."""

from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.packing import IGNORED
from chatmusician.modeling.backbone import NewLlama
from chatmusician.modeling.document_attention import DocumentAttention, document_lengths
from chatmusician.modeling.fast_step import take_faster_parts
from chatmusician.modeling.loss import hidden_states, summed_loss

POSITIONS = torch.tensor([[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 0]])


def make(tokenizer: PreTrainedTokenizerBase, *, faster: bool, attention: str = "sdpa") -> LlamaForCausalLM:
    torch.manual_seed(0)
    backbone = NewLlama(
        hidden_size=32,
        layers=2,
        heads=4,
        key_value_heads=2,
        intermediate_size=48,
        max_length=32,
        tied_embeddings=False,
        attention=attention,
    )
    model = backbone.build(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3  # far from uniform
    if faster:
        take_faster_parts(model, device=torch.device("cpu"), dtype=torch.float32)
    return model


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(5, 17).view(2, 6)
    targets = torch.tensor([[6, IGNORED, 8, 9, 10, IGNORED], [12, 13, 14, 15, IGNORED, IGNORED]])
    return {"input_ids": ids, "position_ids": POSITIONS, "targets": targets}


def gradients(model: Any) -> dict[str, torch.Tensor]:
    summed_loss(model, batch())[0].backward()
    return {name: value.grad for name, value in model.named_parameters()}


def test_the_documents_of_rows_one_after_the_other() -> None:
    """The row drawn in the module, and one with a document of one token at its end."""
    assert document_lengths(POSITIONS) == [2, 4, 5, 1]
    assert document_lengths(torch.tensor([[0, 1, 2], [3, 4, 5]])) == [3, 3]  # a row starts a document in any case
    assert document_lengths(torch.tensor([[4, 5, 0]])) == [2, 1]


def test_values_and_gradients_are_those_of_a_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    masked, faster = make(tokenizer, faster=False), make(tokenizer, faster=True)
    torch.testing.assert_close(hidden_states(faster, batch()), hidden_states(masked, batch()))
    expected = gradients(masked)
    for name, found in gradients(faster).items():
        torch.testing.assert_close(found, expected[name], msg=name)


def test_no_document_sees_another(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make(tokenizer, faster=True)
    other = batch()
    other["input_ids"][0, :2] = 20
    with torch.no_grad():
        before, after = hidden_states(model, batch()), hidden_states(model, other)
    assert not torch.equal(before[0, :2], after[0, :2])
    assert torch.equal(before[0, 2:], after[0, 2:])
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(tokenizer: PreTrainedTokenizerBase, reentrant: bool) -> None:
    expected = gradients(make(tokenizer, faster=True))
    model = make(tokenizer, faster=True)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    for name, found in gradients(model).items():
        assert torch.equal(found, expected[name]), name


def test_a_call_without_documents_is_llamas_own(tokenizer: PreTrainedTokenizerBase) -> None:
    """Generation with a cache, left padding included, gives the same tokens."""
    ids = torch.tensor([[2, 2, 5, 6, 7], [8, 9, 10, 11, 12]])
    mask = (ids != 2).long()
    answers = [
        make(tokenizer, faster=faster).eval().generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
        for faster in (False, True)
    ]
    assert answers[0].shape[1] > 5
    assert torch.equal(*answers)


def test_another_attention_stays(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make(tokenizer, faster=True, attention="eager")
    assert not any(isinstance(module, DocumentAttention) for module in model.modules())


def test_the_configuration_and_the_weights_do_not_tell(tokenizer: PreTrainedTokenizerBase) -> None:
    plain, faster = make(tokenizer, faster=False), make(tokenizer, faster=True)
    assert plain.config.to_json_string() == faster.config.to_json_string()
    assert plain.state_dict().keys() == faster.state_dict().keys()
