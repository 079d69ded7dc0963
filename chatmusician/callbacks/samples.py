"""Every so many steps the model in training answers the same held-out prompts, and one can see and hear how it learns.

    validation rows -> questions answered by a tune -> the model as it is -> tunes -> checks, score, sound -> loggers

Rank 0 answers while the others wait at their next exchange of gradients. The random numbers of an answer are those of
its number (`chatmusician.generation.sampling`), none are taken from training, which goes on bit for bit as without.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from chatmusician.dashboards.samples import Sample, log_samples, rates, spread, write_samples
from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Answer, Generator
from chatmusician.generation.tune_output import tune_of
from chatmusician.music.checks import check_tune
from chatmusician.music.extraction import extract_tune
from chatmusician.music.rendering import render

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

log = logging.getLogger(__name__)

LOOKED_AT = 2000
"""Held-out documents among which prompts are found."""
_TURN = re.compile(r"\s*Human:\s?(.*?)\s*</s>\s*Assistant:\s?(.*)", re.DOTALL)


class Samples(Callback):
    """Lets the model in training answer fixed prompts; answers go to ``output/samples/step-NNNNNN`` and the loggers.

    Figures are ``samples/parse_rate``, ``samples/bar_rate`` and ``samples/seconds``. What goes wrong is a warning, and
    training goes on.

    Args:
        output: the run's folder.
        every_n_steps: optimizer steps between two times; None for never.
        count: how many prompts are taken from the validation split.
        prompts: questions of one's own instead of those.
        decoding: how tokens are drawn; None for the paper's.
        max_new_tokens: most tokens of an answer.
        seconds: time for all answers of one time, and again for pictures and sounds; what is left then is left out.
        render: whether scores are drawn and tunes played, about a second a tune.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        output: str,
        every_n_steps: int | None = None,
        count: int = 8,
        prompts: Sequence[str] = (),
        decoding: Decoding | None = None,
        max_new_tokens: int = 512,
        seconds: float = 120.0,
        render: bool = True,
    ) -> None:
        for name, value in {"every_n_steps": every_n_steps, "count": count, "max_new_tokens": max_new_tokens}.items():
            if value is not None and value < 1:
                raise UserError(f"callbacks.samples.{name}={value}: use 1 or more")
        self.output, self.every_n_steps, self.count = Path(output), every_n_steps, count
        self.prompts = list(prompts)
        self.decoding = _shortened(decoding or Decoding(), max_new_tokens)
        self.seconds, self.render = seconds, render
        self._off = every_n_steps is None
        self._step = 0

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Answer, where it is time for it."""
        step = trainer.global_step
        if self._off or self.every_n_steps is None or step % self.every_n_steps or step == self._step:
            return
        self._step = step
        if not trainer.is_global_zero:
            return
        if is_in_pieces(pl_module.model):
            self._off = True
            log.warning("no samples are taken: each rank has a piece of the weights only; use ZeRO stage 2 or less")
            return
        try:
            self._take(trainer, pl_module, step=step)
        except Exception as error:  # whatever it is, it is not worth the training
            log.debug("samples failed", exc_info=True)
            log.warning("training goes on without the samples of step %d: %s: %s", step, type(error).__name__, error)

    def _take(self, trainer: "Trainer", pl_module: "LightningModule", *, step: int) -> None:
        from chatmusician.generation.backends.transformers_backend import TransformersBackend

        started = time.perf_counter()
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector, not declared
        backend = TransformersBackend(model=pl_module.model, tokenizer=datamodule.tokenizer)
        generator = Generator(backend=backend, batch_size=max(self.count, len(self.prompts), 1))
        if not self.prompts:
            texts = islice(datamodule.texts("validation"), LOOKED_AT)
            self.prompts = find_questions(texts, count=self.count, fits=lambda text: _fits(generator, text))
        if not self.prompts:
            self._off = True
            log.warning("no samples: no held-out document asks for a tune; give callbacks.samples.prompts")
            return
        with trainer.precision_plugin.val_step_context():
            answers = dict(generator.answers(self.prompts, self.decoding, seconds=self.seconds))
        samples = self._samples(answers, self.output / "samples" / f"step-{step:06d}")
        figures = {**rates(samples), "samples/seconds": time.perf_counter() - started}
        log_samples(trainer.loggers, samples, figures=figures, step=step)

    def _samples(self, answers: dict[int, Answer], folder: Path) -> list[Sample]:
        """Answers checked, drawn, played and written down; of prompts that were not reached there are none."""
        deadline = time.perf_counter() + self.seconds
        samples = []
        for number, answer in sorted(answers.items()):
            late = time.perf_counter() > deadline
            samples.append(self._sample(number, answer, folder, draws=self.render and not late))
        write_samples(samples, folder / "answers.jsonl")
        return samples

    def _sample(self, number: int, answer: Answer, folder: Path, *, draws: bool) -> Sample:
        tune = tune_of(answer)
        check = None if tune.abc is None else check_tune(tune.abc)
        problems = list(tune.problems)
        paths: dict[str, Path] = {}
        if tune.abc is not None:
            rendering = render(tune.abc, folder, stem=str(number + 1), formats=["png", "wav"] if draws else [])
            paths |= rendering.paths
            problems += rendering.problems
        return Sample(
            prompt=self.prompts[number],
            answer=answer.text,
            abc=tune.abc,
            parses=check is not None and check.parses,
            bars=0 if check is None else check.bars,
            bars_right=0 if check is None else check.bars_right,
            problems=tuple(problems),
            score=paths.get("png"),
            sound=paths.get("wav"),
        )


def find_questions(texts: Iterable[str], *, count: int, fits: Callable[[str], bool]) -> list[str]:
    """Questions in held-out documents, those in the chat template, that were answered by a tune.

    Of those that fit, some that are spread over what is there: always the same of the same data.
    """
    found = []
    for text in texts:
        turn = _TURN.match(text)
        if turn is not None and extract_tune(turn[2]).abc is not None and fits(turn[1]):
            found.append(turn[1])
    return [found[place] for place in spread(count, len(found))]


def _fits(generator: Generator, prompt: str) -> bool:
    """Whether a prompt leaves half of the model's window for its answer."""
    return 2 * len(generator.prompt_ids(prompt)) <= generator.window


def is_in_pieces(model: Any) -> bool:
    """Whether parameters are partitioned over ranks (ZeRO stage 3, FSDP), so that all would have to take part."""
    return any(hasattr(parameter, "ds_id") or hasattr(parameter, "full_tensor") for parameter in model.parameters())


def _shortened(decoding: Decoding, most: int) -> Decoding:
    return replace(decoding, max_new_tokens=min(decoding.max_new_tokens, most))
