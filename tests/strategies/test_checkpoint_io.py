"""Checkpoints are whole or not there, whatever happens while they are written."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from chatmusician.checkpoint_files import flaw
from chatmusician.errors import UserError
from chatmusician.strategies.checkpoint_io import AtomicCheckpointIO

SAVE = """
import resource, sys, torch
from chatmusician.strategies.checkpoint_io import AtomicCheckpointIO
path, limit = sys.argv[1:]
if limit != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
print("saving", flush=True)
AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(50_000_000)}, path)
"""


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def start_saving(path: Path, limit: str = "none") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SAVE, str(path), limit]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    plugin = AtomicCheckpointIO()
    path = tmp_path / "run" / "last.ckpt"
    for step in (1, 2):
        plugin.save_checkpoint({"step": step, "weights": torch.arange(3)}, path)
    assert plugin.load_checkpoint(path)["step"] == 2
    assert names_in(path.parent) == ["last.ckpt"]


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    _, error = (process := start_saving(path, limit="1000000")).communicate(timeout=300)
    assert process.returncode == 1
    assert f"UserError: the checkpoint {path} cannot be written (File too large); earlier ones are as" in error
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert names_in(tmp_path) == ["last.ckpt"]


def test_a_killed_save_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    process = start_saving(path)
    assert process.stdout is not None and process.stdout.readline() == "saving\n"
    partial = tmp_path / "last.ckpt.partial"
    while not partial.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, "the file was saved before it could be killed"
    assert torch.load(path, weights_only=True) == {"step": 1}
    AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert names_in(tmp_path) == ["last.ckpt"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the checkpoint .*file/last.ckpt cannot be written \(File exists\)"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "file" / "last.ckpt")


def saved(path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint({"global_step": 3, "weights": torch.full((1000,), 7.0)}, path)
    return path


def test_a_whole_checkpoint_has_no_flaw(tmp_path: Path) -> None:
    assert flaw(saved(tmp_path / "last.ckpt")) is None


def test_a_bit_that_flipped_in_a_weight_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "last.ckpt")
    content = bytearray(path.read_bytes())
    place = content.index(torch.full((1000,), 7.0).numpy().tobytes())
    content[place + 2000] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["global_step"] == 3  # torch does not look
    assert re.match(rf"the checkpoint {path} is damaged \(checksum of .*data/0\); use another one", str(flaw(path)))


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_half_a_file_is_no_checkpoint(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path / "last.ckpt")
    path.write_bytes(path.read_bytes()[:kept])
    assert flaw(path) == f"the checkpoint {path} is not whole; use another one"
    with pytest.raises(UserError, match="is not whole"):
        AtomicCheckpointIO().load_checkpoint(path)


class _Harmful:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a stranger ran')",)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"global_step": 1, "more": _Harmful()}, tmp_path / "last.ckpt")
    assert str(flaw(tmp_path / "last.ckpt")).startswith(f"the checkpoint {tmp_path / 'last.ckpt'} cannot be read (")


def test_what_is_loaded_stays_when_the_file_is_replaced(tmp_path: Path) -> None:
    path = saved(tmp_path / "last.ckpt")
    content = AtomicCheckpointIO().load_checkpoint(path)
    AtomicCheckpointIO().save_checkpoint({"weights": torch.zeros(1000)}, path)
    content["weights"] += 1  # what is mapped may be written to, and the file stays
    assert content["weights"].eq(8).all()
    assert torch.load(path, weights_only=True)["weights"].eq(0).all()
