"""Writing safetensors shards by rows, in several threads.

``safetensors.torch.save_file`` takes a whole shard (2 GB) in memory. The format needs no such thing: the header gives
the place of every tensor and follows from names, shapes and dtypes alone, so it is written first, and then each block
of rows at its final place, in whatever order they are done. Memory holds the blocks in flight.

    plan([Spec("a", 4 bytes), Spec("b", 6 bytes), Spec("c", 3 bytes)], max_shard_bytes=10)
        -> shard 1: a b (10 bytes)    shard 2: c (3 bytes)
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from chatmusician.errors import UserError
from chatmusician.export.folders import WEIGHTS, WEIGHTS_INDEX, sync
from chatmusician.export.reading import DTYPE_BYTES, DTYPE_NAMES

if TYPE_CHECKING:
    from torch import Tensor

MAX_SHARD_BYTES = 2 * 10**9
"""Size of a shard file that is not exceeded unless one tensor alone is larger."""
ALIGNMENT = 8
"""The header is padded with spaces so that the tensors start at a multiple of this many bytes."""
FLUSH_BYTES = 1 << 28
"""Bytes after which what was written is sent on to the disk, so that little is left for the end."""
BLOCK_NUMBERS = 1 << 19
"""Numbers in a block of rows: 2 MB in float32, about what a core keeps in its cache while a block is computed."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """One of `chatmusician.export.reading.DTYPE_BYTES`."""
    divisible: bool = True
    """Whether its rows can be computed apart from one another."""

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """The rows of each block, ``(start, stop)``, of about `BLOCK_NUMBERS` numbers; a scalar is one row."""
        rows = self.shape[0] if self.shape else 1
        step = max(1, BLOCK_NUMBERS // max(1, prod(self.shape[1:]))) if self.divisible else max(1, rows)
        return ((start, min(start + step, rows)) for start in range(0, rows, step))


Rows = Callable[[int, int], "Tensor"]
"""Gives rows ``start`` to ``stop`` of a tensor, on the CPU, in its spec's dtype; called from several threads."""
Source = Callable[[Spec], Rows]
"""Called for one tensor after another, from one thread: does what cannot be done by rows, and gives them.

The rows of a tensor are done with before the next but one is asked for, so that memory can be used again.
"""


def rows_of(value: "Tensor") -> Rows:
    """The rows of a tensor in memory."""
    return lambda start, stop: value[start:stop] if value.dim() else value


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
    folder: Path, specs: Sequence[Spec], source: Source, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> list[str]:
    """Write ``model.safetensors``, or numbered shards with their index when one file would pass ``max_shard_bytes``.

    Args:
        folder: where to.
        specs: what to write, in this order.
        source: gives the numbers.
        max_shard_bytes: see `plan`.

    Returns:
        The names of the shard files.

    Raises:
        UserError: the disk has less room than the files need.
    """
    shards = plan(specs, max_shard_bytes)
    total = len(shards)
    names = [WEIGHTS] if total == 1 else [f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)]
    require_room(folder, sum(spec.bytes for spec in specs))
    with block_threads() as pool, ThreadPoolExecutor(1) as flusher:
        flushed: list[Future[None]] = []
        for name, shard in zip(names, shards, strict=True):
            with (folder / name).open("wb") as stream:
                # Each time while what follows is computed.
                flushed += [flusher.submit(sync, folder / name) for _ in _write_shard(stream, shard, source, pool)]
        wait(flushed)
    if total > 1:
        index = {
            "metadata": {"total_size": sum(spec.bytes for spec in specs)},
            "weight_map": {spec.name: name for name, shard in zip(names, shards, strict=True) for spec in shard},
        }
        (folder / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return names


def require_room(folder: Path, size: int) -> None:
    """Refuse to begin what cannot be ended.

    Raises:
        UserError: the disk of ``folder`` has less than ``size`` bytes free.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.2f} GB free, and the weights need {size / 1e9:.2f} GB: free some space "
            "or choose another output"
        )


def _write_shard(stream: BinaryIO, shard: Sequence[Spec], source: Source, pool: Executor) -> Iterator[None]:
    """Write one file: its header, then tensor after tensor by blocks of rows. Yields when there is much to flush."""
    header = _header(shard)
    os.truncate(stream.fileno(), len(header) + sum(spec.bytes for spec in shard))
    write_at(stream, header, 0)
    place = len(header)
    flushed = 0
    before: list[Future[None]] = []
    for spec in shard:
        rows = source(spec)
        wait(before)
        if place - flushed >= FLUSH_BYTES:
            yield
            flushed = place
        row_bytes = prod(spec.shape[1:]) * DTYPE_BYTES[spec.dtype]
        before = [
            pool.submit(_write_block, stream, place + start * row_bytes, spec, rows, start, stop)
            for start, stop in spec.blocks()
        ]
        place += spec.bytes
    wait(before)
    yield


@contextmanager
def block_threads() -> Iterator[Executor]:
    """As many threads as torch uses, each with one of torch's own: a block is too small to be shared out again."""
    import torch

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def wait(jobs: Iterable[Future[None]]) -> None:
    """Wait until all are done; raise the error of the first that failed."""
    for job in jobs:
        job.result()


def _write_block(stream: BinaryIO, place: int, spec: Spec, rows: Rows, start: int, stop: int) -> None:
    write_at(stream, raw_bytes(spec, rows(start, stop), stop - start), place)


def write_at(stream: BinaryIO, content: bytes | memoryview, place: int) -> None:
    """Write all of ``content`` from byte ``place`` on."""
    left = memoryview(content)
    while left.nbytes:
        count = os.pwrite(stream.fileno(), left, place)
        left, place = left[count:], place + count


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


def raw_bytes(spec: Spec, value: "Tensor", rows: int) -> memoryview:
    """The numbers as they lie in memory (the format is little-endian, like every machine torch supports)."""
    import torch

    shape, dtype = (rows, *spec.shape[1:]) if spec.shape else (), DTYPE_NAMES[str(value.dtype).removeprefix("torch.")]
    assert (tuple(value.shape), dtype) == (shape, spec.dtype), f"{spec} was given {value.shape} {dtype}"
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
