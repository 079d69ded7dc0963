"""A merge that is killed, or runs out of disk, leaves no folder that looks whole; the next one starts clean."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bases import MODULES, randomise
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from tiny_models import tiny_llama
from transformers import PreTrainedTokenizerBase

from chatmusician.export.saving import save_model_folder

MERGE = """
import resource, sys
from pathlib import Path
from chatmusician.errors import UserError
from chatmusician.export.merging import merge_adapter
folder, limit = Path(sys.argv[1]), sys.argv[2]
if limit != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
try:
    merge_adapter(base=folder / "base", adapter=folder / "adapter", output=folder / "out", overwrite=True)
except UserError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A folder with a base of 25 million weights (100 MB) and an adapter."""
    folder = tmp_path_factory.mktemp("pair")
    base = tiny_llama(
        len(tokenizer),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    save_model_folder(model=base, tokenizer=tokenizer, output=folder / "base", max_shard_bytes=30_000_000)
    model = get_peft_model(base, LoraConfig(r=8, target_modules=MODULES, task_type="CAUSAL_LM"))
    randomise(model)
    model.save_pretrained(folder / "adapter")
    return folder


def merge(folder: Path, limit: str = "none") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", MERGE, str(folder), limit], stderr=subprocess.PIPE, text=True)


def written_bytes(folder: Path) -> int:
    """On the disk: the files have their full length from the start."""
    try:
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    except FileNotFoundError:
        return 0


def assert_whole(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text()) if list(folder.glob("*index*")) else None
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stream:
            assert index is None or set(stream.keys()) <= index["weight_map"].keys()
    assert {"config.json", "tokenizer.json", "README.md"} <= {path.name for path in folder.iterdir()}


def test_kill_9_at_any_moment_leaves_nothing_that_looks_whole(pair: Path) -> None:
    out, partial = pair / "out", pair / ".out.partial"
    killed = 0
    for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        process = merge(pair)
        while process.poll() is None and (not partial.exists() or written_bytes(partial) < share * 100_000_000):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=300)
        killed += process.returncode == -signal.SIGKILL
        if out.exists():
            assert_whole(out)
    assert killed >= 4, "the merges ended before they could be killed"
    process = merge(pair)
    assert process.communicate(timeout=300)[1] == ""
    assert_whole(out)
    assert sorted(path.name for path in pair.iterdir()) == ["adapter", "base", "out"]


def test_a_disk_that_fills_up_keeps_what_was_there(pair: Path) -> None:
    (pair / "out").mkdir(exist_ok=True)
    (pair / "out" / "note").write_text("of before")
    process = merge(pair, limit="20000000")
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert error.startswith(f"{pair / 'out'} cannot be written (File too large): free some space or choose another")
    assert (pair / "out" / "note").read_text() == "of before"
    assert not (pair / ".out.partial").exists()
