"""DeepSpeed with the optimizer, and the parameters perhaps, in the host's memory: for models too large for the GPUs.

DeepSpeed wants an optimizer of its own there, which it compiles for the machine; torch's AdamW does the same step on
the CPU, is what every other strategy here uses, and needs no compiler on the GPU nodes.
"""

from typing import Any

from lightning.pytorch.strategies.deepspeed import DeepSpeedStrategy


class OffloadingDeepSpeed(DeepSpeedStrategy):
    """`DeepSpeedStrategy` that takes any optimizer for what is offloaded."""

    def _create_default_config(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """DeepSpeed's configuration as Lightning makes it, with one key that Lightning has no argument for."""
        return {**super()._create_default_config(*args, **kwargs), "zero_force_ds_cpu_optimizer": False}
