import pytest
import torch

from chatmusician.modeling.dropout import exact, kept, only


@pytest.mark.parametrize(("p", "levels"), [(0.1, 6554), (0.5, 32768), (0.25, 16384), (0.0, 0), (1e-6, 0)])
def test_the_probability_in_levels_of_65536(p: float, levels: int) -> None:
    assert exact(p) == levels / 65536


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool])
def test_what_is_not_kept_is_zero(dtype: torch.dtype) -> None:
    values = torch.tensor([1.5, -2.0, 3.0])
    assert only(values, torch.tensor([1, 0, 1], dtype=dtype)).tolist() == [1.5, 0, 3]
    assert only(values, None) is values
    assert values.tolist() == [1.5, -2, 3]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped(p: float) -> None:
    """Of a million elements the share is within four deviations of the probability."""
    torch.manual_seed(0)
    keep = kept((1000, 1000), p=p)
    assert set(keep.unique().tolist()) == {0, 1}
    assert 1 - keep.float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 1e6) ** 0.5)


def test_neighbours_are_dropped_independently() -> None:
    """Elements that come from one random word, as 0 and 1 do, are both dropped as often as any two: 1 in 4."""
    torch.manual_seed(0)
    words = (1 - kept((250_000, 4), p=0.5)).float()
    for first, second in ((0, 1), (0, 3), (1, 2)):
        assert (words[:, first] * words[:, second]).mean().item() == pytest.approx(0.25, abs=0.004)


def test_the_seed_decides() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append((kept((7, 3), p=0.5), kept((64, 3), p=0.5)))
    assert draws[0][0].shape == (7, 3)  # 21 elements: the last word is used in part
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][1], draws[2][1])
    assert not torch.equal(draws[0][0], draws[0][1][:7])
