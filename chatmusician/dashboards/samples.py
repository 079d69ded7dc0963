"""Answers of a model in training, in files and on dashboards: the text, its score, its sound, and how right it is."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

TABLE = "samples/answers"
"""Under which the table is found."""
COLUMNS = ("step", "prompt", "answer", "abc", "score", "sound", "parses", "bars", "bars_right", "problems")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a model answered to a prompt, by the definitions of `chatmusician.music.checks`."""

    prompt: str
    answer: str
    abc: str | None
    """The tune in the answer; None if it has none."""
    parses: bool
    bars: int
    bars_right: int
    problems: tuple[str, ...]
    """What is wrong with answer, tune and pictures, a line each."""
    score: Path | None
    """PNG; None if it was not drawn."""
    sound: Path | None
    """WAV; None if it was not played."""


def rates(samples: Sequence[Sample]) -> dict[str, float]:
    """Shares of answers whose tune parses, and of bars in those that add up; what has no bars has no second one."""
    bars = sum(sample.bars for sample in samples)
    figures = {"samples/parse_rate": sum(sample.parses for sample in samples) / len(samples)}
    if bars:
        figures["samples/bar_rate"] = sum(sample.bars_right for sample in samples) / bars
    return figures


def write_samples(samples: Sequence[Sample], path: Path) -> None:
    """All of them as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(sample), ensure_ascii=False, default=str) + "\n" for sample in samples)
    path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")


def log_samples(
    loggers: "Iterable[Logger]", samples: Sequence[Sample], *, figures: Mapping[str, float], step: int
) -> None:
    """Figures to all loggers; a table to Weights & Biases; texts, pictures and sounds to TensorBoard."""
    from lightning.pytorch.loggers.tensorboard import TensorBoardLogger
    from lightning.pytorch.loggers.wandb import WandbLogger

    for logger in loggers:
        logger.log_metrics(dict(figures), step=step)
        if isinstance(logger, WandbLogger):
            logger.log_metrics({TABLE: _table(samples, step=step)}, step=step)
        elif isinstance(logger, TensorBoardLogger):
            _to_tensorboard(logger.experiment, samples, step=step)


def _table(samples: Sequence[Sample], *, step: int) -> Any:
    import wandb

    table = wandb.Table(columns=list(COLUMNS))
    for sample in samples:
        score = None if sample.score is None else wandb.Image(str(sample.score))
        sound = None if sample.sound is None else wandb.Audio(str(sample.sound))
        judged = (sample.parses, sample.bars, sample.bars_right, "\n".join(sample.problems))
        table.add_data(step, sample.prompt, sample.answer, sample.abc, score, sound, *judged)
    return table


def _to_tensorboard(writer: Any, samples: Sequence[Sample], *, step: int) -> None:
    import numpy as np
    import soundfile
    import torch
    from PIL import Image

    for number, sample in enumerate(samples, start=1):
        text = f"{sample.prompt}\n\n```\n{sample.answer}\n```\n\n{'; '.join(sample.problems)}"
        writer.add_text(f"samples/{number}", text, global_step=step)
        if sample.score is not None:
            picture = np.asarray(Image.open(sample.score).convert("RGB"))
            writer.add_image(f"samples/{number}/score", picture, global_step=step, dataformats="HWC")
        if sample.sound is not None:
            wave, rate = soundfile.read(sample.sound, dtype="float32", always_2d=True)  # [frames, channels]
            mono = torch.from_numpy(wave.mean(axis=1))
            writer.add_audio(f"samples/{number}/sound", mono, global_step=step, sample_rate=rate)


def spread(count: int, among: int) -> list[int]:
    """``count`` places of ``among`` that are about equally far apart; all where there are not so many.

    >>> spread(3, 10)
    [0, 3, 6]
    """
    return [math.floor(place * among / min(count, among)) for place in range(min(count, among))]
