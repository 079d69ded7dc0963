"""Trains with options of the group ``trainer``, one after another, in as many processes as torchrun has started.

python -m torch.distributed.run ... trained_by_ranks.py CORPUS BASE OUTPUT OPTION...

OUTPUT/OPTION-RANK.json gets the losses of the steps, how many numbers the rank held once the model was loaded, and what
was trained.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "modeling"))

import lightning as L
from hydra.utils import instantiate
from tiny_run import BACKBONE, make_data, make_module, write_corpus  # noqa: F401 -- for the test too

from chatmusician.config.composition import compose
from chatmusician.modeling.backbone import PretrainedLlama
from chatmusician.modeling.lora import Lora
from chatmusician.strategies.gathering import gathered

STEPS = 2


class Observer(L.Callback):
    """What is seen of a run."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.losses: list[float] = []
        self.trained: dict[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002 -- Lightning's
        """The model is loaded, DeepSpeed has not seen it yet."""
        parameters = dict(pl_module.model.named_parameters())
        frozen = [p for p in parameters.values() if not p.requires_grad]
        self.held = {
            "frozen_here": sum(p.numel() for p in frozen),
            "frozen_pieces": sum(p.ds_tensor.numel() for p in frozen if hasattr(p, "ds_tensor")),
            "trained_dtypes": sorted({str(p.dtype) for p in parameters.values() if p.requires_grad}),
        }

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,  # noqa: ARG002 -- Lightning's signature
        outputs: Any,
        batch: dict[str, Any],  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """The share of this rank in the loss, summed over ranks by the reader."""
        self.losses.append(float(outputs["loss"]) / trainer.world_size)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """All that was trained, whole."""
        names = [name for name, p in pl_module.model.named_parameters() if p.requires_grad]
        whole = gathered(pl_module.model, names, keep=trainer.is_global_zero)
        self.trained = {name: value.float().flatten().tolist() for name, value in whole.items()}


def train(option: str, corpus: Path, base: Path, folder: Path, ranks: int) -> Observer:
    observer = Observer()
    settings = [f"trainer={option}", f"trainer.devices={ranks}", f"trainer.max_steps={STEPS}"]
    settings += [f"trainer.default_root_dir={folder}", "data.global_batch=4", f"data.micro_batch={4 // ranks}"]
    cfg = compose("train", settings)
    L.seed_everything(5, verbose=False)
    quiet = {"enable_progress_bar": False, "enable_checkpointing": False, "logger": False}
    trainer: L.Trainer = instantiate(cfg.trainer, callbacks=[observer], **quiet)
    data = make_data(corpus, micro_batch=4 // ranks)
    trainer.accumulate_grad_batches = data.accumulation(trainer.world_size)
    lora = Lora(r=4, alpha=8, modules_to_save=["embed_tokens", "lm_head"])
    trainer.fit(make_module(backbone=PretrainedLlama(path=str(base)), lora=lora), datamodule=data)
    return observer


def main() -> None:
    corpus, base, folder, *options = sys.argv[1:]
    rank = int(os.environ.get("RANK", 0))
    for option in options:
        seen = train(option, Path(corpus), Path(base), Path(folder), int(os.environ.get("WORLD_SIZE", 1)))
        content = {**seen.held, "losses": seen.losses, "trained": seen.trained}
        (Path(folder) / f"{option}-{rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
