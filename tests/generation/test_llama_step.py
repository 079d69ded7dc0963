import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import make_model
from transformers import DynamicCache, LlamaForCausalLM

from chatmusician.generation.cache import AlignedCache
from chatmusician.generation.llama_step import LlamaStep


def prefill(model: LlamaForCausalLM, ids: list[int]) -> DynamicCache:
    cache = DynamicCache()
    model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
    return cache


@torch.inference_mode()
def test_rows_of_a_batch_get_the_logits_of_each_text_alone() -> None:
    """Rows join at lengths 3, 5 and 1, take two steps, the first leaves, and the two others take a third."""
    model = make_model(40)
    texts = [[3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15], [16, 17, 18, 19]]
    lengths = [3, 5, 1]
    cache, step = AlignedCache(rows=3), LlamaStep(model)
    for text, length in zip(texts, lengths, strict=True):
        cache.join(prefill(model, text[:length]))

    def check(rows: list[int], taken: int) -> None:
        cache.prepare()
        tokens = torch.tensor([texts[row][lengths[row] + taken] for row in rows])
        logits = step(tokens, torch.tensor([lengths[row] + taken for row in rows]), cache)
        cache.advance()
        for row, found in zip(rows, logits, strict=True):
            alone = model(input_ids=torch.tensor([texts[row][: lengths[row] + taken + 1]])).logits[0, -1]
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)

    check([0, 1, 2], 0)
    check([0, 1, 2], 1)
    cache.leave(0)
    check([2, 1], 2)


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [[1], [7], [2, 1, 7, 3]])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_prompts_get_the_logits_and_the_caches_of_each_alone(lengths: list[int], kv_heads: int) -> None:
    model = make_model(40, num_key_value_heads=kv_heads)
    texts = [torch.arange(3 + length, 3 + 2 * length) for length in lengths]
    prefills = [DynamicCache() for _ in texts]
    logits = LlamaStep(model).prompts(texts, prefills)
    for text, found, ours in zip(texts, prefills, logits, strict=True):
        expected = DynamicCache()
        alone = model(input_ids=text[None], past_key_values=expected, use_cache=True).logits[0, -1]
        torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-4)
        assert found.get_seq_length() == len(text)
        for mine, theirs in zip(found.layers, expected.layers, strict=True):
            torch.testing.assert_close(mine.keys, theirs.keys, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(mine.values, theirs.values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("hidden_act", "gelu"), ("attention_bias", True), ("rope_parameters", {"rope_type": "dynamic"})],
)
def test_models_of_another_form_are_left_to_transformers(setting: str, value: object) -> None:
    model = make_model(40)
    assert LlamaStep.suits(model)
    setattr(model.config, setting, value)
    assert not LlamaStep.suits(model)


def test_unmerged_adapters_are_left_to_transformers() -> None:
    assert not LlamaStep.suits(get_peft_model(make_model(40), LoraConfig(target_modules=["q_proj"])))
    injected = get_peft_model(make_model(40), LoraConfig(target_modules=["q_proj"])).get_base_model()
    assert not LlamaStep.suits(injected)
