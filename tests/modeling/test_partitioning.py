import pytest
import torch

from chatmusician.modeling.partitioning import product_dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("bf16-mixed", torch.bfloat16),
        ("16-true", torch.float16),
        ("64-true", torch.float64),
        ("transformer-engine", torch.bfloat16),
    ],
)
def test_products_are_of_the_precision_of_training(precision: str, dtype: torch.dtype) -> None:
    assert product_dtype(precision) == dtype
