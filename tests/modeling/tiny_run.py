"""Whole training runs of a model of 8,000 weights on a corpus of 60 tunes that is written here."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from chatmusician.data.datamodule import PackedDataModule
from chatmusician.data.folk import FolkTunes
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.modeling.backbone import NewLlama
from chatmusician.modeling.language_model import Adapter, CausalLanguageModel
from chatmusician.modeling.lora import AllWeights, Lora
from chatmusician.modeling.optimizers import AdamWSettings, OptimizerSettings, Schedule

BACKBONE = NewLlama(hidden_size=16, layers=2, heads=2, intermediate_size=32, max_length=64, tied_embeddings=False)
ADAMW = AdamWSettings(lr=3e-3)
LORA = Lora(r=4, alpha=8, dropout=0.3, modules_to_save=["embed_tokens"])


def write_corpus(folder: Path) -> Path:
    draw = random.Random(0)
    with (folder / "tunes.abc").open("w") as file:
        for number in range(1, 61):
            music = " | ".join("".join(draw.choices("CDEFGABcdefg", k=8)) for _ in range(4))
            file.write(f"X:{number}\nM:4/4\nL:1/8\nK:G\n{music} |]\n\n")
    return folder


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended: its parts, and every weight of its model by name."""

    trainer: L.Trainer
    module: CausalLanguageModel
    data: PackedDataModule
    weights: dict[str, torch.Tensor] = field(repr=False)


def make_data(folder: Path, *, micro_batch: int = 4, **options: Any) -> PackedDataModule:
    """Rows of 64 tokens, a global batch of 4: some ten optimizer steps an epoch."""
    return PackedDataModule(
        corpus=FolkTunes(collections=[str(folder)], held_out=0.1, keys=1),
        tokenizer=TrainedTokenizer(vocab_size=280),
        directory=str(folder / "prepared"),
        **{"seq_len": 64, "global_batch": 4, "micro_batch": micro_batch, "seed": 1, "eos": True, **options},
    )


def make_module(
    *, lora: Adapter | None = None, optimizer: OptimizerSettings = ADAMW, backbone: Any = BACKBONE
) -> CausalLanguageModel:
    return CausalLanguageModel(
        backbone=backbone, lora=lora or AllWeights(), optimizer=optimizer, schedule=Schedule(warmup=0.2)
    )


def fit(
    folder: Path,
    *,
    module: CausalLanguageModel,
    data: PackedDataModule,
    steps: int,
    resume: Path | None = None,
    callbacks: tuple[L.Callback, ...] = (),
    seed: int = 5,
    **options: Any,
) -> Run:
    """Train to so many optimizer steps; ``folder/step=N.ckpt`` is written every third one."""
    L.seed_everything(seed, verbose=False)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=data.accumulation(1),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[
            ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=3, save_top_k=-1),
            *callbacks,
        ],
        **{"gradient_clip_val": 1.0, **options},
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False)
    weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
    return Run(trainer=trainer, module=module, data=data, weights=weights)
