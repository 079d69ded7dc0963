"""Floating-point operations of training, and what a device can do: their quotient is the model FLOP utilisation (MFU).

Counted are the matrix products that the training of a packed batch needs, recomputation for gradient checkpointing left
out (as in PaLM, Chowdhery et al. 2022, appendix B). A weight of a matrix takes 2 operations a token to go forward, 2
for the gradient of what went in, and 2 more for its own gradient where it is trained; a pair of tokens that attend to
one another takes 4 x width operations a layer forward and 8 backward. The head sees positions that bear loss only.

Drawn, a row of 6 tokens with documents of 2 and 4; 1 + 2 + 1 + 2 + 3 + 4 = 13 pairs attend, where one document of 6
would have 21::

    position_ids   0 1 0 1 2 3
    pairs          1 2 1 2 3 4
"""

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROUNDS = 5
"""Measurements of a product; the median is taken."""


@dataclass(frozen=True, kw_only=True)
class MatrixWeights:
    """Weights of the matrices that every token passes, and of the head that trained positions pass."""

    layers: int
    """Transformer layers."""
    width: int
    """Heads x size of a head."""
    frozen: int
    trained: int
    head: int
    head_trained: bool


def matrix_weights(model: Any) -> MatrixWeights:
    """Count them in a Llama, perhaps wrapped by PEFT; quantised and partitioned weights by the size they stand for."""
    config = model.config
    head = model.get_output_embeddings()
    head_weights = {id(parameter) for parameter in head.parameters()}
    counts = {True: 0, False: 0}
    for name, parameter in model.named_parameters():
        if id(parameter) not in head_weights and _dimensions(parameter) == 2 and ".layers." in f".{name}":
            counts[parameter.requires_grad] += weight_count(parameter)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return MatrixWeights(
        layers=config.num_hidden_layers,
        width=config.num_attention_heads * head_size,
        frozen=counts[False],
        trained=counts[True],
        head=config.vocab_size * config.hidden_size,
        head_trained=any(parameter.requires_grad for parameter in head.parameters()),
    )


def _dimensions(parameter: Any) -> int:
    return len(getattr(parameter, "ds_shape", None) or _whole_shape(parameter))


def weight_count(parameter: Any) -> int:
    """Numbers in a whole parameter, also where it is quantised or this rank has a piece of it."""
    size = 1
    for length in getattr(parameter, "ds_shape", None) or _whole_shape(parameter):
        size *= length
    return size


def _whole_shape(parameter: Any) -> tuple[int, ...]:
    """The shape before bitsandbytes packed two weights into a byte."""
    state = getattr(parameter, "quant_state", None)
    return tuple(parameter.shape if state is None else state.shape)


def training_flops(weights: MatrixWeights, *, tokens: int, trained_tokens: int, attended_pairs: int) -> int:
    """Operations of one forward and backward pass.

    Args:
        weights: of the model.
        tokens: all of the rows, padding too.
        trained_tokens: those that bear loss.
        attended_pairs: of tokens in one document, the later with the earlier and with itself; the sum of
            ``position_ids + 1``.
    """
    matrices = tokens * (4 * weights.frozen + 6 * weights.trained)
    head = trained_tokens * (6 if weights.head_trained else 4) * weights.head
    return matrices + head + 12 * weights.layers * weights.width * attended_pairs


def matrix_product_peak(*, device: "torch.device", dtype: "torch.dtype", size: int | None = None) -> float:
    """Floating-point operations a second of a square matrix product on ``device``: what training could reach at most.

    Args:
        device: where.
        dtype: of the matrices; on the CPU in 16 bits call `chatmusician.half_precision` first.
        size: rows of the matrices; by default 8192 on a GPU and 2048 elsewhere (0.1 s a product on two cores).
    """
    import torch

    rows = size or (8192 if device.type == "cuda" else 2048)
    draw = torch.Generator(device).manual_seed(0)  # a GPU multiplies equal numbers faster than those of a model
    left, right = (torch.rand(rows, rows, device=device, dtype=dtype, generator=draw) for _ in range(2))
    seconds = []
    for _ in range(ROUNDS + 1):  # the first one warms up
        _wait(device)
        started = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * rows**3 / statistics.median(seconds[1:])


def _wait(device: "torch.device") -> None:
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)
