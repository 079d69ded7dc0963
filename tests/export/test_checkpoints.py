from pathlib import Path
from typing import Any

import pytest
import torch

from chatmusician.errors import UserError
from chatmusician.export.checkpoints import open_checkpoint


def save(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def test_a_file_gives_its_weights_and_what_they_belong_to(tmp_path: Path) -> None:
    content = {"state_dict": {"model.a": torch.ones(2)}, "global_step": 7, "export": {"base": "somewhere"}}
    opened = open_checkpoint(save(tmp_path / "last.ckpt", content))
    assert opened.step == 7
    assert opened.facts == {"base": "somewhere"}
    assert torch.equal(opened.state["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "global_step": 1}, "it was written without callbacks=merge_and_export"),
        ({"weights": {}}, "is not one of a training run: it has no state_dict"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_checkpoint(save(tmp_path / "last.ckpt", content))


class _Harmful:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a stranger ran')",)


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    path = save(tmp_path / "last.ckpt", {"state_dict": {}, "export": _Harmful()})
    with pytest.raises(UserError, match=f"^the checkpoint {path} cannot be read "):
        open_checkpoint(path)


def test_what_is_not_there_or_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: give one from checkpoints/ of a training run"):
        open_checkpoint(tmp_path / "none.ckpt")
    path = save(tmp_path / "last.ckpt", {"state_dict": {}})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"^the checkpoint {path} is not whole; use another one$"):
        open_checkpoint(path)
    with pytest.raises(UserError, match="is a folder; give a file from checkpoints/ of a training run"):
        open_checkpoint(tmp_path)
