"""Tensors and keys of GGUF files: read back with gguf's reader, and computed with by llama.cpp."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_models import CHAT, QUESTION, TUNE, edit_json, fields_of, greedy, learn, make_llama, run_llama_cpp
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.tokenizers import load_tokenizer
from chatmusician.export.gguf_files import write_gguf
from chatmusician.export.gguf_vocabulary import LLAMA_CPP_TEMPLATE
from chatmusician.export.saving import save_model_folder
from chatmusician.generation.prompting import Prompt, encode_prompt

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")


def reordered(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of rows back in that of transformers: the even ones of each head, then the odd ones."""
    by_head = weight.reshape(heads, -1, weight.shape[-1])
    return np.concatenate([by_head[:, 0::2], by_head[:, 1::2]], axis=1).reshape(weight.shape)


NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def source_name(name: str) -> str:
    """transformers' name of a tensor, such as blk.1.attn_q.weight."""
    *layer, part, ending = name.split(".")
    return ".".join([f"model.layers.{layer[1]}"] if layer else []) + f"{'.' if layer else ''}{NAMES[part]}.{ending}"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_every_number_is_where_llama_cpp_looks_for_it(
    make_folder: Callable[..., Path], tmp_path: Path, kind: str, tied: bool
) -> None:
    folder = make_folder(tie_word_embeddings=tied)
    report = write_gguf(folder, tmp_path / "out.gguf", kind=kind)
    reader = gguf.GGUFReader(report.path)
    weights = load_file(folder / "model.safetensors")
    assert sorted(source_name(tensor.name) for tensor in reader.tensors) == sorted(weights)
    assert report.tensors == len(weights) == (20 if tied else 21)
    assert report.bytes == report.path.stat().st_size
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "q8_0": torch.float32}[kind]
    for tensor in reader.tensors:
        expected = weights[source_name(tensor.name)]
        assert tensor.tensor_type.name == ("F32" if expected.dim() == 1 else kind.upper())
        assert tensor.data_offset % 32 == 0
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(expected.shape)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            value = reordered(value, 4 if ".attn_q." in tensor.name else 2)
        if tensor.tensor_type.name == "Q8_0":
            # one step is the largest of 32 numbers / 127; rounded to nearest, and the step itself to float16
            steps = expected.reshape(-1, 32).abs().amax(1, keepdim=True) / 127
            error = (torch.tensor(value) - expected).reshape(-1, 32).abs()
            assert (error <= steps * (0.5 + 127 / 2048)).all()
        else:
            rounded = expected if expected.dim() == 1 else expected.to(dtype).float()
            assert np.array_equal(value, rounded.numpy())


def test_rows_of_the_two_halves_of_a_head_alternate(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(num_attention_heads=8, num_key_value_heads=4)  # heads of 8
    weights = load_file(folder / "model.safetensors")
    for name in ("q_proj", "k_proj", "v_proj"):
        weight = weights[f"model.layers.0.self_attn.{name}.weight"]
        weight[:] = torch.arange(len(weight))[:, None]
    save_file(weights, folder / "model.safetensors")
    path = write_gguf(folder, tmp_path / "out.gguf", kind="f16").path
    first = {
        tensor.name: tensor.data[:16, 0].tolist() for tensor in gguf.GGUFReader(path).tensors if tensor.n_elements > 99
    }
    assert first["blk.0.attn_q.weight"] == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]
    assert first["blk.0.attn_k.weight"] == first["blk.0.attn_q.weight"]
    assert first["blk.0.attn_v.weight"] == list(range(16))


def test_the_keys_say_what_the_config_says(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, rms_norm_eps=1e-5)
    fields = fields_of(write_gguf(folder, tmp_path / "reels.gguf", kind="q8_0").path)
    expected = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "reels",
        "general.file_type": 7,
        "general.quantization_version": 2,
        "llama.context_length": 256,
        "llama.embedding_length": 64,
        "llama.block_count": 2,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 5000.0,
        "llama.vocab_size": 330,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": LLAMA_CPP_TEMPLATE,
    }
    assert {name: fields[name] for name in expected} == expected
    assert fields["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert not [name for name in fields if "scaling" in name or "unknown_token" in name]


def test_rows_that_q8_0_cannot_divide_are_written_as_f16(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    report = write_gguf(make_folder(intermediate_size=80), tmp_path / "out.gguf", kind="q8_0")
    assert report.warnings[-1] == (
        "rows no multiple of 32, written as f16: blk.0.ffn_down.weight, blk.1.ffn_down.weight"
    )
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(report.path).tensors}
    assert types["blk.0.ffn_down.weight"] == "F16"
    assert types["blk.0.ffn_up.weight"] == "Q8_0"


def test_a_model_in_shards_of_mixed_dtypes_is_read_by_rows(tmp_path: Path, nano: PreTrainedTokenizerBase) -> None:
    """Blocks of 2**19 numbers: the embedding of 330 x 4096 has three of them, the queries two."""
    model = make_llama(len(nano), hidden_size=4096, num_attention_heads=32, num_key_value_heads=1, num_hidden_layers=1)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    folder = save_model_folder(
        model=model, tokenizer=nano, output=tmp_path / "model", dtype="bfloat16", max_shard_bytes=2**22
    )
    assert len(list(folder.glob("*.safetensors"))) > 4
    path = write_gguf(folder, tmp_path / "out.gguf", kind="f32").path
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    expected = {name: value.to(torch.bfloat16).float().numpy() for name, value in model.state_dict().items()}
    assert np.array_equal(tensors["token_embd.weight"], expected["model.embed_tokens.weight"])
    assert np.array_equal(tensors["output.weight"], expected["lm_head.weight"])
    queries = expected["model.layers.0.self_attn.q_proj.weight"]
    assert np.array_equal(reordered(tensors["blk.0.attn_q.weight"], 32), queries)


ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "other base": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
    "llama3": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "wide heads": {"head_dim": 32},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
    "one head of keys": {"num_key_value_heads": 1},
    "as many heads of keys": {"num_key_value_heads": 4},
}


@pytest.mark.parametrize("options", ROPES.values(), ids=list(ROPES))
def test_llama_cpp_computes_the_logits_of_transformers(
    make_folder: Callable[..., Path], tmp_path: Path, nano: PreTrainedTokenizerBase, options: dict[str, Any]
) -> None:
    """In float32 logits of about 2 agree to 1e-3 (1e-5 was measured); a wrong rotation or scale changes whole units."""
    folder = make_folder(**options)
    llama = run_llama_cpp(write_gguf(folder, tmp_path / "out.gguf", kind="f32").path, logits_all=True)
    ids = torch.randint(3, len(nano), (100,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = LlamaForCausalLM.from_pretrained(folder)(ids[None]).logits[0]
    llama.eval(ids.tolist())
    assert np.abs(llama.scores[:100] - expected.numpy()).max() < 1e-3


def test_old_spellings_of_the_rotary_embedding_are_read(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder()
    edit_json(
        folder / "config.json", rope_parameters=None, rope_theta=700.0, rope_scaling={"type": "linear", "factor": 3}
    )
    fields = fields_of(write_gguf(folder, tmp_path / "out.gguf", kind="f16").path)
    assert fields["llama.rope.freq_base"] == 700.0
    assert (fields["llama.rope.scaling.type"], fields["llama.rope.scaling.factor"]) == ("linear", 3.0)


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_greedy_answers_are_those_of_transformers(trained: Path, tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(trained)
    ids = list(encode_prompt(tokenizer, Prompt(text=QUESTION)))
    model = LlamaForCausalLM.from_pretrained(trained).eval()
    expected = model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=200, repetition_penalty=1.0, eos_token_id=1
    )
    expected = expected[0, len(ids) :].tolist()
    assert len(expected) > 24
    assert tokenizer.decode(expected) == f" {TUNE} </s>"
    llama = run_llama_cpp(write_gguf(trained, tmp_path / "out.gguf", kind=kind).path)
    assert greedy(llama, ids, len(expected)) == expected
    assert llama.token_eos() == expected[-1]


def test_a_sentencepiece_model_answers_as_in_transformers(
    llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    ids = llama_tokenizer(CHAT, add_special_tokens=False).input_ids
    model = learn(make_llama(32_000, initializer_range=0.05, tie_word_embeddings=True), ids)
    folder = save_model_folder(model=model, tokenizer=llama_tokenizer, output=tmp_path / "model")
    prompt = list(encode_prompt(llama_tokenizer, Prompt(text=QUESTION)))
    expected = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=200, eos_token_id=2)
    expected = expected[0, len(prompt) :].tolist()
    assert len(expected) > 24
    assert llama_tokenizer.decode(prompt + expected) == CHAT.strip()
    report = write_gguf(folder, tmp_path / "out.gguf", kind="f16")
    llama = run_llama_cpp(report.path)
    assert greedy(llama, prompt, len(expected)) == expected
    # and from text, through the file's own template, tokenizer and end
    answer = llama.create_chat_completion([{"role": "user", "content": QUESTION}], temperature=0.0, top_k=1)
    assert answer["choices"][0]["message"]["content"] == f" {TUNE} "
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == len(prompt)


def test_a_chat_with_llama_cpp_is_tokenised_as_in_training(trained: Path, tmp_path: Path) -> None:
    llama = run_llama_cpp(write_gguf(trained, tmp_path / "out.gguf", kind="f16").path)
    answer = llama.create_chat_completion([{"role": "user", "content": QUESTION}], temperature=0.0, top_k=1)
    assert answer["choices"][0]["message"]["content"] == f" {TUNE} "
