"""The head's loss in blocks against cross entropy of all logits, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from chatmusician.modeling.head_loss import SummedHeadLoss, block_rows


def example(
    tokens: int = 7, *, pieces: int = 11, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden, head = torch.randn(tokens, 6, dtype=dtype), torch.randn(pieces, 6, dtype=dtype)
    return hidden.requires_grad_(), head.requires_grad_(), torch.randint(0, pieces, (tokens,))


@pytest.mark.parametrize("tokens", [1, 7, 131, 132, 300])  # of 131 in float64, a block is full
def test_values_and_gradients_are_those_of_all_logits_at_once(tokens: int) -> None:
    hidden, head, wanted = example(tokens, pieces=32_000, dtype=torch.float64)
    expected = F.cross_entropy(hidden @ head.T, wanted, reduction="sum")
    found = SummedHeadLoss.apply(hidden, head, wanted)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(3 * found, (hidden, head)), torch.autograd.grad(3 * expected, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, head, wanted = example()
    head.requires_grad_(False)
    SummedHeadLoss.apply(hidden, head, wanted).backward()
    assert head.grad is None
    assert hidden.grad is not None


def test_improbable_tokens_keep_their_loss() -> None:
    """Logits 300 apart: the probability is 0 in float32, the loss 300 nats."""
    hidden = torch.tensor([[0.0, 300.0], [1.0, 1.0]])
    loss = SummedHeadLoss.apply(hidden, torch.eye(2), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(300 + 0.6931472, rel=1e-6)


def test_no_tokens_cost_nothing() -> None:
    hidden, head, wanted = example(0)
    loss = SummedHeadLoss.apply(hidden, head, wanted)
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None
    assert not head.grad.any()  # type: ignore[union-attr] # made by backward


def test_without_gradients_the_loss_is_the_same() -> None:
    hidden, head, wanted = example()
    with torch.no_grad():
        bare = SummedHeadLoss.apply(hidden, head, wanted)
    assert torch.equal(bare, SummedHeadLoss.apply(hidden, head, wanted))


@pytest.mark.parametrize(
    ("rows", "block"),
    [(578, 193), (262, 262), (263, 132), (0, 1), (1, 1)],  # 32 MiB are 262 rows of 32,000 pieces
)
def test_blocks_are_of_one_size(rows: int, block: int) -> None:
    assert block_rows(rows, row_bytes=32_000 * 4) == block
