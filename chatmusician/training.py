"""One training run: data, model, trainer from an accepted config; fit, test, and write down what came of it."""

import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from chatmusician.callbacks.checkpoints import LastAndBest
from chatmusician.callbacks.run_recorder import RunRecorder
from chatmusician.callbacks.throughput import Throughput
from chatmusician.dashboards.wandb_logger import finished_runs
from chatmusician.data.datamodule import PackedDataModule
from chatmusician.data.shards import write_json
from chatmusician.errors import Stopped
from chatmusician.half_precision import computes_in_half_precision, enable_half_precision_on_cpu
from chatmusician.modeling.flops import weight_count
from chatmusician.modeling.language_model import CausalLanguageModel
from chatmusician.requirements import require_training
from chatmusician.resumption import SameStart, checkpoint_to_resume

log = logging.getLogger(__name__)


@finished_runs()
def run(cfg: DictConfig) -> float | None:
    """Train as configured; the validation bits per byte (the objective of sweeps), or None where nothing was validated.

    Writes ``metrics.json`` into the run's folder, beside what callbacks write.

    Raises:
        ConfigError: with all that this machine lacks for it, before data are prepared or a model is loaded.
    """
    require_training(cfg)
    output = Path(HydraConfig.get().runtime.output_dir)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader processes are forked after the tokenizer is used
    _quieten()
    _make_half_precision_safe(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.matmul_precision is not None:
        torch.set_float32_matmul_precision(cfg.matmul_precision)
    datamodule: PackedDataModule = instantiate(cfg.data)
    model: CausalLanguageModel = instantiate(cfg.model)
    checkpoint = checkpoint_to_resume(cfg, output=output)
    callbacks: list[L.Callback] = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    callbacks.append(RunRecorder(output=output, config=config))
    loggers = [logger for node in cfg.logger.values() if node is not None and (logger := instantiate(node)) is not None]
    trainer: L.Trainer = instantiate(cfg.trainer, callbacks=[SameStart(checkpoint), *callbacks], logger=loggers)
    _set_batches(trainer, accumulation=datamodule.accumulation(trainer.world_size))
    for logger in trainer.loggers:
        logger.log_hyperparams(config)
    _fit(trainer, model, datamodule, checkpoint)
    if checkpoint is not None and not trainer.callback_metrics:  # a run that had finished
        trainer.validate(model, datamodule=datamodule, verbose=False)
    metrics = {name: round(float(value), 6) for name, value in trainer.callback_metrics.items()}
    if cfg.test:
        results = trainer.test(model, datamodule=datamodule, verbose=False)
        metrics.update({name: round(value, 6) for result in results for name, value in result.items()})
    if trainer.is_global_zero:
        write_json(output / "metrics.json", {**metrics, **_summary(trainer, model, callbacks)})
        log.info("metrics: %s", json.dumps(metrics))
    return metrics.get("val/bits_per_byte")


def _set_batches(trainer: L.Trainer, *, accumulation: int) -> None:
    """Tell Lightning, which counts in micro-batches, what the configuration gives in optimizer steps."""
    trainer.accumulate_grad_batches = accumulation
    if isinstance(trainer.val_check_interval, int):
        trainer.val_check_interval *= accumulation


def _quieten() -> None:
    """Leave out what says nothing of the run: greetings of libraries, and deprecations inside them."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # lightning 2.6 with torch 2.13
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # rows are read in microseconds
    warnings.filterwarnings(
        "ignore", message=".*(Experiment logs|Checkpoint) directory .* exists.*"
    )  # a run done again
    warnings.filterwarnings("ignore", message=".*is_activation_checkpointing.*")  # transformers 5 with torch 2.13


def _make_half_precision_safe(cfg: DictConfig) -> None:
    """Keep a run in 16 bits on the CPU from being killed by its first product: 4 s there, and nothing elsewhere."""
    on_cpu = cfg.trainer.accelerator == "cpu" or (cfg.trainer.accelerator == "auto" and not torch.cuda.is_available())
    dtype = cfg.model.backbone.get("dtype")
    in_16_bits = computes_in_half_precision(precision=cfg.trainer.precision, dtype=dtype)
    if on_cpu and in_16_bits and enable_half_precision_on_cpu():
        log.warning("16-bit products crash on this CPU with AMX: set ONEDNN_MAX_CPU_ISA to go without")


def _fit(trainer: L.Trainer, model: CausalLanguageModel, datamodule: PackedDataModule, checkpoint: Path | None) -> None:
    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except Stopped:
        raise
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into an exit of its own
            _tell_what_is_saved(trainer)
            raise KeyboardInterrupt from None
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def _tell_what_is_saved(trainer: L.Trainer) -> None:
    callback = trainer.checkpoint_callback
    if trainer.is_global_zero and isinstance(callback, LastAndBest):
        log.info("interrupted after optimizer step %d: %s", trainer.global_step, callback.last_good())


def _summary(trainer: L.Trainer, model: CausalLanguageModel, callbacks: list[L.Callback]) -> dict[str, Any]:
    """What the run was: sizes, steps, seconds."""
    parameters = list(model.model.parameters())
    summary: dict[str, Any] = {
        "parameters": sum(map(weight_count, parameters)),
        "trained_parameters": sum(weight_count(parameter) for parameter in parameters if parameter.requires_grad),
        "optimizer_steps": trainer.global_step,
    }
    for callback in callbacks:
        if isinstance(callback, Throughput):
            summary["train_s"] = round(callback.seconds, 1)
            summary["trained_tokens"] = callback.trained_tokens
    return summary
