from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.modeling.backbone import NewLlama, PretrainedLlama
from chatmusician.modeling.lora import AllWeights, Lora


def new(**options: int) -> NewLlama:
    sizes = {"hidden_size": 16, "layers": 2, "heads": 4, "intermediate_size": 24, "max_length": 32}
    return NewLlama(**{**sizes, **options})  # type: ignore[arg-type]  # all are numbers or flags


@pytest.fixture(scope="module")
def folder(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    new().build(tokenizer).save_pretrained(path)
    return path


def test_a_new_model_has_the_sizes_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    model = new(key_value_heads=2, tied_embeddings=False).build(tokenizer)
    assert isinstance(model, LlamaForCausalLM)
    assert model.training
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes["model.embed_tokens.weight"] == shapes["lm_head.weight"] == (len(tokenizer), 16)
    assert shapes["model.layers.1.self_attn.q_proj.weight"] == (16, 16)
    assert shapes["model.layers.1.self_attn.k_proj.weight"] == (8, 16)
    assert shapes["model.layers.0.mlp.up_proj.weight"] == (24, 16)
    assert "model.layers.2.mlp.up_proj.weight" not in shapes
    config = model.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 2)
    assert config.max_position_embeddings == 32


def test_tied_embeddings_are_one_matrix(tokenizer: PreTrainedTokenizerBase) -> None:
    model = new().build(tokenizer)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_attention_is_the_one_asked_for(tokenizer: PreTrainedTokenizerBase, attention: str) -> None:
    backbone = NewLlama(hidden_size=16, layers=1, heads=2, intermediate_size=24, max_length=32, attention=attention)
    assert backbone.build(tokenizer).config._attn_implementation == attention


def test_heads_must_divide_the_width(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match=r"model.backbone.hidden_size=16 is not a multiple of heads=3"):
        new(heads=3).build(tokenizer)


def test_a_pretrained_model_comes_in_training_mode(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = PretrainedLlama(path=str(folder)).build(tokenizer)
    torch.manual_seed(0)
    written = new().build(tokenizer)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), written.parameters(), strict=True))
    assert PretrainedLlama(path=str(folder), dtype="bfloat16").build(tokenizer).dtype == torch.bfloat16


@pytest.mark.parametrize(("checkpointing", "passes"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("adapter", [AllWeights(), Lora(r=2, alpha=2)])
def test_gradient_checkpointing_computes_every_layer_twice(
    folder: Path, tokenizer: PreTrainedTokenizerBase, adapter: AllWeights | Lora, checkpointing: bool, passes: int
) -> None:
    model = PretrainedLlama(path=str(folder), gradient_checkpointing=checkpointing).build(tokenizer)
    calls = [0, 0]
    for index, layer in enumerate(model.model.layers):

        def count(*_: object, index: int = index) -> None:
            calls[index] += 1

        layer.mlp.register_forward_pre_hook(count)
    adapter.attach(model)(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert calls == [passes, passes]


def test_gradient_checkpointing_changes_no_gradient(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = PretrainedLlama(path=str(folder), gradient_checkpointing=checkpointing).build(tokenizer)
        model(input_ids=torch.tensor([[5, 6, 7]])).logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_folder_without_model_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match=r"model.backbone.path='.*' cannot be loaded .*give a model folder") as failure:
        PretrainedLlama(path=str(tmp_path)).build(tokenizer)
    assert "\n" not in str(failure.value)


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    larger = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>")
    larger.add_tokens(["new"])
    with pytest.raises(UserError, match=r"the tokenizer has 2.. pieces and '.*' only 2.. embeddings"):
        PretrainedLlama(path=str(folder)).build(larger)
