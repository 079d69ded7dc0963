"""The LightningModule for pretraining and fine-tuning: a backbone, perhaps an adapter, one loss.

The loss of an optimizer step is the negative log likelihood summed over its trained tokens, divided by their number,
over all ranks and accumulation steps: 1 x 8, 8 x 1 and 2 ranks x 4 rows give one trajectory. A micro-batch therefore
weighs its sum by ``accumulation x ranks / step_tokens``, since Lightning divides by the accumulation steps and
gradients are averaged over ranks.

A run that is resumed goes on bit for bit as if it had not been stopped; see `chatmusician.modeling.resuming`.
"""

from typing import TYPE_CHECKING, Any, Protocol

import lightning as L
import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision, FSDPPrecision

from chatmusician.errors import UserError
from chatmusician.modeling.fast_step import take_faster_parts
from chatmusician.modeling.loss import summed_loss, token_losses
from chatmusician.modeling.metrics import BitsPerByte, BitsPerByteBySource
from chatmusician.modeling.optimizers import OptimizerSettings, Schedule, trained_parameters
from chatmusician.modeling.partitioning import is_deepspeed, keep_trained_in_float32, loading_for, product_dtype
from chatmusician.modeling.resuming import micro_batch_seed, realign

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


MICRO_BATCHES = "micro_batches_per_step"
"""Key of a checkpoint: accumulation steps of the run that wrote it."""


class Backbone(Protocol):
    """Where weights come from; see `chatmusician.modeling.backbone`."""

    @property
    def path(self) -> str | None:
        """The folder or Hub id of the weights; None for new ones."""

    def build(self, tokenizer: Any, *, device: Any = "cpu") -> "LlamaForCausalLM":
        """The model in training mode; what has to be made on the device that trains it is made there."""


class Adapter(Protocol):
    """What is trained; see `chatmusician.modeling.lora`."""

    def attach(self, model: Any) -> Any:
        """The model, with what is not trained frozen."""


class CausalLanguageModel(L.LightningModule):
    """A causal language model on packed rows; see `chatmusician.data.micro_batches` for the batches.

    Args:
        backbone: where the weights come from.
        optimizer: which optimizer, over whatever is trained.
        schedule: the learning rate over the optimizer steps.
        lora: what is trained: all weights, or an adapter.
        faster_parts: put in those of `chatmusician.modeling.fast_step`.
    """

    strict_loading = False  # checkpoints hold the trained weights only; on_load_checkpoint checks their names

    def __init__(
        self,
        *,
        backbone: Backbone,
        lora: Adapter,
        optimizer: OptimizerSettings,
        schedule: Schedule,
        faster_parts: bool = True,
    ) -> None:
        super().__init__()
        self.faster_parts = faster_parts
        self.backbone = backbone
        self.optimizer_settings = optimizer
        self.schedule = schedule
        self.lora = lora
        self.model: Any = None
        self.gradient_norm: torch.Tensor | None = None
        """Of the newest optimizer step before clipping, on the device; None where the strategy does it by itself."""
        self._seed = 0
        self.validation_bits, self.validation_sources = BitsPerByte(), BitsPerByteBySource(())
        self.test_bits, self.test_sources = BitsPerByte(), BitsPerByteBySource(())

    @property
    def base_path(self) -> str | None:
        """The folder or Hub id of the base weights; None where they are new."""
        return self.backbone.path

    def setup(self, stage: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """Build the model, once the tokenizer of the data is known; see `chatmusician.modeling.partitioning`."""
        if self.model is not None:
            return
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined] # set by Trainer.fit
        self.validation_sources = BitsPerByteBySource(datamodule.sources("validation"))
        self.test_sources = BitsPerByteBySource(datamodule.sources("test"))
        self._seed = torch.initial_seed()  # that of `lightning.seed_everything`
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            strategy = self.trainer.strategy
            with loading_for(strategy, stored=self.base_path is not None):
                model: Any = self.backbone.build(datamodule.tokenizer, device=strategy.root_device)
            self.model = self.lora.attach(model)
            if not is_deepspeed(strategy):
                keep_trained_in_float32(self.model)
        if self.faster_parts:
            dtype = product_dtype(str(self.trainer.precision))
            take_faster_parts(self.model, device=strategy.root_device, dtype=dtype)
        for metric in (self.validation_bits, self.validation_sources, self.test_bits, self.test_sources):
            metric.to(strategy.root_device)  # ZeRO-3 moves nothing

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The micro-batch's share of the loss of its optimizer step."""
        micro_batch = batch_idx % self.trainer.accumulate_grad_batches
        step, rank = self.trainer.global_step, self.trainer.global_rank
        torch.manual_seed(micro_batch_seed(self._seed, step=step, micro_batch=micro_batch, rank=rank))
        nats, tokens = summed_loss(self.model, batch)
        self.log("train/loss", nats.detach() / max(1, tokens), prog_bar=True, batch_size=1)
        weight = self.trainer.accumulate_grad_batches * self.trainer.world_size / batch["step_tokens"].clamp(min=1)
        return nats * weight

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:  # noqa: ARG002 -- Lightning's signature
        """Count bits and bytes of the validation split."""
        self._count(batch, self.validation_bits, self.validation_sources, "val/bits_per_byte")

    def on_validation_epoch_end(self) -> None:
        """Log the bits per byte of each source of the validation split."""
        self._log_sources(self.validation_sources, "val/bits_per_byte")

    def test_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:  # noqa: ARG002 -- Lightning's signature
        """Count bits and bytes of the test split."""
        self._count(batch, self.test_bits, self.test_sources, "test/bits_per_byte")

    def on_test_epoch_end(self) -> None:
        """Log the bits per byte of each source of the test split."""
        self._log_sources(self.test_sources, "test/bits_per_byte")

    def _count(
        self, batch: dict[str, torch.Tensor], metric: BitsPerByte, by_source: BitsPerByteBySource, name: str
    ) -> None:
        if len(batch["input_ids"]):
            nats, trained = token_losses(self.model, batch)
            metric.update(nats.sum(), batch["trained_bytes"])
            by_source.update(nats, batch["sources"][trained], batch["source_bytes"])
        self.log(name, metric, on_step=False, on_epoch=True, prog_bar=True, batch_size=1)

    def _log_sources(self, metric: BitsPerByteBySource, name: str) -> None:
        for source, bits in metric.compute().items():  # of all ranks, so that each logs the same
            self.log(f"{name}/{source}", bits, sync_dist=True)
        metric.reset()

    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        if self.trainer.max_steps > 0:
            return self.trainer.max_steps
        epochs = self.trainer.max_epochs or 1
        return epochs * self.trainer.datamodule.steps_per_epoch()  # type: ignore[attr-defined] # set by Trainer.fit

    def configure_optimizers(self) -> Any:
        """The optimizer over the trained parameters, and the schedule stepped with it."""
        optimizer = self.optimizer_settings.build(self.model.named_parameters())
        total = self.total_steps()
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule.factor(step, total=total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says. The norm that clipping by norm computes is kept, and computed where it does not."""
        precision = self.trainer.precision_plugin
        scales = getattr(precision, "scaler", None) is not None
        unscales_itself = scales and getattr(optimizer, "_step_supports_amp_scaling", False)
        if isinstance(precision, DeepSpeedPrecision | FSDPPrecision) or unscales_itself:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = list(precision.main_params(optimizer))
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        if gradient_clip_val and (gradient_clip_algorithm or "norm") == "norm":
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, self.gradient_norm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained weights only: an adapter's checkpoint does not repeat its base."""
        checkpoint[MICRO_BATCHES] = self.trainer.accumulate_grad_batches
        trained = {name for name, _ in trained_parameters(self)}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name in trained}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model; take one of other micro-batches.

        Raises:
            UserError: trained weights are missing from the checkpoint, or it has others; or it is not one of ours.
        """
        if MICRO_BATCHES not in checkpoint:
            raise UserError("the checkpoint was not written by this module; resume from one in checkpoints/ of a run")
        trained = {name for name, _ in trained_parameters(self)}
        # DeepSpeed loads weights by itself, from pieces that are not in this dictionary.
        differing = sorted(trained ^ checkpoint["state_dict"].keys()) if "state_dict" in checkpoint else []
        if differing:
            raise UserError(
                f"the checkpoint is of another model or adapter: {differing[0]} and {len(differing) - 1} more weights "
                "are in one only; resume with the configuration it was made with"
            )
        realign(
            checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"],
            saved=checkpoint[MICRO_BATCHES],
            now=self.trainer.accumulate_grad_batches,
        )
