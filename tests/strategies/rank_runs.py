"""Runs of a tiny model on the ranks of one launch, one after another: starting processes is what takes time.

python -m torch.distributed.run --standalone --nproc-per-node N rank_runs.py PLAN

PLAN is a JSON file with a list of the arguments of `run_once`. Each run leaves in its folder ``last.ckpt``,
``step=N.ckpt`` of every optimizer step but the last, and ``seen.json``: what rank 0 saw.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from tiny_run import ADAMW, BACKBONE, make_data

from chatmusician.callbacks.checkpoints import LAST, LastAndBest
from chatmusician.modeling.backbone import PretrainedLlama
from chatmusician.modeling.language_model import CausalLanguageModel
from chatmusician.modeling.lora import AllWeights, Lora
from chatmusician.modeling.optimizers import Schedule
from chatmusician.strategies.checkpoint_io import AtomicCheckpointIO
from chatmusician.strategies.cpu_deepspeed import DeepSpeedOnCPU
from chatmusician.strategies.gathering import gathered

STEPS = 7
GLOBAL_BATCH = 4


class Watch(L.Callback):
    """Keeps a name for every checkpoint; notes rows, losses and forward passes of the first layer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[int, list[int]] = {}
        self.losses: dict[int, float] = {}
        self.passes = 0
        self.largest_b = 0.0

    def on_train_start(self, _trainer: L.Trainer, pl_module: Any) -> None:
        layer = next(module for name, module in pl_module.named_modules() if name.endswith("layers.0.mlp"))
        layer.register_forward_pre_hook(self._count)
        names = [name for name, _ in pl_module.model.named_parameters() if "lora_B" in name]
        for value in gathered(pl_module.model, names, keep=True).values():
            self.largest_b = max(self.largest_b, float(value.abs().max()))

    def _count(self, *_: Any) -> None:
        self.passes += 1

    def on_train_batch_start(self, trainer: L.Trainer, _module: Any, batch: Any, _batch_idx: int) -> None:
        step = trainer.global_step
        rows = trainer.strategy.all_gather(batch["rows"]).reshape(-1).tolist()
        self.rows.setdefault(step, []).extend(rows)
        last = self.folder / LAST
        kept = self.folder / f"step={step}.ckpt"
        if trainer.is_global_zero and last.exists() and not kept.exists():
            os.link(last, kept)

    def on_before_backward(self, trainer: L.Trainer, _module: Any, loss: torch.Tensor) -> None:
        step = trainer.global_step
        total = trainer.strategy.reduce(loss.detach().clone(), reduce_op="sum")
        self.losses[step] = self.losses.get(step, 0.0) + float(total) / trainer.world_size


def strategy_of(name: str) -> Any:
    """``ddp``, ``one``, or ``zero`` with its stage and perhaps ``offload``, such as ``zero2 offload``."""
    if not name.startswith("zero"):
        return DDPStrategy() if name == "ddp" else "auto"
    return DeepSpeedOnCPU(
        stage=int(name[4]), offload_optimizer=name.endswith("offload"), pin_memory=False, logging_batch_size_per_gpu=1
    )


def run_once(
    *,
    folder: str,
    corpus: str,
    base: str | None = None,
    strategy: str = "one",
    ranks: int = 1,
    micro_batch: int = 1,
    dropout: float = 0.0,
    adapter: bool = True,
    precision: Any = "32-true",
    resume: str | None = None,
    checkpointing: bool = False,
) -> None:
    """Train, with gradients clipped far below their norm."""
    L.seed_everything(5, verbose=False)
    data = make_data(Path(corpus), micro_batch=micro_batch, global_batch=GLOBAL_BATCH)
    lora = Lora(r=4, alpha=8, dropout=dropout, modules_to_save=["embed_tokens"])
    backbone: Any = BACKBONE if base is None else PretrainedLlama(path=base, gradient_checkpointing=checkpointing)
    module = CausalLanguageModel(
        backbone=backbone,
        lora=lora if adapter else AllWeights(),
        optimizer=ADAMW,
        schedule=Schedule(warmup=0.2),
    )
    place = Path(folder)
    watch = Watch(place)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=strategy_of(strategy),
        max_steps=STEPS,
        precision=precision,
        accumulate_grad_batches=data.accumulation(ranks),
        gradient_clip_val=0.05,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=[watch, LastAndBest(dirpath=folder, every_n_steps=1)],
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    if trainer.is_global_zero:
        seen = {"rows": watch.rows, "losses": watch.losses, "passes": watch.passes, "largest_b": watch.largest_b}
        (place / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    for arguments in json.loads(Path(sys.argv[1]).read_text()):
        run_once(**arguments)
