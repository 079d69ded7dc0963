"""What computes the tokens: adapters by name, llama.cpp beside transformers."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import make_model
from transformers import PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.export.gguf_files import write_gguf
from chatmusician.export.merging import merge_adapter
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loading import load_generator, read_adapters

QUESTIONS = ["Compose a reel.", "A jig", "Add chords to this: |: d2fd Adfd | e2ge Bege :|", "Hm", "Explain the tritone"]
GREEDY = Decoding(temperature=0, repetition_penalty=1.0, max_new_tokens=40)
WARM = Decoding(temperature=0.9, max_new_tokens=40)


def texts(answers: list) -> list[str]:
    return [answer.text for answer in answers]


@pytest.fixture(scope="module")
def adapter_folders(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folders = {}
    for seed, name in enumerate(("reels", "jigs"), start=1):
        model = make_model(len(tokenizer))
        torch.manual_seed(seed)
        lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        folders[name] = str(tmp_path_factory.mktemp("adapters") / name)
        get_peft_model(model, lora).save_pretrained(folders[name])
    return folders


def test_each_adapter_answers_as_its_merged_model(
    model_folder: Path, adapter_folders: dict[str, str], tmp_path: Path
) -> None:
    generator = load_generator(model=str(model_folder), adapters=adapter_folders, device="cpu")
    assert generator.adapters == ("reels", "jigs")
    expected = {"base": texts(load_generator(model=str(model_folder), device="cpu").generate(QUESTIONS, GREEDY))}
    for name, folder in adapter_folders.items():
        merged = merge_adapter(base=model_folder, adapter=Path(folder), output=tmp_path / name)
        expected[name] = texts(load_generator(model=str(merged.output), device="cpu").generate(QUESTIONS, GREEDY))
    assert len(set(map(tuple, expected.values()))) == 3
    for name in ("jigs", "base", "reels", "jigs", None):
        found = texts(generator.generate(QUESTIONS, GREEDY, adapter=name))
        assert found == expected[name or "base"], name


def test_an_adapter_to_begin_with_is_meant_where_none_is_named(
    model_folder: Path, adapter_folders: dict[str, str]
) -> None:
    generator = load_generator(model=str(model_folder), adapter="jigs", adapters=adapter_folders, device="cpu")
    named = generator.generate(QUESTIONS, GREEDY, adapter="jigs")
    assert texts(generator.generate(QUESTIONS, GREEDY)) == texts(named)
    assert texts(generator.generate(QUESTIONS, GREEDY, adapter="base")) != texts(named)


def test_an_adapter_that_is_not_loaded_is_refused(model_folder: Path, adapter_folders: dict[str, str]) -> None:
    generator = load_generator(model=str(model_folder), adapter=adapter_folders["reels"], device="cpu")
    with pytest.raises(UserError, match=r"^adapter='polkas' is not loaded: choose one of base, adapter$"):
        generator.generate(["A jig"], GREEDY, adapter="polkas")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (["reels"], "adapters: 'reels' is not NAME:FOLDER"),
        ([":out"], "adapters: ':out' is not NAME:FOLDER"),
        (["base:out"], "adapters: the name 'base' is taken; choose another for out"),
        (["a:x", "a:y"], "adapters: the name 'a' is taken; choose another for y"),
    ],
)
def test_lists_of_adapters_that_mean_nothing_are_refused(listed: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        read_adapters(listed)
    assert str(refused.value) == message


def test_a_list_of_adapters_names_folders() -> None:
    assert read_adapters(["a:out/x", "b:c:d"]) == {"a": "out/x", "b": "c:d"}


def test_a_conversation_changes_its_adapter(
    model_folder: Path, adapter_folders: dict[str, str], tmp_path: Path
) -> None:
    listed = ",".join(f"{name}:{folder}" for name, folder in adapter_folders.items())
    asked = "Compose\n"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "chatmusician.generate", f"model={model_folder}", f"adapters=[{listed}]"),
            *("template=false", "generation.temperature=0", "generation.max_new_tokens=20", "device=cpu"),
        ],
        cwd=tmp_path,
        input=asked + "/adapter jigs\n" + asked + "/adapter polkas\n" + asked + "/adapter base\n" + asked,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "(adapter jigs)\n" in ended.stderr
    assert "adapter='polkas' is not loaded: choose one of base, reels, jigs\n" in ended.stderr
    generator = load_generator(model=str(model_folder), adapters=adapter_folders, device="cpu")
    from chatmusician.generation.prompting import Prompt

    decoding = Decoding(temperature=0, max_new_tokens=20)
    base, jigs = (
        generator.generate([Prompt(text="Compose", template=False)], decoding, adapter=name)[0].text
        for name in ("base", "jigs")
    )
    assert ended.stdout == "".join(f"{text}\n" for text in (base, jigs, jigs, base))


@pytest.fixture(scope="module")
def gguf(model_folder: Path) -> str:
    pytest.importorskip("llama_cpp", reason="the extra llama-cpp is not installed")
    return str(write_gguf(model_folder, model_folder / "model-f32.gguf", kind="f32", overwrite=True).path)


class TestLlamaCpp:
    @pytest.mark.parametrize("decoding", [GREEDY, WARM], ids=["greedy", "sampled"])
    def test_it_gives_the_text_of_transformers(self, model_folder: Path, gguf: str, decoding: Decoding) -> None:
        expected = load_generator(model=str(model_folder), device="cpu", batch_size=2).generate(QUESTIONS, decoding)
        found = load_generator(model=gguf, device="cpu", batch_size=2).generate(QUESTIONS, decoding)
        assert [(answer.text, answer.tokens, answer.cut) for answer in found] == [
            (answer.text, answer.tokens, answer.cut) for answer in expected
        ]

    def test_long_prompts_are_computed_in_parts(self, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
        from chatmusician.export.saving import save_model_folder

        model = make_model(len(tokenizer), window=2048)
        folder = save_model_folder(model=model, tokenizer=tokenizer, output=tmp_path / "model")
        pytest.importorskip("llama_cpp", reason="the extra llama-cpp is not installed")
        path = str(write_gguf(folder, folder / "model.gguf", kind="f32").path)
        prompt = " ".join(f"Compose reel {i}" for i in range(120))
        expected = load_generator(model=str(folder), device="cpu")
        assert len(expected.prompt_ids(prompt)) > 1100
        found = load_generator(model=path, device="cpu").generate([prompt], GREEDY)
        assert texts(found) == texts(expected.generate([prompt], GREEDY))

    def test_a_stream_is_the_answer(self, gguf: str) -> None:
        generator = load_generator(model=gguf, device="cpu")
        (answer,) = generator.generate(["A jig"], WARM)
        assert "".join(generator.stream("A jig", WARM)) == answer.text

    def test_a_file_that_is_no_model_is_refused(self, gguf: str, model_folder: Path) -> None:
        broken = model_folder / "broken.gguf"
        broken.write_bytes(Path(gguf).read_bytes()[:1000])
        with pytest.raises(UserError, match=r"broken.gguf cannot be loaded by llama.cpp: it is no whole GGUF file"):
            load_generator(model=str(broken), device="cpu")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"load_in_4bit": True}, "bitsandbytes" if find_spec("bitsandbytes") is None else "are for backend="),
            ({"adapter": "out"}, "a GGUF file takes no LoRA adapter: merge it first"),
            ({"backend": "transformers"}, "backend=transformers reads model folders, and model="),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, gguf: str, options: dict, message: str) -> None:
        with pytest.raises(UserError) as refused:
            load_generator(**{"model": gguf, "device": "cpu", **options})
        assert message in str(refused.value)

    def test_logits_of_whole_texts_are_not_to_be_had(self, gguf: str) -> None:
        with pytest.raises(UserError, match="use backend=transformers"):
            _ = load_generator(model=gguf, device="cpu").model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "onnx"}, "backend=onnx is unknown: choose one of auto, transformers, llama_cpp, vllm"),
        ({"backend": "llama_cpp"}, "backend=llama_cpp reads GGUF files, and model="),
        ({"model": "out/model.gguf"}, "model=out/model.gguf does not exist: write one with"),
    ],
)
def test_backends_that_cannot_be_had_are_refused(model_folder: Path, options: dict, message: str) -> None:
    if options.get("model"):
        pytest.importorskip("llama_cpp", reason="the extra llama-cpp is not installed")
    with pytest.raises(UserError) as refused:
        load_generator(**{"model": str(model_folder), "device": "cpu", **options})
    assert message in str(refused.value)


def test_without_vllm_the_message_says_what_to_install(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"^backend=vllm needs a package that is not installed: pip install vllm$"):
        load_generator(model=str(model_folder), backend="vllm", device="cpu")


def test_vllm_gives_the_text_of_transformers(model_folder: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; it needs a GPU")
    expected = load_generator(model=str(model_folder), dtype="float32").generate(QUESTIONS, GREEDY)
    found = load_generator(model=str(model_folder), backend="vllm", dtype="float32").generate(QUESTIONS, GREEDY)
    assert texts(found) == texts(expected)
