"""Writing safetensors shards one tensor at a time.

``safetensors.torch.save_file`` takes a whole shard (2 GB) in memory. The format needs no such thing: the header gives
the place of every tensor and follows from names, shapes and dtypes alone, so it is written first and the tensors
after it, as they come. Peak memory is one tensor.

    plan([Spec("a", 4 bytes), Spec("b", 6 bytes), Spec("c", 3 bytes)], max_shard_bytes=10)
        -> shard 1: a b (10 bytes)    shard 2: c (3 bytes)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from chatmusician.export.folders import WEIGHTS, WEIGHTS_INDEX

if TYPE_CHECKING:
    from torch import Tensor

DTYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of one number, by the format's name of its dtype."""
DTYPE_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The format's names of torch's dtypes."""
TORCH_NAMES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
MAX_SHARD_BYTES = 2 * 10**9
"""Size of a shard file that is not exceeded unless one tensor alone is larger."""
ALIGNMENT = 8
"""The header is padded with spaces so that the tensors start at a multiple of this many bytes."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """One of `DTYPE_BYTES`."""

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


def plan(specs: Sequence[Spec], max_shard_bytes: int) -> list[list[Spec]]:
    """Fill shards in order; a tensor larger than ``max_shard_bytes`` has a shard of its own."""
    shards: list[list[Spec]] = []
    room = 0
    for spec in specs:
        if not shards or spec.bytes > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(spec)
        room -= spec.bytes
    return shards


def write_shards(
    folder: Path, specs: Sequence[Spec], tensor: Callable[[Spec], "Tensor"], *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> list[str]:
    """Write ``model.safetensors``, or numbered shards with their index when one file would pass ``max_shard_bytes``.

    Args:
        folder: where to.
        specs: what to write, in this order.
        tensor: gives the tensor of a spec, on the CPU, in that shape and dtype; called once for each spec, in order.
        max_shard_bytes: see `plan`.

    Returns:
        The names of the shard files.
    """
    shards = plan(specs, max_shard_bytes)
    total = len(shards)
    names = [WEIGHTS] if total == 1 else [f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_shard(folder / name, shard, tensor)
    if total > 1:
        index = {
            "metadata": {"total_size": sum(spec.bytes for spec in specs)},
            "weight_map": {spec.name: name for name, shard in zip(names, shards, strict=True) for spec in shard},
        }
        (folder / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return names


def _write_shard(file: Path, shard: Sequence[Spec], tensor: Callable[[Spec], "Tensor"]) -> None:
    with file.open("wb") as stream:
        stream.write(_header(shard))
        for spec in shard:
            stream.write(_raw_bytes(spec, tensor(spec)))


def _header(shard: Sequence[Spec]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for spec in shard:
        entries[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + spec.bytes],
        }
        offset += spec.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _raw_bytes(spec: Spec, value: "Tensor") -> memoryview:
    """The tensor's numbers as they lie in memory (the format is little-endian, like every machine torch supports)."""
    import torch

    dtype = DTYPE_NAMES[str(value.dtype).removeprefix("torch.")]
    assert (tuple(value.shape), dtype) == (spec.shape, spec.dtype), f"{spec} was given {value.shape} {dtype}"
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
