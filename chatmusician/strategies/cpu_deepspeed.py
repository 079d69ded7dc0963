"""DeepSpeed's ZeRO on machines without a GPU: the same code path as on a cluster, over gloo.

Lightning's strategy accepts CUDA alone, though DeepSpeed itself runs on the CPU. For tests, for a look at a recipe on a
laptop, and for nothing else: it is slower than one process. The first start compiles a communication kernel, which
needs g++ and ninja and takes about a minute.
"""

import os
import sys
from pathlib import Path

import torch
from lightning.pytorch.strategies.deepspeed import DeepSpeedStrategy

from chatmusician.strategies.zero import Zero


class DeepSpeedOnCPU(Zero):
    """`Zero` without the insistence on CUDA of `DeepSpeedStrategy`."""

    def setup_environment(self) -> None:
        """What `DeepSpeedStrategy` does, but for the check; and let the kernel be built by this environment's ninja."""
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        super(DeepSpeedStrategy, self).setup_environment()

    @property
    def parallel_devices(self) -> list[torch.device] | None:
        """One device a local process, numbered: Lightning looks its own up by the number."""
        devices = self._parallel_devices
        return None if devices is None else [torch.device("cpu", index) for index in range(len(devices))]

    @parallel_devices.setter
    def parallel_devices(self, devices: list[torch.device] | None) -> None:
        self._parallel_devices = devices
