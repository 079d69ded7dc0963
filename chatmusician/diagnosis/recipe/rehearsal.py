"""One training step on tensors without data: how much memory activations, logits and what else a step makes need.

torch's fake tensors have a shape, a dtype and a lifetime, and no bytes; running the model's own forward and backward
pass on them gives the most that is alive at once, whatever the adapter, the checkpointing and the attention, where a
formula for each would have to follow the code. Gradients are there before the step, as under accumulation, so that
they are not counted again.

Layers that are alike add alike to each phase of a step (forward, and backward through head, layers and embeddings), so
that models of `FEW` and of twice as many layers tell what any number needs: for LLaMA2-7B the same bytes as all 32
layers, in 1 s and not 7.

It is the sum of the tensors: an allocator needs some more for what lies between them. All positions bear loss here,
which is the most that can.
"""

import re
import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FEW = 2


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make while it is on: those alive, and the most in each phase."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peaks = [0]
        self._sizes: dict[int, int] = {}

    def begin_phase(self) -> None:
        """From here on the most is another number."""
        self.peaks.append(self.alive)

    def count(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage until it is freed; views share theirs."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.alive += storage.nbytes()
            self.peaks[-1] = max(self.peaks[-1], self.alive)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.alive -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it returns."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor)
        return made


def working_bytes(model: Any, *, micro_batch: int, seq_len: int, autocast: torch.dtype | None) -> int:
    """The most memory that a step needs beyond weights and gradients, in bytes.

    Args:
        model: on the meta device; it is left with fake weights and perhaps fewer layers.
        micro_batch: rows.
        seq_len: tokens of each.
        autocast: the dtype that products are computed in, where weights have another.
    """
    decoder = _decoder(model)
    layers = len(decoder.layers)
    with FakeTensorMode():
        _replace_weights(model)
        if layers <= 2 * FEW or not _are_alike(model):
            return max(_phases(model, micro_batch=micro_batch, seq_len=seq_len, autocast=autocast))
        decoder.layers = decoder.layers[: 2 * FEW]
        more = _phases(model, micro_batch=micro_batch, seq_len=seq_len, autocast=autocast)
        decoder.layers = decoder.layers[:FEW]
        few = _phases(model, micro_batch=micro_batch, seq_len=seq_len, autocast=autocast)
    return max(high + (high - low) * (layers - 2 * FEW) // FEW for low, high in zip(few, more, strict=True))


def _phases(model: Any, *, micro_batch: int, seq_len: int, autocast: torch.dtype | None) -> list[int]:
    """Bytes of a step in each of its phases."""
    live = LiveBytes()
    for parameter in model.parameters():
        live.count(parameter)
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            live.count(parameter.grad)
    before = live.alive
    ids = torch.zeros(micro_batch, seq_len, dtype=torch.long)

    def at_gradient(tensor: torch.Tensor) -> None:
        if tensor.requires_grad:
            tensor.register_hook(lambda _: live.begin_phase())

    embedded = model.get_input_embeddings().register_forward_hook(lambda _, __, output: at_gradient(output))
    with live:
        with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            output = _decoder(model)(input_ids=ids, position_ids=torch.zeros_like(ids), use_cache=False)
            hidden = output.last_hidden_state.flatten(0, 1)  # [B x T, D]
            at_gradient(hidden)
            logits = model.get_output_embeddings()(hidden)  # [B x T, V]
            loss = F.cross_entropy(logits.float(), ids.flatten(), reduction="sum")
        del output, hidden, logits
        live.begin_phase()
        loss.backward()
    embedded.remove()
    return [peak - before for peak in live.peaks]


def _decoder(model: Any) -> Any:
    """The embeddings and layers, below the head."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model


def _are_alike(model: Any) -> bool:
    """Whether the same is trained in every layer."""
    trained: dict[str, set[tuple[str, bool]]] = {}
    for name, parameter in model.named_parameters():
        place = re.search(r"\.layers\.(\d+)\.(.+)", f".{name}")
        if place is not None:
            trained.setdefault(place[1], set()).add((place[2], parameter.requires_grad))
    return len(set(map(frozenset, trained.values()))) == 1


def _replace_weights(model: Any) -> None:
    """Fake weights and buffers in place of meta ones; tied weights stay one."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                key = id(parameter)
                if key not in made:
                    value = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
                    made[key] = torch.nn.Parameter(value, requires_grad=parameter.requires_grad)
                    made[key].replaced = parameter  # type: ignore[attr-defined] # alive, so that its id is not taken
                module._parameters[name] = made[key]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")
