"""During and at the end of training, a model folder that is ready to use.

    on_fit_start    rank 0 takes the base's fingerprint, while it is surely the base that is trained on
    on_save_checkpoint    what the weights belong to goes into every checkpoint, so that each can be exported later
    on_train_batch_end    every so many steps: gather, export to step-NNNNNN/; a failure is a warning
    on_train_end (strategy alive)    rank 0 gets the trained weights, gathered from all ranks under ZeRO-3; not reached
                                        where a resumed run has no step left, whose weights are its checkpoint's
    on_fit_end (checkpoints written)    rank 0 writes adapter/, model/ and export.json; the others wait and learn the
                                        outcome

Only what was trained is gathered, and what was not comes from the base's own folder; for LoRA by rows, while a full
model is held in rank 0's memory once. A failed export at the end raises on every rank, after the checkpoints are safe,
so the run exits non-zero and the weights can be exported again with ``python -m chatmusician.merge checkpoint=...``.
Training that was interrupted reaches neither of the last two hooks and exports nothing.
"""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from chatmusician.callbacks.run_facts import adapter_config, base_name, describe_adapter, hardware, is_peft
from chatmusician.callbacks.throughput import Throughput
from chatmusician.dashboards.artifacts import log_export
from chatmusician.errors import UserError
from chatmusician.export.checkpoints import EXPORT, open_checkpoint
from chatmusician.export.fingerprints import fingerprint
from chatmusician.export.folders import local_folder
from chatmusician.export.gguf_files import add_gguf, check_gguf
from chatmusician.export.model_card import CardFacts, licence_of, write_model_card
from chatmusician.export.saving import config_of
from chatmusician.export.shards import MAX_SHARD_BYTES
from chatmusician.export.trained import ExportFacts, ExportReport, export_trained, report_as_json
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.picture import compose_picture
from chatmusician.strategies.gathering import gathered

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

log = logging.getLogger(__name__)

REPORT = "export.json"
EVALUATION = "evaluation"
"""The folder of the exported model's evaluation, and what its figures are logged under."""
WEIGHTS = ("last", "best")
LIBRARIES = ("chatmusician", "torch", "lightning", "transformers", "peft", "deepspeed")
OF_THE_RUN = ("throughput/", "memory/", "optim/")
"""What is logged of machine and optimizer, and says nothing of the model."""


class MergeAndExport(Callback):
    """Exports what was trained: ``model/``, for LoRA also ``adapter/`` (and ``base/`` if it exists nowhere else).

    Args:
        output: the folder that these go to, usually the run's own. What an earlier export left there is replaced.
        weights: "last" for those at the end of training, "best" for those of the checkpoint that was judged best.
        every_n_steps: also export while training, every so many optimizer steps, to ``output/step-NNNNNN``.
        dtype: "float32", "bfloat16" or "float16" for ``model/``; None keeps the weights' own.
        max_shard_bytes: size of one weights file.
        check: reload the merged model and compare its logits with base and adapter (memory of one float32 model).
        gguf: kind of a GGUF file to put beside the weights, such as f16 or q8_0; None for none.
        compose: a prompt; the exported model answers it, and the score is the picture of its card. None for none.
        evaluate: overrides of ``chatmusician.evaluate``, such as ``+experiment=eval_quick``: the exported model is
            evaluated so, in a process of its own, and the figures go to the loggers and the card. None for not at all.
        decoding: how the exported model draws tokens if it is not told otherwise; None for the paper's.
        recipe: name of the experiment, for the model card.
        base_name: what the model card calls the base; None for its Hub id or the name of its folder.
        base_license, data_license: for the model card; None takes the base's from the base's own card.

    Raises:
        UserError: a value is not one of those above, or cannot be written here.
    """

    def __init__(
        self,
        *,
        output: str,
        weights: str = "last",
        every_n_steps: int | None = None,
        dtype: str | None = None,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        check: bool = True,
        gguf: str | None = None,
        compose: str | None = None,
        evaluate: Sequence[str] | None = None,
        decoding: Decoding | None = None,
        recipe: str | None = None,
        base_name: str | None = None,
        base_license: str | None = None,
        data_license: str | None = None,
    ) -> None:
        super().__init__()
        if weights not in WEIGHTS:
            raise UserError(f"callbacks.merge_and_export.weights={weights}: use {' or '.join(WEIGHTS)}")
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"callbacks.merge_and_export.every_n_steps={every_n_steps}: use 1 or more, or null")
        if gguf is not None:
            check_gguf(gguf)
        self.output, self.weights, self.every_n_steps = Path(output), weights, every_n_steps
        self.dtype, self.max_shard_bytes, self.check = dtype, max_shard_bytes, check
        self.gguf, self.compose, self.decoding = gguf, compose, decoding
        self.evaluation = None if evaluate is None else list(evaluate)
        self.recipe, self.base_name = recipe, base_name
        self.base_license, self.data_license = base_license, data_license
        self._fingerprint: dict[str, Any] | None = None
        self._exported_step = 0
        self._weights: dict[str, Tensor] = {}
        self._report: ExportReport | None = None  # of the newest export, on rank 0

    def on_fit_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Take the base's fingerprint, and its licence from its card.

        Raises:
            UserError: on every rank, if rank 0 cannot read the base's folder.
        """
        base_path: Any = pl_module.base_path
        failure: str | None = None
        if trainer.is_global_zero and base_path is not None:
            try:
                folder = local_folder(base_path, option="model.backbone.path")
                self._fingerprint = asdict(fingerprint(folder))
                self.base_license = self.base_license or licence_of(folder)
            except UserError as error:  # told to all ranks, which would wait for ever otherwise
                failure = str(error)
        failure = trainer.strategy.broadcast(failure)
        if failure is not None:
            raise UserError(failure)

    def on_save_checkpoint(self, trainer: "Trainer", pl_module: "LightningModule", checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint what its weights belong to."""
        checkpoint[EXPORT] = asdict(self._facts(trainer, pl_module))

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,  # noqa: ARG002 -- Lightning's signature
        batch: Any,  # noqa: ARG002 -- Lightning's signature
        batch_idx: int,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Export in the middle, where it is time for it."""
        step = trainer.global_step
        if self.every_n_steps is None or step % self.every_n_steps or step == self._exported_step:
            return
        self._exported_step = step
        weights = self._gather(trainer, pl_module)
        failure = self._attempt(trainer, pl_module, weights, self.output / f"step-{step:06d}")
        if failure is not None:
            log.warning("training goes on, but the export at step %d failed: %s", step, failure)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Gather the weights to export on rank 0 while the strategy can."""
        if self.weights == "last":
            self._weights = self._gather(trainer, pl_module)

    def on_fit_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Export on rank 0.

        Raises:
            UserError: on every rank, with what went wrong on rank 0.
        """
        weights, self._weights = self._weights, {}
        failure = self._attempt(trainer, pl_module, weights, self.output)
        if failure is not None:
            raise UserError(f"the checkpoints are safe, but the export to {self.output} failed: {failure}")
        if self._report is not None:
            name = self.recipe or self.output.name
            log_export(trainer.loggers, name=name, exported=self._report, report=self.output / REPORT)

    def _attempt(
        self, trainer: "Trainer", pl_module: "LightningModule", weights: Mapping[str, "Tensor"], output: Path
    ) -> str | None:
        """Export on rank 0 while the others wait; on every rank why it failed, None if it did not."""
        failure: str | None = None
        if trainer.is_global_zero:
            try:
                self._export(trainer, pl_module, weights, output)
            except Exception as error:  # told to all ranks, which would wait for ever otherwise
                log.debug("export failed", exc_info=True)
                failure = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return trainer.strategy.broadcast(failure)

    def _export(
        self, trainer: "Trainer", pl_module: "LightningModule", weights: Mapping[str, "Tensor"], output: Path
    ) -> None:
        started = time.perf_counter()
        facts = self._facts(trainer, pl_module)
        step = trainer.global_step
        if not weights:
            path = best_checkpoint(trainer) if self.weights == "best" else str(trainer.ckpt_path)
            saved = open_checkpoint(Path(path))
            weights, step, facts = saved.state, saved.step, ExportFacts.of_checkpoint(saved.facts)
        report = export_trained(
            state=weights,
            facts=facts,
            output=output,
            dtype=self.dtype,
            max_shard_bytes=self.max_shard_bytes,
            check=self.check,
            overwrite=True,
        )
        if report.agreement is not None:
            log.info("reloaded: %s", report.agreement)
        evaluated = self._add_extras(report, facts)
        figures = {**export_figures(report, seconds=time.perf_counter() - started), **evaluated}
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)
        content = {**report_as_json(report), "step": step, "figures": figures, "facts": facts.card}
        (output / REPORT).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
        self._report = report
        log.info("exported %s", report.model)

    def _add_extras(self, report: ExportReport, facts: ExportFacts) -> dict[str, float]:
        """The GGUF file, the picture and the evaluation, and the card with all of them; the evaluation's figures."""
        if self.gguf is not None:
            for line in add_gguf(report.model, kind=self.gguf):
                log.info("%s", line)
        if self.compose is not None:
            problem = compose_picture(report.model, prompt=self.compose, decoding=self.decoding or Decoding())
            if problem is not None:
                log.warning("the model card has no score: %s", problem)
        figures: dict[str, float] = {}
        if self.evaluation is not None:
            try:
                figures = evaluate_folder(report.model, self.evaluation, output=report.model.parent / EVALUATION)
            except UserError as error:
                log.warning("the export is whole, but it was not evaluated: %s", error)
        card = facts.card_facts()
        write_model_card(report.model, replace(card, metrics={**card.metrics, **figures}))
        return {f"{EVALUATION}/{name}": value for name, value in figures.items()}

    def _gather(self, trainer: "Trainer", pl_module: "LightningModule") -> dict[str, "Tensor"]:
        """The weights to export, on rank 0; every rank must call it."""
        model: Any = pl_module.model
        no_base = pl_module.base_path is None
        names = [name for name, p in model.named_parameters() if no_base or p.requires_grad]
        return gathered(model, names, keep=trainer.is_global_zero)

    def _facts(self, trainer: "Trainer", pl_module: "LightningModule") -> ExportFacts:
        model: Any = pl_module.model
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector, not declared
        decoding = None if self.decoding is None else self.decoding.for_transformers()
        return ExportFacts(
            model_config=config_of(model),
            adapter_config=adapter_config(model) if is_peft(model) else None,
            base=pl_module.base_path,  # type: ignore[arg-type]  # a property of ours
            base_fingerprint=self._fingerprint,
            tokenizer=str(datamodule.tokenizer_folder.absolute()),
            decoding=decoding,
            card=asdict(self._card(trainer, pl_module, datamodule.manifest())),
        )

    def _card(self, trainer: "Trainer", pl_module: "LightningModule", manifest: Mapping[str, Any]) -> CardFacts:
        base_path: Any = pl_module.base_path
        model: Any = pl_module.model
        training = manifest["summary"]["train"]
        throughput = next((callback for callback in trainer.callbacks if isinstance(callback, Throughput)), None)  # type: ignore[attr-defined]  # declared nowhere
        return CardFacts(
            base=self.base_name or (None if base_path is None else base_name(base_path)),
            base_license=self.base_license,
            data_license=self.data_license,
            recipe=self.recipe,
            adapter=describe_adapter(model.peft_config["default"]) if is_peft(model) else None,
            sources=training["sources"],
            tokens_per_epoch=training["trained_tokens"],
            trained_tokens=None if throughput is None else throughput.trained_tokens,
            optimizer_steps=trainer.global_step,
            hardware=hardware(trainer),
            software={name: version(name) for name in LIBRARIES},
            metrics={
                name: float(value)
                for name, value in sorted(trainer.callback_metrics.items())
                if not name.startswith(OF_THE_RUN)
            },
        )


def evaluate_folder(model: Path, overrides: Sequence[str], *, output: Path) -> dict[str, float]:
    """Evaluate a model folder with ``python -m chatmusician.evaluate``; its figures by name.

    In a process of its own: it may take the memory that it needs, and a crash of it costs no training.

    Raises:
        UserError: it failed; its own message stands above.
    """
    arguments = [f"model={model.absolute()}", f"hydra.run.dir={output.absolute()}"]
    done = subprocess.run([sys.executable, "-m", "chatmusician.evaluate", *overrides, *arguments], check=False)
    if done.returncode:
        raise UserError(f"chatmusician.evaluate {' '.join(overrides)} ended with status {done.returncode}")
    figures: dict[str, float] = json.loads((output / "metrics.json").read_text())
    return figures


def export_figures(report: ExportReport, *, seconds: float) -> dict[str, float]:
    """What dashboards show of an export."""
    size = sum(path.stat().st_size for path in report.model.iterdir() if path.is_file())
    figures = {"export/seconds": round(seconds, 3), "export/bytes": float(size)}
    if report.agreement is not None:
        figures["export/max_logit_difference"] = report.agreement.max_abs_difference
        figures["export/same_argmax"] = report.agreement.same_argmax
    return figures


def best_checkpoint(trainer: "Trainer") -> str:
    """The checkpoint that was judged best.

    Raises:
        UserError: no checkpoint callback judges, or none was saved.
    """
    callback = trainer.checkpoint_callback
    path = getattr(callback, "best_model_path", "")
    if not path:
        raise UserError("weights=best, but no checkpoint was judged: set callbacks.checkpoint.monitor, or weights=last")
    return str(path)
