"""Parameters of a model in one place, whatever strategy has spread them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def gathered(model: Any, names: Sequence[str], *, keep: bool) -> dict[str, "Tensor"]:
    """The named parameters of ``model``, whole and on the CPU.

    Under ZeRO-3 a parameter is in pieces on all ranks: every rank must call this with the same names. Ranks without
    ``keep`` get an empty result and hold one whole parameter at a time.
    """
    parameters = dict(model.named_parameters())
    found = {}
    for name in names:
        with _whole(parameters[name]) as parameter:
            if keep:
                value = parameter.detach().cpu()
                found[name] = value.clone() if hasattr(parameter, "ds_id") else value  # the whole one is freed again
    return found


@contextmanager
def _whole(parameter: Any) -> Iterator[Any]:
    if not hasattr(parameter, "ds_id"):
        yield parameter
        return
    from deepspeed import zero

    with zero.GatheredParameters([parameter]):
        yield parameter
