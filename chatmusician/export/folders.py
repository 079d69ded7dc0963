"""What is in a model folder, an adapter folder or a tokenizer folder, and how a folder is written whole or not at all.

Everything here reads names and JSON only: no tensor, no torch.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
"""Files that make up a tokenizer; the first two are complete vocabularies, one of them must be there."""

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the system says of a disk, a file or a quota that is full."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HOW_TO_MAKE = "train one with python -m chatmusician.train, or merge an adapter with python -m chatmusician.merge"


def is_hub_id(name: str) -> bool:
    """Whether ``name`` is to be looked up on the Hub: it has the form owner/name and no such path exists here."""
    return bool(HUB_ID.fullmatch(name)) and not Path(name).exists() and not Path(name).parent.is_dir()


def local_folder(name: str, *, option: str) -> Path:
    """The folder of a model that is given as a folder or as a Hub id, downloaded if need be.

    Raises:
        UserError: the Hub has no such model, or cannot be reached.
    """
    if not is_hub_id(name):
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{option}={name} is no folder here and cannot be downloaded: {type(error).__name__}"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: the file is missing, or does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repetition)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except ValueError as error:  # malformed, not UTF-8, or a name that comes twice
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}, not an object")
    return content


def check_model_folder(folder: Path, *, option: str = "model") -> None:
    """Refuse a folder that `tensor_files` or transformers could not load a model from.

    Raises:
        UserError: one line that says what is missing and how to make a model folder.
    """
    if not folder.is_dir():
        state = "is a file, not a model folder" if folder.exists() else "does not exist"
        raise UserError(f"{option}={folder} {state}: {HOW_TO_MAKE}")
    if not (folder / CONFIG).is_file():
        if (folder / ADAPTER_CONFIG).is_file():
            raise UserError(
                f"{option}={folder} is a LoRA adapter, not a model: give it as adapter={folder} beside its base"
            )
        raise UserError(f"{option}={folder} is not a model folder, it has no {CONFIG}: {HOW_TO_MAKE}")
    tensor_files(folder)


def check_adapter_folder(folder: Path) -> None:
    """Refuse a folder that is not a PEFT adapter in safetensors.

    Raises:
        UserError: one line that says what is missing.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        state = f"has no {ADAPTER_CONFIG}" if folder.is_dir() else "does not exist"
        raise UserError(f"adapter={folder} {state}: give the folder that a LoRA training run saved as adapter/")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickled = folder / "adapter_model.bin"
        if pickled.is_file():
            raise UserError(f"{pickled} is a pickle, which can run code: convert it to {ADAPTER_WEIGHTS} first")
        raise UserError(f"adapter={folder} has no {ADAPTER_WEIGHTS}: the folder is incomplete, save or copy it again")


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer's vocabulary lies in ``folder``."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES[:2])


def check_tokenizer_folder(folder: Path, *, option: str) -> None:
    """Refuse a folder without a tokenizer's vocabulary.

    Raises:
        UserError: naming the files that are looked for and the remedy.
    """
    if not has_tokenizer(folder):
        looked_for = " or ".join(TOKENIZER_FILES[:2])
        raise UserError(f"{option}={folder} has no tokenizer ({looked_for}): give one with tokenizer=FOLDER")


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file of a model folder holds each tensor.

    Raises:
        UserError: there are no safetensors (pickles are not read), or the index and the shards disagree.
    """
    index, single = folder / WEIGHTS_INDEX, folder / WEIGHTS
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{index} has no weight_map: the folder is incomplete, copy or export it again")
        names = sorted(set(weight_map.values()))
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"{folder} lacks {len(missing)} of its {len(names)} shards, first {missing[0]}: copy it again"
            )
        listed = {name: folder / file for name, file in weight_map.items()}
        for name in names:
            held = tensor_names(folder / name)
            lost = next((t for t, file in weight_map.items() if file == name and t not in held), None)
            if lost is not None:
                raise UserError(f"{folder / name} lacks the tensor {lost} that {WEIGHTS_INDEX} lists: copy it again")
        return listed
    if single.is_file():
        return dict.fromkeys(tensor_names(single), single)
    pickled = next((path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)), None)
    if pickled is not None:
        raise UserError(f"{folder / pickled} is a pickle, which can run code: convert the model to safetensors first")
    raise UserError(f"{folder} has no {WEIGHTS}: the folder is incomplete, copy or export it again")


def tensor_names(file: Path) -> list[str]:
    """Names of the tensors in a safetensors file, from its header.

    Raises:
        UserError: the file is not whole.
    """
    return list(tensor_headers(file))


def header_bytes(file: Path) -> int:
    """Bytes in front of a safetensors file's numbers.

    The format: 8 bytes, little-endian, give the length of a JSON object that describes the bytes after it.

    Raises:
        UserError: the file is cut off.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        end = 8 + int.from_bytes(stream.read(8), "little")
    if end > size:
        raise UserError(f"{file} is not a whole safetensors file ({size} bytes): copy or export it again")
    return end


def tensor_headers(file: Path) -> dict[str, dict[str, Any]]:
    """``dtype``, ``shape`` and ``data_offsets`` (from the end of the header) of each tensor in a safetensors file.

    Raises:
        UserError: the file is cut off, or is not a safetensors file.
    """
    start, size = header_bytes(file), file.stat().st_size
    with file.open("rb") as stream:
        try:
            header = json.loads(stream.read(start)[8:], object_pairs_hook=_without_repetition)
        except ValueError as error:  # malformed JSON, text that is not UTF-8, a name that comes twice
            raise UserError(f"{file} is not a safetensors file: {error}") from error
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if start + end != size:
        raise UserError(f"{file} has {size} bytes but its header describes {start + end}: copy or export it again")
    return tensors


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ``json`` alone would keep the last of two entries of one name, and say nothing."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} comes twice")
    return content


def check_output_folder(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that would mix with what is there.

    Raises:
        UserError: ``output`` is a file, or a folder with something in it and ``overwrite`` is not set.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file: choose a folder")
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise UserError(f"output={output} is not empty: choose another folder, or give overwrite=true")


@contextmanager
def whole_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write into that becomes ``output`` only when everything in it is on the disk.

    It lies beside ``output`` (same file system, so that renaming is atomic) as ``.NAME.partial``; what an earlier run
    left there is removed. With ``overwrite`` the old output is moved aside before and removed after.

    Raises:
        UserError: as `check_output_folder`; or the disk is full.
    """
    output = output.absolute()
    partial, old = output.with_name(f".{output.name}.partial"), output.with_name(f".{output.name}.old")
    if old.exists() and not output.exists():
        old.rename(output)  # an earlier run was killed between its two renames
    check_output_folder(output, overwrite=overwrite)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in (*partial.rglob("*"), partial):
            sync(path)
        if output.exists():
            output.rename(old)
        partial.rename(output)
        sync(output.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not output.exists():
            old.rename(output)
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(
                f"{output} cannot be written ({error.strerror}): free some space or choose another place; nothing was "
                "changed"
            ) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
