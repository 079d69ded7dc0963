import subprocess
import sys

import pytest

from chatmusician.half_precision import computes_in_half_precision


@pytest.mark.parametrize(
    ("precision", "dtype", "in_16_bits"),
    [
        ("32-true", "float32", False),
        (32, None, False),
        ("bf16-mixed", "float32", True),
        ("16-mixed", None, True),
        (16, None, True),
        ("32-true", "bfloat16", True),
        ("32-true", "auto", True),  # as stored, which is 16 bits for all models of this size
    ],
)
def test_a_run_is_in_16_bits_by_its_precision_or_by_its_weights(
    precision: str | int, dtype: str | None, in_16_bits: bool
) -> None:
    assert computes_in_half_precision(precision=precision, dtype=dtype) is in_16_bits


def test_16_bit_products_survive_where_they_were_made_safe() -> None:
    """In a process of its own, which would be killed where the probe is wrong."""
    code = (
        "from chatmusician.half_precision import enable_half_precision_on_cpu; enable_half_precision_on_cpu()\n"
        "import torch; a = torch.ones(96, 96, dtype=torch.bfloat16); print(float((a @ a)[0, 0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "96.0\n"), done.stderr
