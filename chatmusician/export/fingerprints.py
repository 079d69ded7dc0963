"""Which weights a model folder holds, told without reading them all.

An adapter belongs to one base: added to another of the same shapes it gives a model that runs and is worthless. So the
base's fingerprint is taken when training begins and kept with adapter and checkpoints, and merging refuses another.
From each tensor the first, middle and last `SAMPLED_BYTES` are hashed: 56 KB of a 7B model, in some milliseconds, and
no two trainings of a model agree on them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError
from chatmusician.export.folders import read_json, tensor_files
from chatmusician.export.reading import stored_tensors

SAMPLED_BYTES = 64
"""Bytes hashed at each of three places of a tensor."""
BASE_FILE = "base.json"
"""In an adapter's folder: the `Fingerprint` of its base."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What tells a model's weights from others'."""

    tensors: int
    shapes: str
    """Hash of the names, dtypes and shapes."""
    content: str
    """Hash of samples of the numbers."""


def fingerprint(folder: Path) -> Fingerprint:
    """The fingerprint of a model folder in safetensors; how it is cut into shards does not matter.

    Raises:
        UserError: it is no such folder, or not whole.
    """
    shapes, content = hashlib.sha256(), hashlib.sha256()
    tensors = stored_tensors(dict.fromkeys(tensor_files(folder).values()))
    for name, tensor in sorted(tensors.items()):
        shapes.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        size = tensor.rows * tensor.row_bytes
        with tensor.file.open("rb") as stream:
            for place in (0, size // 2, max(0, size - SAMPLED_BYTES)):
                stream.seek(tensor.offset + place)
                content.update(stream.read(min(SAMPLED_BYTES, size - place)))
    return Fingerprint(tensors=len(tensors), shapes=shapes.hexdigest()[:16], content=content.hexdigest()[:16])


def read_fingerprint(adapter: Path) -> Fingerprint | None:
    """The fingerprint kept in an adapter's folder; None if there is none, as in adapters of other programs.

    Raises:
        UserError: the file is there and is no fingerprint.
    """
    path = adapter / BASE_FILE
    return as_fingerprint(read_json(path), source=path) if path.is_file() else None


def as_fingerprint(content: Mapping[str, Any], *, source: Path) -> Fingerprint:
    """What was kept as JSON, or in a checkpoint.

    Raises:
        UserError: it is no fingerprint.
    """
    try:
        return Fingerprint(**content)
    except TypeError:
        raise UserError(f"{source} is no fingerprint of a base: remove it to merge without this check") from None


def require_same_base(base: Path, expected: Fingerprint, *, adapter: Path | str) -> None:
    """Refuse a base that is not the one an adapter, or what is called so in words, was trained on.

    Raises:
        UserError: with what differs, names and shapes or the numbers.
    """
    found = fingerprint(base)
    if found == expected:
        return
    differ = "names, dtypes or shapes" if found.shapes != expected.shapes else "numbers"
    differing = {key: (asdict(expected)[key], value) for key, value in asdict(found).items()}
    values = ", ".join(f"{key} {there} and {here}" for key, (there, here) in differing.items() if there != here)
    raise UserError(
        f"base={base} is not the base that {adapter} was trained on: its tensors have other {differ} ({values}); give "
        "the base of the training"
    )
