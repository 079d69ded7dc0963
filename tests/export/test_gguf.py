"""GGUF files: read back with gguf's reader, run with llama.cpp, and compared with what transformers computes."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chatmusician.data.prompts import Turn, format_answer, format_prompt, format_question
from chatmusician.data.tokenizers import load_tokenizer, train_bpe
from chatmusician.errors import UserError
from chatmusician.export.gguf_files import write_gguf
from chatmusician.export.gguf_vocabulary import LLAMA_CPP_TEMPLATE
from chatmusician.export.ollama import OLLAMA_TEMPLATE, write_modelfile
from chatmusician.export.saving import save_model_folder
from chatmusician.generation.prompting import Prompt, encode_prompt

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")

QUESTION = "Compose a reel in G."
TUNE = "X:1\nL:1/8\nM:C|\nK:G\n|: G2BG dGBd | gfdc A2GF :|\nABcA (3Bcd ef | g2fg edBA |]\n"
CHAT = format_question(QUESTION) + format_answer(TUNE)
PLAIN = (
    "Human: What is 12 plus 345?",
    "It's the reel's 2nd part, isn't it\n\n\nX:1\nK:D\n|:d2fd Adfd|",
    "Café — naïve ♯ 音楽 🎼",
    "two  spaces,   three\t\ttabs \n  and lines ",
    "X:1\r\nK:D",
)
"""Texts that begin with no space."""


def make_llama(vocabulary: int, **options: Any) -> LlamaForCausalLM:
    """Two layers with random weights, large enough that all of them matter; norms and biases too are random."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**settings, **options})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.rand(parameter.shape) + 0.5)
    return model


def learn(model: LlamaForCausalLM, ids: list[int]) -> LlamaForCausalLM:
    """Train a model until it knows a text by heart.

    A random model's best two tokens are often closer than float16 rounds. One that knows its text leaves more than 1
    between the logits of the right token and of the next (5 for the nano model), and what llama.cpp computes differs
    from it by 0.005 in f16, 0.05 in bf16 and 0.12 in q8_0: greedy decoding has to agree to the last token.
    """
    batch = torch.tensor([ids])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(100):
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        best = model(batch).logits[0, :-1].topk(2).values
    assert (best[10:, 0] - best[10:, 1]).min() > 1
    return model


@pytest.fixture(scope="module")
def nano() -> PreTrainedTokenizerBase:
    return train_bpe([CHAT, "Café ♯ 音楽"], vocab_size=330)


@pytest.fixture(scope="module")
def trained(nano: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano model that answers QUESTION with TUNE."""
    ids = nano(CHAT, add_special_tokens=False).input_ids
    model = learn(make_llama(len(nano), initializer_range=0.05, tie_word_embeddings=True), ids)
    return save_model_folder(model=model, tokenizer=nano, output=tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sentencepiece vocabulary of 32,000 tokens, LLaMA's kind, as transformers saves it."""
    spec = find_spec("mistral_common")
    assert spec is not None and spec.origin is not None
    folder = tmp_path_factory.mktemp("sentencepiece")
    shutil.copyfile(Path(spec.origin).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


@pytest.fixture(scope="module")
def llama_tokenizer(sentencepiece: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(sentencepiece)


@pytest.fixture
def make_folder(tmp_path: Path, nano: PreTrainedTokenizerBase) -> Callable[..., Path]:
    """Save a random model; ``options`` go to LlamaConfig."""

    def make(tokenizer: PreTrainedTokenizerBase = nano, *, vocabulary: int | None = None, **options: Any) -> Path:
        model = make_llama(vocabulary or len(tokenizer), **options)
        return save_model_folder(model=model, tokenizer=tokenizer, output=tmp_path / "model", overwrite=True)

    return make


def edit_json(path: Path, **changes: Any) -> None:
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def fields_of(path: Path) -> dict[str, Any]:
    """Keys and values; the tokens as bytes, of which not all are UTF-8."""
    fields = gguf.GGUFReader(path).fields
    tokens = fields.pop("tokenizer.ggml.tokens")
    found = {name: field.contents() for name, field in fields.items()}
    return {**found, "tokenizer.ggml.tokens": [tokens.parts[i].tobytes() for i in tokens.data]}


def run_llama_cpp(path: Path, **options: Any) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    return llama_cpp.Llama(str(path), verbose=False, n_threads=2, n_ctx=256, type_k=0, type_v=0, **options)


def ids_in_llama_cpp(path: Path, texts: list[str]) -> list[list[int]]:
    llama = run_llama_cpp(path, vocab_only=True)
    return [llama.tokenize(text.encode(), add_bos=True, special=True) for text in texts]


def greedy(llama: Any, ids: list[int], count: int) -> list[int]:
    drawn = llama.generate(ids, top_k=1, temp=0.0, repeat_penalty=1.0)
    return [token for token, _ in zip(drawn, range(count), strict=False)]


# ---- tensors and keys


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


# ---- what llama.cpp computes


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


# ---- text


CHATS = [
    Prompt(text=QUESTION),
    Prompt(text="Add  chords:\n" + TUNE),
    Prompt(text="Café ♯?", history=(Turn(question=QUESTION, answer=TUNE),)),
    Prompt(text=" spaces around ", history=(Turn(question="a", answer="b"), Turn(question="c\n", answer=" d"))),
]


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    found = []
    for turn in prompt.history:
        found += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer or ""}]
    return [*found, {"role": "user", "content": prompt.text}]


def render(template: str, messages: list[dict[str, str]], **values: Any) -> str:
    return ImmutableSandboxedEnvironment().from_string(template).render(messages=messages, **values)


def save_official(tokenizer: PreTrainedTokenizerBase, folder: Path) -> PreTrainedTokenizerBase:
    """The same vocabulary with a normalizer that puts a space before every piece of text, as LLaMA2's own file has."""
    tokenizer.save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"] = None
    steps = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend = Tokenizer.from_str(json.dumps(content))
    backend.normalizer = steps
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_sentencepiece_text_gets_the_ids_of_transformers(
    make_folder: Callable[..., Path], llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = make_folder(llama_tokenizer, hidden_size=32)
    report = write_gguf(folder, tmp_path / "out.gguf", kind="q8_0")
    assert (report.vocabulary, report.tokens, report.padding) == ("llama", 32_000, 0)
    (warning,) = report.warnings
    assert "the chat template begins with one, and so should a text of your own" in warning
    fields = fields_of(report.path)
    assert fields["tokenizer.ggml.tokens"][:5] == [b"<unk>", b"<s>", b"</s>", b"<0x00>", b"<0x01>"]
    pieces = llama_tokenizer.convert_ids_to_tokens(range(32_000))
    assert fields["tokenizer.ggml.tokens"] == [piece.encode() for piece in pieces]
    # unknown, control, control, 256 bytes, and all others normal
    assert fields["tokenizer.ggml.token_type"] == [2, 3, 3] + [6] * 256 + [1] * 31_741
    assert fields["tokenizer.ggml.unknown_token_id"] == 0
    assert not fields["tokenizer.ggml.add_space_prefix"]
    with_marks = ["</s> Assistant: a </s>  b </s>\n</s>c<s>", " a leading space", "", TUNE + " </s> " + TUNE]
    texts = [*PLAIN, TUNE, CHAT, CHAT * 2, *with_marks]
    spaced = [text if text in ("", with_marks[0], with_marks[1]) else f" {text}" for text in texts]
    found = ids_in_llama_cpp(report.path, spaced)
    assert found == [llama_tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    rendered = [
        render(fields["tokenizer.chat_template"], messages_of(chat), add_generation_prompt=True) for chat in CHATS[:3]
    ]
    assert ids_in_llama_cpp(report.path, rendered) == [list(encode_prompt(llama_tokenizer, chat)) for chat in CHATS[:3]]


def test_a_tokenizer_that_prepends_everywhere_needs_no_leading_space(
    make_folder: Callable[..., Path], llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    official = save_official(llama_tokenizer, tmp_path / "saved")
    report = write_gguf(make_folder(official, hidden_size=32), tmp_path / "out.gguf", kind="q8_0")
    fields = fields_of(report.path)
    assert report.warnings == ()
    assert fields["tokenizer.ggml.add_space_prefix"]
    assert fields["tokenizer.chat_template"] == LLAMA_CPP_TEMPLATE
    texts = [*PLAIN, TUNE, CHAT, "</s> Assistant: a </s>  b </s>\n</s>c<s>", " a leading space", ""]
    assert ids_in_llama_cpp(report.path, texts) == [official(t, add_special_tokens=False).input_ids for t in texts]


def test_a_folder_with_tokenizer_model_alone_is_the_same(
    make_folder: Callable[..., Path], sentencepiece: Path, llama_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = make_folder(llama_tokenizer, hidden_size=32)
    before = fields_of(write_gguf(folder, tmp_path / "json.gguf", kind="q8_0").path)
    (folder / "tokenizer.json").unlink()
    shutil.copyfile(sentencepiece / "tokenizer.model", folder / "tokenizer.model")
    after = fields_of(write_gguf(folder, tmp_path / "model.gguf", kind="q8_0").path)
    assert {**after, "general.name": "json"} == before


def test_text_of_a_tokenizer_of_our_own_is_cut_nearly_always_as_in_training(
    make_folder: Callable[..., Path], nano: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    report = write_gguf(make_folder(), tmp_path / "out.gguf", kind="f16")
    (warning,) = report.warnings
    assert "458 of 465 tunes" in warning
    assert "give it ids, not text" in warning
    texts = [TUNE, CHAT, f"{CHAT}{CHAT}", "Human: Compose a jig. </s> Assistant:", "A  b\n\nc", ""]
    assert ids_in_llama_cpp(report.path, texts) == [nano(text, add_special_tokens=False).input_ids for text in texts]


def test_a_token_may_reach_over_a_cut_that_llama_cpp_does_not_know(tmp_path: Path) -> None:
    """A triplet is a piece of its own in training; with one merge, d c -> dc, llama.cpp merges over its end."""
    tokenizer = train_bpe(["dc dc"], vocab_size=260)
    folder = save_model_folder(model=make_llama(260), tokenizer=tokenizer, output=tmp_path / "model")
    path = write_gguf(folder, tmp_path / "out.gguf", kind="f16").path
    assert tokenizer.tokenize("(3dddc") == ["(", "3", "d", "d", "d", "c"]
    (found,) = ids_in_llama_cpp(path, ["(3dddc"])
    assert tokenizer.convert_ids_to_tokens(found) == ["(", "3", "d", "d", "dc"]


def test_every_token_of_a_byte_level_vocabulary_gives_its_bytes_back(tmp_path: Path) -> None:
    """Tokens that are parts of characters too: with so many of one alphabet, their common first bytes are merged."""
    letters = "".join(map(chr, range(0x4E00, 0x4F00)))
    tokenizer = train_bpe([letters, "a b  c " * 9, TUNE], vocab_size=420)
    parts = [
        piece
        for piece in tokenizer.get_vocab()
        if len(piece) > 1 and "\ufffd" in tokenizer.decode(tokenizer.convert_tokens_to_ids([piece]))
    ]
    assert len(parts) > 3
    folder = save_model_folder(model=make_llama(len(tokenizer)), tokenizer=tokenizer, output=tmp_path / "model")
    llama = run_llama_cpp(write_gguf(folder, tmp_path / "out.gguf", kind="f16").path, vocab_only=True)
    for text in (letters, TUNE, "\x00\x7f\x80\xff", "a b  c \u2581 d"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert llama.detokenize(ids) == text.encode()
        spelled = llama.detokenize(llama.tokenize(text.encode(), add_bos=True, special=True))
        assert spelled == text.replace("\u2581", " ").encode()  # a lower block is what llama.cpp writes a space as


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
LLAMA3 = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(
            Regex(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            behavior="isolated",
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)


DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2])


def byte_level(cut: Any, *, ignore_merges: bool = False, special: str = "<bar>") -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer, backend.decoder = cut, decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>", special], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([*PLAIN, CHAT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize(
    ("cut", "ignore_merges", "pre"),
    [(GPT2, False, "gpt-2"), (LLAMA3, False, "smaug-bpe"), (LLAMA3, True, "llama-bpe"), (DIGITS, False, "smollm")],
    ids=["gpt-2", "smaug-bpe", "llama-bpe", "smollm"],
)
def test_cuts_that_llama_cpp_knows_are_named(
    make_folder: Callable[..., Path], tmp_path: Path, cut: Any, ignore_merges: bool, pre: str
) -> None:
    tokenizer = byte_level(cut, ignore_merges=ignore_merges)
    report = write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16")
    fields = fields_of(report.path)
    assert (report.vocabulary, report.warnings) == (f"gpt2 ({pre})", ())
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", pre)
    assert "tokenizer.ggml.scores" not in fields
    assert len(fields["tokenizer.ggml.merges"]) == len(tokenizer) - 256 - 3
    texts = [*PLAIN, TUNE, CHAT, "DON'T I'LL we're 1234567"]
    assert ids_in_llama_cpp(report.path, texts) == [tokenizer(t, add_special_tokens=False).input_ids for t in texts]


def test_added_tokens_and_padding_come_after_the_vocabulary(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = train_bpe([CHAT], vocab_size=300)
    tokenizer.add_tokens(["K:Edor"])
    tokenizer.add_tokens(["<motif>"], special_tokens=True)
    report = write_gguf(make_folder(tokenizer, vocabulary=304), tmp_path / "out.gguf", kind="f16")
    assert (report.tokens, report.padding) == (304, 2)
    fields = fields_of(report.path)
    assert fields["tokenizer.ggml.tokens"][300:] == [b"K:Edor", b"<motif>", b"[PAD302]", b"[PAD303]"]
    assert fields["tokenizer.ggml.token_type"][300:] == [4, 3, 5, 5]  # user-defined, control, unused, unused
    assert fields["tokenizer.ggml.token_type"][:3] == [3, 3, 3]
    texts = ["X:1\nK:Edor\n<motif> A2", TUNE]
    assert ids_in_llama_cpp(report.path, texts) == [tokenizer(t, add_special_tokens=False).input_ids for t in texts]


def test_a_special_token_may_have_letters_that_are_no_bytes(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), special="<音>")
    path = write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16").path
    assert fields_of(path)["tokenizer.ggml.tokens"][:3] == [b"<s>", b"</s>", "<音>".encode()]
    assert ids_in_llama_cpp(path, ["A<音>B"]) == [tokenizer("A<音>B", add_special_tokens=False).input_ids]


def test_what_llama_cpp_leaves_undone_is_said(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = byte_level(GPT2)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("<beat>", rstrip=True)])
    assert write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16").warnings == (
        "the tokenizer normalizes text (NFC), which llama.cpp does not",
        "<beat> take the spaces beside them in the tokenizer, but not in llama.cpp",
    )


# ---- templates


def test_the_chat_template_stops_before_the_space_of_the_answer() -> None:
    for chat in CHATS[:3]:
        text = format_prompt(chat.text, chat.history)
        rendered = render(LLAMA_CPP_TEMPLATE, messages_of(chat), add_generation_prompt=True)
        assert rendered + " " == text
    returned = [{"role": "user", "content": "q"}, {"role": "assistant", "content": " a"}]
    assert render(LLAMA_CPP_TEMPLATE, returned) == "Human: q </s> Assistant: a </s> "


LOOP = re.compile(r"\{\{ range \.Messages \}\}(.*)\{\{ end \}\}(.*)", re.S)
BRANCHES = re.compile(
    r'\{\{ if eq \.Role "user" \}\}(.*)\{\{ else if eq \.Role "assistant" \}\}(.*)\{\{ end \}\}', re.S
)
UNLESS_SPACE = re.compile(r'\{\{ if ne \(printf "%\.1s" \.Content\) " " \}\}(.*?)\{\{ end \}\}', re.S)


def expand(template: str, messages: list[dict[str, str]]) -> str:
    """What Go's text/template makes of the few of its forms that our template has, one after another."""
    loop = LOOP.fullmatch(template)
    assert loop is not None
    branches = BRANCHES.fullmatch(loop[1])
    assert branches is not None
    parts = {"user": branches[1], "assistant": branches[2]}
    text = ""
    for message in messages:
        begins_with_space = message["content"][:1] == " "  # printf "%.1s" is the first character
        part = UNLESS_SPACE.sub("" if begins_with_space else r"\1", parts.get(message["role"], ""))
        assert part.count("{{") == part.count("{{ .Content }}") == (message["role"] in parts)
        text += part.replace("{{ .Content }}", message["content"])
    return text + loop[2]


def test_the_modelfile_gives_the_chat_format_and_the_decoding_defaults(trained: Path, tmp_path: Path) -> None:
    path = write_modelfile(tmp_path / "reels.gguf", model=trained)
    assert path == tmp_path / "Modelfile"
    lines = path.read_text().splitlines()
    assert lines[0] == "FROM ./reels.gguf"
    assert f'TEMPLATE """{OLLAMA_TEMPLATE}"""' in lines
    assert [line for line in lines if line.startswith("PARAMETER")] == [
        'PARAMETER stop "</s>"',
        "PARAMETER num_ctx 256",
        "PARAMETER temperature 0.2",
        "PARAMETER top_k 40",
        "PARAMETER top_p 0.9",
        "PARAMETER repeat_penalty 1.1",
        "PARAMETER num_predict 1536",
        "PARAMETER repeat_last_n -1",
    ]
    assert lines[-1] == "# min_new_tokens 10: Ollama has no such setting."


def test_the_modelfile_template_expands_to_the_chat_format() -> None:
    messages = [
        {"role": "system", "content": "left out"},
        {"role": "user", "content": "Compose {{ kept }}"},
        {"role": "assistant", "content": " X:1\nK:D\n"},
        {"role": "user", "content": "Again"},
        {"role": "assistant", "content": "X:2"},
        {"role": "user", "content": "More"},
    ]
    assert expand(OLLAMA_TEMPLATE, messages) == (
        "Human: Compose {{ kept }} </s> Assistant: X:1\nK:D\n </s> Human: Again </s> Assistant: X:2 </s> "
        "Human: More </s> Assistant:"
    )
    for chat in CHATS[:3]:
        assert expand(OLLAMA_TEMPLATE, messages_of(chat)) + " " == format_prompt(chat.text, chat.history)


def test_a_modelfile_of_a_sentencepiece_model_begins_with_the_space(sentencepiece: Path, tmp_path: Path) -> None:
    lines = write_modelfile(tmp_path / "a.gguf", model=sentencepiece).read_text().splitlines()
    assert f'TEMPLATE """{{{{ " " }}}}{OLLAMA_TEMPLATE}"""' in lines
    assert not [line for line in lines if "temperature" in line]


def test_a_modelfile_of_greedy_decoding_says_so(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder()
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    lines = write_modelfile(tmp_path / "a.gguf", model=folder).read_text().splitlines()
    assert lines[-1] == "PARAMETER temperature 0"


# ---- refusals


def break_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", **changes)


def break_weights(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = {**load_file(folder / "model.safetensors"), **changes}
        save_file({name: value for name, value in weights.items() if value is not None}, folder / "model.safetensors")

    return change


def break_tokenizer(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"].update(changes)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return change


GATE = "model.layers.1.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "model does not exist"),
        (lambda folder: (folder / "config.json").unlink(), "is not a model folder, it has no config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer (tokenizer.json or tokenizer.model)"),
        (break_config(model_type="mistral"), "model_type=mistral: only Llama models"),
        (break_config(quantization_config={"bits": 4}), "the weights are quantised: export the original"),
        (break_config(hidden_act="gelu"), "hidden_act=gelu: llama.cpp computes Llama models with silu only"),
        (break_config(num_attention_heads=3), "not a multiple of the number of attention heads (3)"),
        (break_config(intermediate_size=97), "has shape [96, 64], but by config.json it should be [97, 64]"),
        (break_config(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), "rope_type=dynamic"),
        (
            break_config(
                rope_parameters={
                    "rope_type": "yarn",
                    "factor": 2.0,
                    "rope_theta": 1e4,
                    "original_max_position_embeddings": 128,
                    "attention_factor": 1.5,
                }
            ),
            "rope_type=yarn attention_factor=1.5: only default, linear, llama3 and yarn",
        ),
        (break_weights(**{GATE: None}), f"the model has no tensor {GATE}"),
        (break_weights(**{GATE: torch.ones(96, 64, dtype=torch.uint8)}), f"{GATE} is stored as U8"),
        (break_weights(**{GATE: torch.full((96, 64), float("nan"))}), f"{GATE} holds NaN or infinity"),
        (break_weights(**{GATE: torch.full((96, 64), 70_000.0)}), "numbers too large for f16: try gguf=bf16"),
        (break_weights(extra=torch.ones(2)), "holds extra, which no Llama has"),
        (break_tokenizer(end_of_word_suffix="</w>"), "llama.cpp has no algorithm for this tokenizer (BPE)"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    make_folder: Callable[..., Path], tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = make_folder()
    spoil(folder)
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        write_gguf(folder, tmp_path / "out.gguf", kind="f16")
    assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"model"}


def test_a_tokenizer_larger_than_the_model_is_refused(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tokenizer has 330 tokens but the model embeds 329"):
        write_gguf(make_folder(vocabulary=329), tmp_path / "out.gguf", kind="f16")


def test_words_without_bytes_are_refused(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"</s>": 0, "reel": 1}, unk_token="</s>"))
    folder = make_folder(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"))
    with pytest.raises(UserError, match=r"llama\.cpp has no algorithm for this tokenizer \(WordLevel\)"):
        write_gguf(folder, tmp_path / "out.gguf", kind="f16")


def test_a_tokenizer_without_an_end_is_refused(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder(PreTrainedTokenizerFast(tokenizer_object=byte_level(GPT2).backend_tokenizer))
    with pytest.raises(UserError, match="the tokenizer names no end-of-sequence token: set eos_token in its config"):
        write_gguf(folder, tmp_path / "out.gguf", kind="f16")


def test_two_tokens_of_one_spelling_are_refused(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = train_bpe([CHAT, "\u2581" * 99], vocab_size=300)  # the block that llama.cpp writes a space as
    with pytest.raises(UserError, match="2 tokens would be spelled"):
        write_gguf(make_folder(tokenizer), tmp_path / "out.gguf", kind="f16")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("out.gguf", "q9", "gguf=q9 is unknown: choose one of f32, f16, bf16, q8_0, q2_k"),
        ("out.gguf", "q4_k_m", "gguf=q4_k_m needs llama-quantize, which is not on PATH: install llama.cpp"),
        ("out.bin", "f16", "out.bin does not end in .gguf"),
        ("old.gguf", "f16", "old.gguf exists already"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, message: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "old.gguf").write_text("mine")
    with pytest.raises(UserError, match=re.escape(message)):
        write_gguf(tmp_path / "no such model", tmp_path / name, kind=kind)
    assert (tmp_path / "old.gguf").read_text() == "mine"


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"gguf=f16 needs the package gguf: pip install 'chatmusician\[gguf\]'"):
        write_gguf(tmp_path, tmp_path / "out.gguf", kind="f16")


# ---- llama.cpp's own tool


def install_tool(folder: Path, script: str) -> None:
    """A llama-quantize on PATH: a script around the function of the library that the real one is a shell of."""
    tool = folder / "llama-quantize"
    tool.write_text(f"#!{sys.executable}\nimport sys\nsource, target, kind = sys.argv[1:]\n{script}\n")
    tool.chmod(0o755)


QUANTIZE = """
import ctypes, llama_cpp
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind)
sys.exit(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)))
"""


def test_k_quants_are_made_by_llama_cpp(
    tmp_path: Path, nano: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    model = make_llama(len(nano), hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    folder = save_model_folder(model=model, tokenizer=nano, output=tmp_path / "model")
    install_tool(tmp_path, QUANTIZE)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = write_gguf(folder, tmp_path / "out.gguf", kind="q4_k_m")
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(report.path).tensors}
    assert types["blk.0.attn_q.weight"] == "Q4_K"
    assert (report.kind, report.tensors) == ("q4_k_m", len(types))
    assert report.bytes == report.path.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama-quantize", "model", "out.gguf"]
    run_llama_cpp(report.path).eval([3, 4, 5])


def test_a_tool_that_fails_leaves_nothing(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder()
    install_tool(tmp_path, "open(target, 'w').write('half'); sys.exit('first\\nno such type')")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="llama-quantize failed with status 1: no such type"):
        write_gguf(folder, tmp_path / "out.gguf", kind="q6_k")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama-quantize", "model"]


# ---- interruptions

WRITE = """
import resource, sys
from pathlib import Path
from chatmusician.errors import UserError
from chatmusician.export.gguf_files import write_gguf
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    write_gguf(folder / "model", folder / "out.gguf", kind="q8_0", overwrite=True)
except UserError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, nano: PreTrainedTokenizerBase) -> Path:
    """A folder with a model of 27 million weights: quantising it takes long enough to be interrupted."""
    folder = tmp_path_factory.mktemp("large")
    model = make_llama(len(nano), hidden_size=512, intermediate_size=1376, num_attention_heads=8, num_hidden_layers=8)
    save_model_folder(model=model, tokenizer=nano, output=folder / "model")
    return folder


def start(folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITE, str(folder), str(limit)], stderr=subprocess.PIPE, text=True)


def test_kill_9_leaves_no_file_and_the_next_run_clears_up(large: Path) -> None:
    partial = large / ".out.gguf.partial"
    process = start(large)
    while process.poll() is None and not (partial.exists() and partial.stat().st_blocks * 512 > 3_000_000):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert sorted(path.name for path in large.iterdir()) == [".out.gguf.partial", "model"]
    write_gguf(large / "model", large / "out.gguf", kind="q8_0")
    assert sorted(path.name for path in large.iterdir()) == ["model", "out.gguf"]
    assert len(gguf.GGUFReader(large / "out.gguf").tensors) == 75
    (large / "out.gguf").unlink()


def test_a_full_disk_keeps_what_was_there(large: Path) -> None:
    (large / "out.gguf").write_text("of before")
    process = start(large, limit=5_000_000)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert error.startswith(f"{large / 'out.gguf'} cannot be written (File too large): free some space")
    assert sorted(path.name for path in large.iterdir()) == ["model", "out.gguf"]
    assert (large / "out.gguf").read_text() == "of before"
    (large / "out.gguf").unlink()
