import pytest
import torch
from tiny_models import tiny_llama

from chatmusician.modeling.attention import ATTENTIONS, NO_MASK, VARLEN, attention_inputs, document_bounds
from chatmusician.modeling.fast_step import take_faster_parts
from chatmusician.modeling.loss import hidden_states

POSITIONS = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]])
IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
BATCH = {"input_ids": IDS, "position_ids": POSITIONS}


def test_the_bounds_in_the_docstring() -> None:
    bounds = document_bounds(POSITIONS)
    assert bounds["cu_seq_lens_q"].tolist() == bounds["cu_seq_lens_k"].tolist() == [0, 3, 5, 9, 10]
    assert bounds["cu_seq_lens_q"].dtype == torch.int32
    assert (bounds["max_length_q"], bounds["max_length_k"]) == (4, 4)


@pytest.mark.parametrize("implementation", [*ATTENTIONS, VARLEN])
def test_rows_are_laid_end_to_end_for_flash_kernels_alone(implementation: str) -> None:
    inputs = attention_inputs(implementation, BATCH)
    if implementation != VARLEN and not implementation.startswith("flash"):
        assert inputs.keys() == BATCH.keys()
        assert inputs["input_ids"] is IDS
        return
    assert inputs["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3, 0]]
    assert inputs["cu_seq_lens_q"].tolist() == [0, 3, 5, 9, 10]
    assert inputs.get("attention_mask") is (NO_MASK if implementation == VARLEN else None)


def test_one_long_row_gives_what_its_rows_give() -> None:
    """So a flash kernel, which is told the same bounds, computes the same. sdpa finds the bounds in the positions."""
    model = tiny_llama(32)
    rows = hidden_states(model, BATCH)
    assert rows.shape == (2, 5, 64)
    one = model.model(input_ids=IDS.reshape(1, -1), position_ids=POSITIONS.reshape(1, -1), use_cache=False)
    torch.testing.assert_close(one.last_hidden_state.reshape(2, 5, 64), rows)


def test_documents_of_several_rows_do_not_see_each_other() -> None:
    model = tiny_llama(32)
    changed = {
        **BATCH,
        "input_ids": IDS.index_put((torch.tensor([0, 1]), torch.tensor([0, 2])), torch.tensor([20, 21])),
    }
    differs = (hidden_states(model, BATCH) != hidden_states(model, changed)).any(dim=-1)
    assert differs.tolist() == [[True, True, True, False, False], [False, False, True, True, False]]


def test_without_bounds_pytorchs_flash_kernel_gives_way_to_sdpa() -> None:
    """As when a model that is trained with it answers: rows of several lengths, padded at their left, with a cache."""
    from chatmusician.modeling import varlen_attention  # noqa: F401 -- makes it known to Transformers

    expected, model = tiny_llama(32), tiny_llama(32)
    model.config._attn_implementation = VARLEN
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    options = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 6, "output_logits": True}
    answers = [of.generate(IDS, return_dict_in_generate=True, **options) for of in (expected, model)]
    assert answers[0].sequences.tolist() == answers[1].sequences.tolist()
    torch.testing.assert_close(answers[0].logits, answers[1].logits)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [({}, torch.float32), ({"attention_dropout": 0.1}, torch.bfloat16)],
    ids=["32 bits", "dropout"],
)
def test_what_pytorchs_flash_kernel_cannot_compute_keeps_its_attention(
    options: dict[str, float], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))  # as if there were a new GPU
    model = tiny_llama(32, **options)
    take_faster_parts(model, device=torch.device("cuda", 0), dtype=dtype)
    assert model.config._attn_implementation == "sdpa"
    other = tiny_llama(32)
    take_faster_parts(other, device=torch.device("cuda", 0), dtype=torch.bfloat16)
    assert other.config._attn_implementation == VARLEN
