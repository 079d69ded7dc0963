"""Reading safetensors by rows, so that no tensor need be in memory whole.

A file is read with ``pread`` and not mapped: pages of a mapping count as the process's memory until the kernel takes
them back, which for a model of 13 GB is most of them. Reading copies, at the speed of memory; in return the process
holds no more than the rows it works on.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from chatmusician.errors import UserError
from chatmusician.export.folders import header_bytes, tensor_headers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DTYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of one number, by the format's name of its dtype."""
DTYPE_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The format's names of torch's dtypes."""
TORCH_NAMES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies."""

    file: Path
    dtype: str
    """The format's name, such as F16."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the start of the file."""

    @property
    def rows(self) -> int:
        """Length of the first dimension; 1 for a scalar."""
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next."""
        return prod(self.shape[1:]) * DTYPE_BYTES[self.dtype]


def stored_tensors(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """Every tensor of some safetensors files by its name, in the order of the files.

    Raises:
        UserError: a file is not whole, or two hold a tensor of the same name.
    """
    found: dict[str, StoredTensor] = {}
    for file in files:
        start = header_bytes(file)
        for name, entry in tensor_headers(file).items():
            if name in found:
                raise UserError(f"{file} and {found[name].file} both hold the tensor {name}: copy the folder again")
            found[name] = StoredTensor(
                file=file,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                offset=start + entry["data_offsets"][0],
            )
    return found


class TensorReader:
    """Rows of stored tensors; several threads may read at once. A context manager that closes the files."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self.tensors = tensors
        self._descriptors: dict[Path, int] = {}

    def __enter__(self) -> "TensorReader":
        try:
            for file in dict.fromkeys(tensor.file for tensor in self.tensors.values()):
                self._descriptors[file] = os.open(file, os.O_RDONLY)
        except OSError:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def rows(self, name: str, start: int = 0, stop: int | None = None) -> "Tensor":
        """Rows ``start`` to ``stop`` of a tensor, in its own dtype; of a scalar the scalar.

        Raises:
            UserError: the file ends before them; it was changed since its header was read.
        """
        import torch

        tensor = self.tensors[name]
        stop = tensor.rows if stop is None else stop
        shape = (stop - start, *tensor.shape[1:]) if tensor.shape else ()
        value = torch.empty(shape, dtype=getattr(torch, TORCH_NAMES[tensor.dtype]))
        into = value.reshape(-1).view(torch.uint8).numpy().data
        place = tensor.offset + start * tensor.row_bytes
        while into.nbytes:
            count = os.preadv(self._descriptors[tensor.file], [into], place)
            if count == 0:
                raise UserError(f"{tensor.file} ends inside {name}: it changed while it was read, start again")
            into, place = into[count:], place + count
        return value


def is_finite(value: "Tensor", dtype: "torch.dtype") -> bool:
    """Whether every number is finite once rounded to ``dtype``: so it is if the largest and the smallest are."""
    import torch

    return value.numel() == 0 or bool(torch.stack(torch.aminmax(value)).to(dtype).isfinite().all())
