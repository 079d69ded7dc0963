"""Weights and optimizer states that ZeRO has dealt out to the ranks: put together, and dealt out again.

ZeRO keeps the float32 weights and the moments of all trained parameters in flat tensors, a part of each on every
rank::

    parameters      [ a a a a a a ][ b b b ][ c c c c ]
    ZeRO-1 and 2    rank 0: a a a a a a b | rank 1: b b c c c c         the parameters in a row, cut into equal parts
    ZeRO-3          rank 0: a a a b b c c | rank 1: a a a b . c c       every parameter cut by itself; . is padding

A `Piece` says where a rank's part of one parameter lies, so that the rest need not know which it is. What is put
together is what torch's own optimizer would have saved, by parameter: a checkpoint does not tell how many ranks wrote
it, or whether ZeRO did. Bits are kept, negative zeros among them: parts are added up as integers, where all others
hold zeros.

Memory: rank 0 gets everything once, in main memory, and each rank's device gives 64 MiB. NCCL needs tensors on the
device, so pieces that are offloaded to main memory pass through there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 2**24
"""Elements that are sent at once."""
SCALER = "loss_scaler"
"""Key of an optimizer's state: the loss scale of float16, and what it was found by."""
_SCALER_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")

Groups = Sequence[Sequence["Tensor"]]
"""The trained parameters by the optimizer's groups, as they were before ZeRO took them."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """This rank's part of a parameter: ``count`` elements from ``start``, ``offset`` elements into a flat tensor."""

    start: int
    count: int
    flat: "Tensor"
    offset: int

    def of(self, values: "Tensor") -> "Tensor":
        """The piece in a tensor that is laid out as the flat one."""
        return values.narrow(0, self.offset, self.count)


class Zero1And2:
    """Where `DeepSpeedZeroOptimizer` keeps what."""

    def __init__(self, zero: Any) -> None:
        self.zero = zero

    def flats(self, group: int) -> list["Tensor"]:
        """This rank's flat tensors of a group of parameters: one."""
        return [self.zero.single_partition_of_fp32_groups[group]]

    def piece(self, parameter: Any) -> Piece | None:
        """This rank's part; None if it has none."""
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        return Piece(
            start=mapping.lp_fragment_address.start,
            count=mapping.lp_fragment_address.numel,
            flat=self.zero.single_partition_of_fp32_groups[mapping.param_group_index],
            offset=mapping.hp_fragment_address.start,
        )

    def refresh(self, parameters: Sequence[Any]) -> None:  # noqa: ARG002 -- ZeRO-3 needs them
        """Make the weights that are computed with those of the flat tensors, on every rank."""
        self.zero.update_lp_params()


class Zero3:
    """Where `DeepSpeedZeroOptimizer_Stage3` keeps what."""

    def __init__(self, zero: Any) -> None:
        self.zero = zero

    def flats(self, group: int) -> list["Tensor"]:
        """This rank's flat tensors of a group of parameters: one for each ``sub_group_size`` elements."""
        of_groups = self.zero.sub_group_to_group_id
        return [flat for index, flat in enumerate(self.zero.fp32_partitioned_groups_flat) if of_groups[index] == group]

    def piece(self, parameter: Any) -> Piece | None:
        """This rank's part; None if it has none, as the last rank of a very small parameter."""
        sub_group, offset, padded = self.zero.grad_position[self.zero.get_param_id(parameter)]
        start = distributed.get_rank() * padded
        count = min(padded, parameter.ds_numel - start)
        if count <= 0:
            return None
        flat = self.zero.fp32_partitioned_groups_flat[sub_group]
        return Piece(start=start, count=count, flat=flat, offset=offset)

    def refresh(self, parameters: Sequence[Any]) -> None:
        """Make the weights that are computed with those of the flat tensors, on every rank."""
        self.zero.checkpoint_event_prologue()  # those that are always whole are cut, too
        for parameter in parameters:
            piece = self.piece(parameter)
            if piece is not None:
                parameter.ds_tensor.narrow(0, 0, piece.count).copy_(piece.of(piece.flat))
        self.zero.checkpoint_event_epilogue()


def layout(zero: Any) -> Zero1And2 | Zero3:
    """How an optimizer of DeepSpeed's lays out its tensors.

    Raises:
        UserError: it is none of ZeRO's, or keeps them on disks.
    """
    if hasattr(zero, "fp32_partitioned_groups_flat"):
        if zero.swap_optimizer or zero.params_in_nvme_and_cpu:
            raise UserError("trainer.strategy: offload to nvme cannot be saved and resumed exactly; offload to cpu")
        return Zero3(zero)
    if hasattr(zero, "single_partition_of_fp32_groups"):
        return Zero1And2(zero)
    raise UserError(f"trainer.strategy: checkpoints of {type(zero).__name__} cannot be written; use stage 2 or 3")


@torch.no_grad()
def gathered_weights(zero: Any, named: Sequence[tuple[str, Any]], *, device: torch.device) -> dict[str, "Tensor"]:
    """The trained weights in float32, whole, on rank 0; nothing on the others. Every rank must call it."""
    where = layout(zero)
    found = {}
    for name, parameter in named:
        piece = where.piece(parameter)
        values = None if piece is None else piece.of(piece.flat)
        whole = _gathered(values, piece, shape=_shape(parameter), device=device)
        if whole is not None:
            found[name] = whole
    return found


@torch.no_grad()
def gathered_state(zero: Any, groups: Groups, *, device: torch.device) -> dict[str, Any]:
    """The optimizer's state on rank 0 as torch's own would save it, empty on the others. Every rank must call it."""
    where = layout(zero)
    states: dict[int, dict[str, Any]] = {}
    for group, index, parameter in _numbered(groups):
        flat_state = zero.optimizer.state[where.flats(group)[0]]
        piece = where.piece(parameter)
        # Each parameter gets its own count of steps: torch would raise one that all share once for each of them.
        states[index] = {key: _copied(value) for key, value in flat_state.items() if not _is_dealt(value, where, group)}
        for key in (key for key, value in flat_state.items() if _is_dealt(value, where, group)):
            values = None if piece is None else piece.of(zero.optimizer.state[piece.flat][key])
            whole = _gathered(values, piece, shape=_shape(parameter), device=device)
            if whole is not None:
                states[index][key] = whole
    if distributed.get_rank():
        return {}
    numbers: dict[int, list[int]] = {group: [] for group in range(len(groups))}
    for group, index, _ in _numbered(groups):
        numbers[group].append(index)
    settings = [{name: value for name, value in group.items() if name != "params"} for group in _settings(zero)]
    scaler = {name: value for name, value in vars(zero.loss_scaler).items() if name in _SCALER_STATE}
    return {
        "state": states,
        "param_groups": [{**group, "params": numbers[number]} for number, group in enumerate(settings)],
        SCALER: scaler,
    }


@torch.no_grad()
def deal_weights(zero: Any, named: Sequence[tuple[str, Any]], values: Mapping[str, "Tensor"]) -> None:
    """Give every rank its part of ``values``, the whole trained weights by name. Every rank must call it."""
    where = layout(zero)
    for name, parameter in named:
        piece = where.piece(parameter)
        if piece is not None:
            piece.of(piece.flat).copy_(_part(values[name], piece))
    where.refresh([parameter for _, parameter in named])


@torch.no_grad()
def deal_state(zero: Any, groups: Groups, saved: Mapping[str, Any]) -> None:
    """Give every rank its part of an optimizer's state that `gathered_state`, or torch's optimizer, has saved."""
    where = layout(zero)
    for number, group in enumerate(_settings(zero)):
        group.update({name: value for name, value in saved["param_groups"][number].items() if name != "params"})
    for group_number, index, parameter in _numbered(groups):
        state = saved["state"][index]
        for flat in where.flats(group_number):
            if not zero.optimizer.state[flat]:
                zero.optimizer.state[flat] = {
                    key: torch.zeros_like(flat) if _is_whole(value, parameter) else _copied(value)
                    for key, value in state.items()
                }
        piece = where.piece(parameter)
        for key, value in state.items():
            if piece is not None and _is_whole(value, parameter):
                piece.of(zero.optimizer.state[piece.flat][key]).copy_(_part(value, piece))
    for name, value in saved.get(SCALER, {}).items():
        if hasattr(zero.loss_scaler, name):
            setattr(zero.loss_scaler, name, value)


def _gathered(
    values: "Tensor | None", piece: Piece | None, *, shape: torch.Size, device: torch.device
) -> "Tensor | None":
    """A whole parameter from all ranks' pieces on rank 0, in main memory; None on the others."""
    count = shape.numel()
    whole = torch.empty(count) if distributed.get_rank() == 0 else None
    for first in range(0, count, _AT_ONCE):
        last = min(first + _AT_ONCE, count)
        part = torch.zeros(last - first, device=device)
        if values is not None and piece is not None:
            begin, end = max(first, piece.start), min(last, piece.start + piece.count)
            if begin < end:
                part[begin - first : end - first] = values[begin - piece.start : end - piece.start]
        distributed.reduce(part.view(torch.int32), dst=0)
        if whole is not None:
            whole[first:last] = part
    return None if whole is None else whole.view(shape)


def _numbered(groups: Groups) -> Iterator[tuple[int, int, Any]]:
    """Group, number and value of every parameter, counted over all groups, as torch's optimizers do."""
    index = 0
    for group, parameters in enumerate(groups):
        for parameter in parameters:
            yield group, index, parameter
            index += 1


def _settings(zero: Any) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = zero.optimizer.param_groups
    return groups


def _shape(parameter: Any) -> torch.Size:
    """Of the whole parameter; under ZeRO-3 what is here may be empty."""
    return torch.Size(getattr(parameter, "ds_shape", parameter.shape))


def _is_dealt(value: Any, where: Zero1And2 | Zero3, group: int) -> bool:
    """Whether a state is laid out as the weights are, and not one number for all."""
    return torch.is_tensor(value) and value.shape == where.flats(group)[0].shape


def _is_whole(value: Any, parameter: Any) -> bool:
    return torch.is_tensor(value) and value.shape == _shape(parameter)


def _copied(value: Any) -> Any:
    return value.clone() if torch.is_tensor(value) else value


def _part(whole: "Tensor", piece: Piece) -> "Tensor":
    return whole.reshape(-1).narrow(0, piece.start, piece.count)
