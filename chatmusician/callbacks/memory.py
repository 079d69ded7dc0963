"""How much memory training takes."""

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

if TYPE_CHECKING:
    import torch
    from lightning.pytorch import LightningModule, Trainer

GIB = 2**30


class Memory(Callback):
    """Logs, of rank 0 and in GiB, once in ``window`` micro-batches:

    - ``memory/process``, what the process holds now;
    - on a GPU ``memory/gpu_peak``, the most that tensors took at once since the start, and ``memory/gpu_reserved``,
      the most that was taken from the device for them.
    """

    def __init__(self, *, window: int = 20) -> None:
        self.window = window

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,
    ) -> None:
        """Log it where it is time. None of it waits for a GPU."""
        if (batch_idx + 1) % self.window:
            return
        for name, size in memory_of(trainer.strategy.root_device).items():
            pl_module.log(f"memory/{name}", size / GIB)


def memory_of(device: "torch.device") -> dict[str, int]:
    """Bytes that this process takes, and of a GPU at most has taken."""
    import psutil
    import torch

    sizes = {"process": psutil.Process().memory_info().rss}
    if device.type == "cuda":
        sizes["gpu_peak"] = torch.cuda.max_memory_allocated(device)
        sizes["gpu_reserved"] = torch.cuda.max_memory_reserved(device)
    return sizes
