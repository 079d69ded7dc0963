"""What cannot be written as GGUF, and what is left when writing is interrupted."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_models import CHAT, GPT2, byte_level, edit_json, make_llama, run_llama_cpp
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chatmusician.data.tokenizers import train_bpe
from chatmusician.errors import UserError
from chatmusician.export.gguf_files import write_gguf
from chatmusician.export.saving import save_model_folder

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")


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
