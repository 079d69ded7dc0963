"""DeepSpeed's ZeRO with the checkpoints of every other strategy: one file, whatever the stage and the number of ranks.

Lightning's `DeepSpeedStrategy` writes folders with a file from each rank, which need the same number of ranks to be
gone on with and DeepSpeed to be read. Here rank 0 puts weights and optimizer state together and writes what a run of
one process would have written (`chatmusician.strategies.zero_pieces`), through the trainer's own checkpoint plugin. On
the same stage and ranks a resumed run goes on bit for bit; any other may go on too, with the same rows.

A checkpoint takes 12 bytes a trained parameter, on disk and in rank 0's main memory while it is written: float32
weights and two moments, none of which can be left out of an exact resume. For LLaMA2-7B with LoRA of rank 64 that is
160 million x 12 = 1.92 GB; with embeddings and head trained too (``lora=paper``) 422 million x 12 = 5.06 GB. The
frozen 6.7 billion are not in it. Ranks read the file by memory map, each the pages of its own part.

Gradients are divided by the accumulation steps once: Lightning divides the loss, and so would DeepSpeed again.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.strategies.deepspeed import DeepSpeedStrategy
from lightning.pytorch.strategies.strategy import Strategy

from chatmusician.strategies.zero_pieces import deal_state, deal_weights, gathered_state, gathered_weights


class Zero(DeepSpeedStrategy):
    """`DeepSpeedStrategy` whose checkpoints are those of one process."""

    _groups: list[list[Any]]
    """Trained parameters by the optimizer's groups, in its order."""

    def _create_default_config(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Let an offloaded optimizer be torch's, whose state checkpoints hold."""
        return {"zero_force_ds_cpu_optimizer": False, **super()._create_default_config(*args, **kwargs)}

    def backward(self, closure_loss: torch.Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Lightning has divided the loss by the accumulation steps."""
        return super().backward(closure_loss, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def _setup_model_and_optimizer(self, model: Any, optimizer: Any, lr_scheduler: Any = None) -> tuple[Any, Any]:
        """Remember the parameters of the optimizer, which are no longer in it once ZeRO has it.

        ZeRO-3 wants them in one precision. Of a model that was loaded in pieces DeepSpeed casts none: there embeddings
        that are trained have the trainer's already, and adapters do not.
        """
        self._groups = [list(group["params"]) for group in optimizer.param_groups]
        plugin: Any = self.precision_plugin
        for parameter in (parameter for group in self._groups for parameter in group):
            if not hasattr(parameter, "ds_id"):
                parameter.data = parameter.data.to(plugin._desired_dtype)
        return super()._setup_model_and_optimizer(model, optimizer, lr_scheduler)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The trained weights in float32 on rank 0, nothing on the others; every rank must call it."""
        return gathered_weights(self.optimizers[0], self._trained(), device=self.root_device)

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """What torch's optimizer would save on rank 0, nothing on the others; every rank must call it."""
        return gathered_state(optimizer, self._groups, device=self.root_device)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Write the file, on rank 0."""
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Open the file, on every rank."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:  # noqa: ARG002 -- the LightningModule has compared the names
        """Give every rank its part of the trained weights; the frozen ones are the base's."""
        deal_weights(self.optimizers[0], self._trained(), checkpoint["state_dict"])

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands the saved state to `load_optimizer_state_dict`."""
        return True

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give every rank its part of the optimizer's state."""
        deal_state(self.optimizers[0], self._groups, checkpoint["optimizer_states"][0])

    def _trained(self) -> list[tuple[str, Any]]:
        module = self.lightning_module
        assert module is not None
        return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
