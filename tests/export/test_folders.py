from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from chatmusician.errors import UserError
from chatmusician.export.folders import (
    check_adapter_folder,
    check_model_folder,
    check_tokenizer_folder,
    is_hub_id,
    tensor_files,
    whole_folder,
)
from chatmusician.export.shards import Spec, plan, rows_of, write_shards


def spec(name: str, numbers: int) -> Spec:
    return Spec(name=name, shape=(numbers,), dtype="F32")


def test_shards_are_filled_in_order() -> None:
    a, b, c, big, d = spec("a", 1), spec("b", 1), spec("c", 1), spec("big", 9), spec("d", 2)
    assert plan([a, b, c, big, d], max_shard_bytes=8) == [[a, b], [c], [big], [d]]


def test_written_shards_are_read_by_the_format_s_own_library(tmp_path: Path) -> None:
    values = {"a": torch.tensor([[1.0, -2.5]]), "b": torch.tensor([0.1]).bfloat16(), "c": torch.zeros(0, 3).half()}
    specs = [
        Spec(name="a", shape=(1, 2), dtype="F32"),
        Spec(name="b", shape=(1,), dtype="BF16"),
        Spec(name="c", shape=(0, 3), dtype="F16"),
    ]
    assert write_shards(tmp_path, specs, lambda spec: rows_of(values[spec.name])) == ["model.safetensors"]
    from safetensors.torch import load_file

    loaded = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(loaded[name], value) for name, value in values.items())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "model"
    with pytest.raises(KeyboardInterrupt), whole_folder(output, overwrite=False) as folder:
        (folder / "config.json").write_text("{}")
        assert not output.exists()
        raise KeyboardInterrupt
    assert list(output.parent.iterdir()) == []
    with whole_folder(output, overwrite=False) as folder:
        (folder / "config.json").write_text("{}")
    assert [path.name for path in output.parent.iterdir()] == ["model"]


def test_a_failed_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "old").touch()
    with pytest.raises(OSError, match="full"), whole_folder(output, overwrite=True):
        raise OSError("full")
    assert (output / "old").exists()
    with whole_folder(output, overwrite=True) as folder:
        (folder / "new").touch()
    assert [path.name for path in output.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_run_left_is_put_right(tmp_path: Path) -> None:
    """Killed between its two renames: the old folder is aside, the new one not in place."""
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "weights").touch()
    (tmp_path / ".model.partial").mkdir()
    with pytest.raises(UserError, match="is not empty"), whole_folder(tmp_path / "model", overwrite=False):
        pass
    assert (tmp_path / "model" / "weights").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "does not exist: train one with python -m chatmusician.train"),
        ([], "it has no config.json"),
        (["adapter_config.json"], "is a LoRA adapter, not a model: give it as adapter="),
        (["config.json"], "has no model.safetensors"),
        (["config.json", "pytorch_model.bin"], "pytorch_model.bin is a pickle, which can run code"),
    ],
)
def test_what_is_not_a_model_folder_is_refused(tmp_path: Path, files: list[str] | None, message: str) -> None:
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    with pytest.raises(UserError) as refused:
        check_model_folder(folder)
    assert message in str(refused.value)


def make_sharded(folder: Path) -> None:
    values = {name: torch.ones(4) for name in ("a", "b", "c")}
    write_shards(folder, [spec(name, 4) for name in values], lambda s: rows_of(values[s.name]), max_shard_bytes=16)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    make_sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match="lacks 1 of its 3 shards, first model-00002-of-00003"):
        tensor_files(tmp_path)


def test_a_shard_that_lacks_a_tensor_is_named(tmp_path: Path) -> None:
    make_sharded(tmp_path)
    save_file({"other": torch.ones(4)}, tmp_path / "model-00003-of-00003.safetensors")
    with pytest.raises(UserError, match=r"model-00003-of-00003\.safetensors lacks the tensor c that"):
        tensor_files(tmp_path)


@pytest.mark.parametrize("keep", [4, 30, -4])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(64)}, file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model\.safetensors .*: copy or export it again"):
        tensor_files(tmp_path)


def test_an_adapter_in_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(UserError, match=r"adapter_model\.bin is a pickle"):
        check_adapter_folder(tmp_path)


def test_a_folder_without_a_vocabulary_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no tokenizer \(tokenizer\.json or tokenizer\.model\)"):
        check_tokenizer_folder(tmp_path, option="base")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m-a-p/ChatMusician", True),
        ("outputs/model", True),
        ("./model", False),
        ("/abs/model", False),
        ("a/b/c", False),
    ],
)
def test_hub_ids_are_owner_and_name(name: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(name) is expected


def test_a_path_in_a_folder_that_is_here_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    assert not is_hub_id("outputs/model")
