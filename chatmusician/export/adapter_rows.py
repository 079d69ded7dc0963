"""The tensors that an adapter changes, computed by rows.

Everything is computed in float32 in PEFT's own order, so that the result is PEFT's to the bit: the product B A whole,
since a library for matrices may sum a block of it in another order, and the rest by blocks of rows.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.adapters import Adapter, LowRank, Replaced, ReplacedRows
from chatmusician.export.reading import TensorReader, is_finite

if TYPE_CHECKING:
    from torch import Tensor

BaseRows = Callable[[int, int], "Tensor"]
"""Gives rows ``start`` to ``stop`` of a tensor of the base in float32, to be overwritten."""


class AdapterReader:
    """Applies an adapter's changes to the base. A context manager that closes the adapter's file."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self._reader = TensorReader(adapter.stored)
        self._products: list[Tensor] = []

    def __enter__(self) -> "AdapterReader":
        self._reader.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._reader.__exit__(*error)

    def changed(self, name: str, base: BaseRows) -> BaseRows:
        """The changed tensor ``name``, by rows in float32; they may be asked for from several threads.

        They hold until the next tensor but one is asked for. ``base`` is not called where the base does not matter.
        Where the change is not divisible, all rows must be asked for at once.

        Raises:
            UserError: the adapter holds NaN or infinity.
        """
        change = self.adapter.changes[name]
        if isinstance(change, Replaced):
            return lambda start, stop: self._read(change.name, start, stop)
        if change.base is not None:
            base = partial(self._read, change.base)
        return self._replace_rows(change, base) if isinstance(change, ReplacedRows) else self._add(change, base)

    def _add(self, change: LowRank, base: BaseRows) -> BaseRows:
        import torch

        product = self._multiply(self._read(change.up), self._read(change.down))
        delta = product.T if change.embedding else product
        magnitude = None if change.magnitude is None else self._read(change.magnitude)
        # Scaling by a power of two (the paper's 16 / 64) rounds nothing, so it may be fused with the sum.
        exact = math.frexp(change.scaling)[0] == 0.5

        def rows(start: int, stop: int) -> "Tensor":
            value = base(start, stop)
            if exact:
                value.add_(delta[start:stop], alpha=change.scaling)
            else:
                value += delta[start:stop] * change.scaling
            if magnitude is None:
                return value
            if change.embedding:
                return (magnitude / torch.linalg.norm(value.T, dim=1)) * value
            return value.mul_((magnitude[start:stop] / torch.linalg.norm(value, dim=1))[:, None])

        return rows

    def _multiply(self, up: "Tensor", down: "Tensor") -> "Tensor":
        """The product, in the memory of the last but one: to get new pages would take longer than to fill them."""
        import torch

        size = up.shape[0] * down.shape[1]
        oldest = self._products.pop(0) if len(self._products) > 1 else torch.empty(0)
        self._products.append(oldest if oldest.numel() >= size else torch.empty(size))
        return torch.mm(up, down, out=self._products[-1][:size].view(up.shape[0], down.shape[1]))

    def _replace_rows(self, change: ReplacedRows, base: BaseRows) -> BaseRows:
        trained = self._read(change.name)

        def rows(start: int, stop: int) -> "Tensor":
            value = base(start, stop)
            for place, row in enumerate(change.rows):
                if start <= row < stop:
                    value[row - start] = trained[place]
            return value

        return rows

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> "Tensor":
        import torch

        value = self._reader.rows(name, start, stop).to(torch.float32)
        if not is_finite(value, torch.float32):
            raise UserError(
                f"{self.adapter.file} holds NaN or infinity in {name}: the training diverged, use an earlier checkpoint"
            )
        return value
