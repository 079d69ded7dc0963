"""How the optimizer moves: learning rate, and the norm of the gradient before clipping, at each optimizer step."""

from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

if TYPE_CHECKING:
    import torch
    from lightning.pytorch import LightningModule, Trainer


class Optimisation(Callback):
    """Logs ``optim/lr``, that of the first group of parameters, and ``optim/gradient_norm``, over all of them.

    The schedule moves the learning rates of all groups alike. The norm is the one that clipping needs
    (`chatmusician.modeling.language_model`, or DeepSpeed's engine): nothing is computed twice, and it is looked at only
    when the loggers write.
    """

    def on_train_batch_start(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,
    ) -> None:
        """Log the learning rate of the step that is about to be taken; afterwards it is that of the next."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            pl_module.log("optim/lr", trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,
    ) -> None:
        """Log the norm of the gradient of the step that was taken."""
        norm = gradient_norm(trainer, pl_module)
        if norm is not None and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            pl_module.log("optim/gradient_norm", norm)


def gradient_norm(trainer: "Trainer", pl_module: "LightningModule") -> "torch.Tensor | float | None":
    """Of the newest optimizer step over all ranks, before clipping; None where nobody has computed it."""
    engine: Any = trainer.strategy.model
    if hasattr(engine, "get_global_grad_norm"):  # DeepSpeed clips in its own step
        norm: torch.Tensor | float | None = engine.get_global_grad_norm()
        return norm
    return getattr(pl_module, "gradient_norm", None)
