import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bases import randomise
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from chatmusician.data.prompts import CHAT_TEMPLATE
from chatmusician.errors import UserError
from chatmusician.export import shards
from chatmusician.export.merging import merge_adapter
from chatmusician.export.verification import compare_logits

MakePair = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "down_proj"]},
        {"rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"alpha_pattern": {"layers.1.self_attn.q_proj": 3, "up_proj": 5}},
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"use_dora": True, "target_modules": ["q_proj", "embed_tokens"]},
        {"trainable_token_indices": [3, 277]},
        {"trainable_token_indices": {"embed_tokens": [3], "lm_head": [3, 5]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [2**19, 200])
def test_the_merged_tensors_are_pefts_bit_for_bit(
    make_pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, block: int
) -> None:
    """In one block a tensor, and in blocks of three rows of 64 numbers."""
    monkeypatch.setattr(shards, "BLOCK_NUMBERS", block)
    pair = make_pair(**options)
    report = merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    expected = pair.model.merge_and_unload().state_dict()
    merged = tensors(tmp_path / "out")
    assert merged.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(merged[name], value), name
    assert report.tensors == len(expected)
    tokens = options.get("trainable_token_indices", [])
    trained_tokens = len(tokens) if isinstance(tokens, dict) else bool(tokens)
    assert report.replaced == len(options.get("modules_to_save", [])) + trained_tokens


def test_an_embedding_that_peft_stored_with_its_adapter_is_not_added_twice(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair(target_modules=["q_proj", "embed_tokens"])
    pair.model.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    assert "base_model.model.model.embed_tokens.base_layer.weight" in tensors(tmp_path / "adapter")
    merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    expected = pair.model.merge_and_unload().state_dict()
    merged = tensors(tmp_path / "out")
    assert all(torch.equal(merged[name], value) for name, value in expected.items())


@pytest.mark.parametrize("trained", ["modules_to_save", "trainable_token_indices"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:.*(tie|embedding).*:UserWarning")  # PEFT warns of what this is about
def test_added_tokens_come_with_the_adapter(make_pair: MakePair, tmp_path: Path, tied: bool, trained: str) -> None:
    """Trained with the whole embedding and head, or as rows of them."""
    modules = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    saved: dict[str, Any] = {trained: modules, "ensure_weight_tying": tied}
    if trained == "trainable_token_indices":
        saved = {trained: {module: [280, 281, 282] for module in modules}}
    pair = make_pair(base_options={"tie_word_embeddings": tied})
    tokenizer = AutoTokenizer.from_pretrained(pair.base)
    before = len(tokenizer)
    tokenizer.add_tokens(["<tune>", "</tune>", "<score>"])
    base = AutoModelForCausalLM.from_pretrained(pair.base)
    base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", **saved))
    randomise(model)
    model.save_pretrained(tmp_path / "grown")
    tokenizer.save_pretrained(tmp_path / "grown")
    report = merge_adapter(base=pair.base, adapter=tmp_path / "grown", output=tmp_path / "out")
    assert report.vocabulary == before + 3
    assert report.untied is False
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == before + 3
    ids = torch.tensor([[5, before, before + 2]])
    with torch.inference_mode():
        expected = model.eval()(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(input_ids=ids).logits
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)


def test_the_folder_is_complete(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair()
    merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == CHAT_TEMPLATE
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert chat == "Human: Hi </s> Assistant: "
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation == {
        "do_sample": True,
        "temperature": 0.2,
        "top_k": 40,
        "top_p": 0.9,
        "repetition_penalty": 1.1,
        "min_new_tokens": 10,
        "max_new_tokens": 1536,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config.top_k == 40
    assert "| started from | `base` |" in (tmp_path / "out" / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_the_product_is_rounded_once(make_pair: MakePair, tmp_path: Path, dtype: str, torch_dtype: torch.dtype) -> None:
    pair = make_pair()
    report = merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out", dtype=dtype)
    expected = pair.model.merge_and_unload().state_dict()
    for name, value in tensors(tmp_path / "out").items():
        assert torch.equal(value, expected[name].to(torch_dtype)), name
    assert report.dtype == dtype
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    agreement = compare_logits(base=pair.base, adapter=pair.adapter, merged=tmp_path / "out")
    assert agreement.agrees
    assert agreement.max_abs_difference > 0


def test_a_reloaded_float32_merge_computes_the_same(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair()
    merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    agreement = compare_logits(base=pair.base, adapter=pair.adapter, merged=tmp_path / "out")
    assert agreement.max_abs_difference < 1e-4 * agreement.max_abs_logit
    assert agreement.same_argmax == 1.0
    unmerged = compare_logits(base=pair.base, adapter=pair.adapter, merged=pair.base)
    assert not unmerged.agrees


def test_shards_hold_the_same_tensors_as_one_file(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair(shard_bytes=60_000)
    assert len(list(pair.base.glob("*.safetensors"))) > 3
    limit = 100_000
    report = merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "many", max_shard_bytes=limit)
    merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "one")
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert report.shards == len(files) > 2
    assert all(file.stat().st_size < limit + 4096 for file in files)  # 4096: room for the header
    many, one = tensors(tmp_path / "many"), tensors(tmp_path / "one")
    assert many.keys() == one.keys()
    assert all(torch.equal(many[name], one[name]) for name in one)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "many").state_dict()
    assert all(torch.equal(loaded[name], one[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "untied"),
    [
        ({}, False),
        ({"modules_to_save": ["embed_tokens"]}, True),
        ({"modules_to_save": ["lm_head"]}, True),
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, True),
        ({"target_modules": ["q_proj", "lm_head"]}, True),
        ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, False),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*tie.*:UserWarning")  # PEFT warns of tied weights, which this is about
def test_tied_embeddings_stay_tied_unless_the_adapter_parts_them(
    make_pair: MakePair, tmp_path: Path, options: dict, untied: bool
) -> None:
    pair = make_pair(base_options={"tie_word_embeddings": True}, **options)
    report = merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    assert report.untied is untied
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is not untied
    assert ("lm_head.weight" in tensors(tmp_path / "out")) is untied
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        expected = pair.model(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(input_ids=ids).logits
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("peft_type", "IA3"),
        ("bias", "all"),
        ("init_lora_weights", "pissa"),
        ("lora_alpha", None),
    ],
)
def test_other_adapters_are_refused_by_the_setting(
    make_pair: MakePair, tmp_path: Path, setting: str, value: object
) -> None:
    pair = make_pair()
    edit_json(pair.adapter / "adapter_config.json", **{setting: value})
    with pytest.raises(UserError, match=rf"adapter_config\.json: {setting}="):
        merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


DOWN = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
UP = DOWN.replace("lora_A", "lora_B")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({DOWN: torch.full((4, 64), float("nan"))}, f"holds NaN or infinity in {DOWN}"),
        ({DOWN: torch.ones(4, 65)}, "up_proj.weight [96, 65], which has shape [96, 64] in the base"),
        ({DOWN: torch.ones(5, 64)}, "has rank 5 but"),
        ({UP: None}, f"but not {UP}"),
        ({DOWN.replace("layers.0", "layers.9"): torch.ones(4, 64)}, "layers.9"),
        ({"base_model.model.extra.weight": torch.ones(2)}, "extra.weight [2], which is not in the base"),
        (
            {"base_model.model.model.norm.lora_magnitude_vector": torch.ones(2)},
            "but not base_model.model.model.norm.lora",
        ),
        ({DOWN.replace(".lora_A.weight", ".lora_magnitude_vector"): torch.ones(96)}, "says use_dora=False"),
        ({DOWN: torch.ones(4)}, "up_proj.lora_A.weight has shape [4], not that of a matrix"),
        ({"base_model.model.model.norm.lora_scale": torch.ones(2)}, "is not part of LoRA or DoRA"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_the_tensor(
    make_pair: MakePair, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    pair = make_pair()
    file = pair.adapter / "adapter_model.safetensors"
    changed = {**load_file(file), **change}
    save_file({name: value for name, value in changed.items() if value is not None}, file)
    with pytest.raises(UserError) as refused:
        merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_a_magnitude_of_another_length_is_refused(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair(use_dora=True)
    file = pair.adapter / "adapter_model.safetensors"
    name = DOWN.replace(".lora_A.weight", ".lora_magnitude_vector")
    save_file({**load_file(file), name: torch.ones(95)}, file)
    with pytest.raises(UserError, match=r"lora_magnitude_vector has shape \[95\], but .*lora_B.weight has 96 rows"):
        merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out")


def test_a_dtype_that_overflows_is_refused(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair()
    weights = load_file(pair.base / "model.safetensors")
    weights["model.norm.weight"][0] = 70_000.0
    save_file(weights, pair.base / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.norm\.weight is not finite as float16"):
        merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out", dtype="float16")
    merge_adapter(base=pair.base, adapter=pair.adapter, output=tmp_path / "out", dtype="bfloat16")


def test_an_output_is_replaced_only_when_asked(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair()
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty: choose another folder, or give overwrite=true"):
        merge_adapter(base=pair.base, adapter=pair.adapter, output=output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]
    merge_adapter(base=pair.base, adapter=pair.adapter, output=output, overwrite=True)
    assert (output / "model.safetensors").exists()
    assert not (output / "notes.txt").exists()


def test_the_command_merges_and_reports(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "chatmusician.merge", f"base={pair.base}", f"adapter={pair.adapter}", "output=out"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    first, merged, reloaded, card = run.stdout.splitlines()
    assert first.startswith("out: 21 tensors, 0.000 GB float32, 1 file")
    assert merged == "merged: 14 by W + s B A, 0 replaced (trained whole)"
    assert reloaded.startswith("reloaded: logits differ by at most ")
    assert card == "out/README.md: the card"
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert again.returncode == 1
    assert again.stderr == "error: output=out is not empty: choose another folder, or give overwrite=true\n"
