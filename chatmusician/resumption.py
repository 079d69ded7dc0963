"""Which checkpoint a training run goes on from: ``resume=PATH``, or ``resume=auto`` for the newest whole one.

The checkpoints of a run are those in its own folder. A folder that Hydra named after the time is new in every run, so
where ``outputs/NAME/TIME`` holds none, those beside it count whose run had the same configuration in all that decides
what is trained: model, data, seed, length. A file that is half-written or damaged is passed over with a line that says
so.

Every rank looks by itself, before there is a process group, and `SameStart` compares what they found. All of a file is
read (its checksums are compared), once from the disk for all ranks of a node.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from chatmusician.checkpoint_files import flaw, read_checkpoint
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

log = logging.getLogger(__name__)

AUTO = "auto"
_OF_THE_MACHINE = {"micro_batch", "loader_workers", "prepare_workers", "engine", "overwrite", "mirror"}
"""Keys of ``data`` that may change from one part of a run to the next."""


def checkpoint_to_resume(cfg: DictConfig, *, output: Path) -> Path | None:
    """The checkpoint to go on from; None to begin at the beginning.

    Raises:
        UserError: the one that ``resume=`` names is not there or not whole.
    """
    if cfg.resume is None:
        return None
    if cfg.resume != AUTO:
        path = Path(cfg.resume)
        if not path.is_file():
            raise UserError(f"resume={cfg.resume}: there is no such checkpoint")
        found = flaw(path)
        if found is not None:
            raise UserError(f"resume={cfg.resume}: {found}")
        return path
    for path in _candidates(cfg, output):
        found = flaw(path)
        if found is None:
            _tell(logging.INFO, f"resume=auto: going on after optimizer step {step_of(path)}, from {path}")
            return path
        _tell(logging.WARNING, f"resume=auto: passed over: {found}")
    _tell(logging.INFO, f"resume=auto: no checkpoint of this run in {output}; starting at the beginning")
    return None


def step_of(path: Path) -> int:
    """Optimizer steps that the run had taken which wrote a checkpoint."""
    return int(read_checkpoint(path)["global_step"])


class SameStart(Callback):
    """Refuses ranks that go on from different checkpoints, which happens where they do not see the same folder."""

    def __init__(self, checkpoint: Path | None) -> None:
        super().__init__()
        self.checkpoint = checkpoint

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:  # noqa: ARG002 -- Lightning's signature
        """Compare.

        Raises:
            UserError: on every rank, if any found another than rank 0.
        """
        first = trainer.strategy.broadcast(self.checkpoint)
        same = trainer.strategy.reduce_boolean_decision(first == self.checkpoint, all=True)
        if not same:
            raise UserError(
                f"rank 0 goes on from {first}, rank {trainer.global_rank} from {self.checkpoint}: all ranks need to "
                "see the run's folder"
            )


def _candidates(cfg: DictConfig, output: Path) -> Iterator[Path]:
    """Checkpoints of the run, the newest first: those in its folder, then those in folders beside it."""
    node = cfg.callbacks.get("checkpoint")
    if node is None:
        return
    folder = Path(node.dirpath)
    yield from _newest_first([folder])
    if output.parent.name != cfg.name or not folder.is_relative_to(output):
        return
    runs = [run for run in output.parent.iterdir() if run != output and _is_same_run(run, cfg)]
    yield from _newest_first([run / folder.relative_to(output) for run in runs])


def _newest_first(folders: list[Path]) -> list[Path]:
    """Of two names of one file, that of the last."""
    files = [file for folder in folders for file in folder.glob("*.ckpt")]
    return sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name), reverse=True)


def _is_same_run(run: Path, cfg: DictConfig) -> bool:
    recorded = run / ".hydra" / "config.yaml"
    if not recorded.is_file():
        return False
    other = OmegaConf.load(recorded)
    return isinstance(other, DictConfig) and _what_is_trained(other) == _what_is_trained(cfg)


def _what_is_trained(cfg: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(cfg, resolve=False)
    data = {key: value for key, value in content.get("data", {}).items() if key not in _OF_THE_MACHINE}
    trainer = content.get("trainer", {})
    length = {key: trainer.get(key) for key in ("max_steps", "max_epochs")}
    return {"data": data, "length": length, **{key: content.get(key) for key in ("name", "seed", "model")}}


@rank_zero_only
def _tell(level: int, line: str) -> None:
    log.log(level, "%s", line)
