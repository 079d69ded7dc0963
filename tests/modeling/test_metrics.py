import math

import pytest
import torch

from chatmusician.modeling.metrics import BitsPerByte, BitsPerByteBySource


def test_bits_per_byte_by_hand() -> None:
    metric = BitsPerByte()
    metric.update(torch.tensor(8 * math.log(2)), torch.tensor(4))  # 8 bits for 4 bytes
    assert metric.compute().item() == pytest.approx(2.0)


def test_batches_weigh_by_their_bytes() -> None:
    """1 bit for 1 byte and 9 bits for 3 bytes: 10 / 4, not the mean of 1 and 3."""
    metric = BitsPerByte()
    metric.update(torch.tensor(math.log(2)), torch.tensor(1))
    metric.update(torch.tensor(9 * math.log(2)), torch.tensor(3))
    assert metric.compute().item() == pytest.approx(2.5)
    metric.reset()
    metric.update(torch.tensor(3 * math.log(2)), torch.tensor(1))
    assert metric.compute().item() == pytest.approx(3.0)


def test_many_small_batches_lose_no_precision() -> None:
    """In float32 the sum would stop growing: a billion, and then ones."""
    metric = BitsPerByte()
    metric.update(torch.tensor(2.0**30), torch.tensor(2**30))
    for _ in range(100):
        metric.update(torch.tensor(1.0), torch.tensor(0))
    assert metric.nats.item() == 2**30 + 100


def test_states_add_over_ranks() -> None:
    metric = BitsPerByte()
    assert {name: reduction.__name__ for name, reduction in metric._reductions.items() if reduction is not None} == {
        "nats": "dim_zero_sum",
        "bytes": "dim_zero_sum",
    }


def test_nothing_seen_is_not_a_number() -> None:
    assert math.isnan(BitsPerByte().compute().item())


def test_no_gradient_is_held() -> None:
    metric = BitsPerByte()
    metric.update(torch.tensor(1.0, requires_grad=True), torch.tensor(1))
    assert not metric.nats.requires_grad


def test_bits_per_byte_by_source_by_hand() -> None:
    """Source 0 has 1 bit for 2 bytes, source 2 has 3 + 5 bits for 1 + 1 bytes, source 1 was not seen."""
    metric = BitsPerByteBySource(["reels", "hymns", "jigs"])
    bit = math.log(2)
    metric.update(torch.tensor([3 * bit, 1 * bit]), torch.tensor([2, 0]), torch.tensor([2, 0, 1]))
    metric.update(torch.tensor([5 * bit]), torch.tensor([2]), torch.tensor([0, 0, 1]))
    found = metric.compute()
    assert {name: value.item() for name, value in found.items()} == pytest.approx({"reels": 0.5, "jigs": 4.0})


def test_sources_add_over_ranks() -> None:
    metric = BitsPerByteBySource(["reels"])
    names = {name: reduction.__name__ for name, reduction in metric._reductions.items() if reduction is not None}
    assert names == {"nats": "dim_zero_sum", "bytes": "dim_zero_sum"}
