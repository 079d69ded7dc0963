"""At the end of training, a model folder that is ready to use.

    on_train_end (strategy alive)    rank 0 gets the trained weights, gathered from all ranks under ZeRO-3 on_fit_end
    (checkpoints written) rank 0 writes adapter/, model/ and export.json; the others wait and learn the outcome

The weights are those of the last step. For LoRA only the adapter is gathered, and the merge reads the base from its own
folder tensor by tensor; a full model is held in rank 0's memory once. A failed export raises on every rank, after the
checkpoints are safe, so the run exits non-zero and the weights can be exported again with ``chatmusician.merge``.
Training that was interrupted reaches neither hook and exports nothing.
"""

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback

from chatmusician.errors import UserError
from chatmusician.export.adapters import base_tensor_name
from chatmusician.export.folders import ADAPTER_WEIGHTS, whole_folder
from chatmusician.export.merging import merge_adapter
from chatmusician.export.metadata import write_chat_template
from chatmusician.export.model_card import CardFacts
from chatmusician.export.run import local_folder
from chatmusician.export.saving import save_model_folder
from chatmusician.export.shards import MAX_SHARD_BYTES
from chatmusician.export.verification import compare_logits

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

log = logging.getLogger(__name__)

REPORT = "export.json"


class MergeAndExport(Callback):
    """Exports what was trained: ``model/``, for LoRA also ``adapter/`` (and ``base/`` if it exists nowhere else).

    Args:
        output: the folder that these go to, usually the run's own. What an earlier export left there is replaced.
        dtype: "float32", "bfloat16" or "float16" for ``model/``; None keeps the weights' own.
        max_shard_bytes: size of one weights file.
        check: reload the merged model and compare its logits with base and adapter (memory of one float32 model).
        recipe: name of the experiment, for the model card.
        base_name: what the model card calls the base; None for the name of its folder.
    """

    def __init__(
        self,
        *,
        output: str,
        dtype: str | None = None,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        check: bool = True,
        recipe: str | None = None,
        base_name: str | None = None,
    ) -> None:
        super().__init__()
        self.output = Path(output)
        self.dtype, self.max_shard_bytes, self.check = dtype, max_shard_bytes, check
        self.recipe, self.base_name = recipe, base_name
        self._weights: dict[str, Tensor] = {}

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Gather the weights to export on rank 0 while the strategy can."""
        model: Any = pl_module.model
        needs_base = not _is_peft(model) or pl_module.base_path is None
        names = [name for name, p in model.named_parameters() if needs_base or p.requires_grad]
        self._weights = gathered(model, names, keep=trainer.is_global_zero)

    def on_fit_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Export on rank 0.

        Raises:
            UserError: on every rank, with what went wrong on rank 0.
        """
        failure: str | None = None
        if trainer.is_global_zero:
            try:
                self._export(trainer, pl_module)
            except Exception as error:  # raised again on all ranks, which would wait for ever otherwise
                log.debug("export failed", exc_info=True)
                failure = f"{type(error).__name__}: {error}" if not isinstance(error, UserError) else str(error)
        self._weights = {}
        failure = trainer.strategy.broadcast(failure)
        if failure is not None:
            raise UserError(f"the checkpoints are safe, but the export to {self.output} failed: {failure}")

    def _export(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        model: Any = pl_module.model
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the data connector, not declared
        card = self._card(trainer, pl_module, datamodule.manifest())
        base_path: Any = pl_module.base_path
        if _is_peft(model):
            report = self._export_adapter(model, base_path, datamodule.tokenizer, card)
        else:
            folder = self._save(model, self._weights, datamodule.tokenizer, "model", card, self.dtype)
            report = {"model": str(folder)}
        report["facts"] = asdict(card)
        (self.output / REPORT).write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
        log.info("exported %s", self.output / "model")

    def _export_adapter(self, model: Any, base_path: str | None, tokenizer: Any, card: CardFacts) -> dict[str, Any]:
        if base_path is None:
            state = {own: w for name, w in self._weights.items() if (own := base_tensor_name(name)) is not None}
            base = self._save(model.get_base_model(), state, tokenizer, "base", CardFacts(), None)
        else:
            base = local_folder(base_path, option="base")
        adapter = save_adapter(model, self._weights, tokenizer, self.output / "adapter", base=base)
        merged = merge_adapter(
            base=base,
            adapter=adapter,
            output=self.output / "model",
            tokenizer=adapter,
            dtype=self.dtype,
            max_shard_bytes=self.max_shard_bytes,
            overwrite=True,
            card=card,
        )
        report = {"model": str(merged.output), "adapter": str(adapter), "base": str(base), "merge": asdict(merged)}
        if self.check:
            agreement = compare_logits(base=base, adapter=adapter, merged=merged.output)
            log.info("reloaded: %s", agreement)
            if not agreement.agrees:
                raise UserError(f"{merged.output} does not compute what base and adapter compute: {agreement}")
            report["agreement"] = asdict(agreement)
        return report

    def _save(
        self, model: Any, state: Mapping[str, "Tensor"], tokenizer: Any, name: str, card: CardFacts, dtype: str | None
    ) -> Path:
        return save_model_folder(
            model=model,
            tokenizer=tokenizer,
            output=self.output / name,
            state=state,
            dtype=dtype,
            max_shard_bytes=self.max_shard_bytes,
            overwrite=True,
            card=card,
        )

    def _card(self, trainer: "Trainer", pl_module: "LightningModule", manifest: Mapping[str, Any] | None) -> CardFacts:
        base_path: Any = pl_module.base_path
        model: Any = pl_module.model
        return CardFacts(
            base=self.base_name or (None if base_path is None else Path(base_path).name),
            recipe=self.recipe,
            adapter=describe_adapter(model.peft_config["default"]) if _is_peft(model) else None,
            sources=documents_by_source(manifest or {}),
            tokens_per_epoch=_training_split(manifest or {}).get("trained_tokens"),
            optimizer_steps=trainer.global_step,
            metrics={name: float(value) for name, value in sorted(trainer.callback_metrics.items())},
        )


def gathered(model: Any, names: Sequence[str], *, keep: bool) -> dict[str, "Tensor"]:
    """The named parameters of ``model``, whole and on the CPU.

    Under ZeRO-3 a parameter is in pieces on all ranks: every rank must call this with the same names. Ranks without
    ``keep`` get an empty result and hold one whole parameter at a time.
    """
    parameters = dict(model.named_parameters())
    found = {}
    for name in names:
        with _whole(parameters[name]) as parameter:
            if keep:
                value = parameter.detach().cpu()
                found[name] = value.clone() if hasattr(parameter, "ds_id") else value  # the whole one is freed again
    return found


@contextmanager
def _whole(parameter: Any) -> Iterator[Any]:
    if not hasattr(parameter, "ds_id"):
        yield parameter
        return
    from deepspeed import zero

    with zero.GatheredParameters([parameter]):
        yield parameter


def save_adapter(model: Any, weights: Mapping[str, "Tensor"], tokenizer: Any, output: Path, *, base: Path) -> Path:
    """Write a PEFT adapter folder with its tokenizer, whole or not at all; returns ``output``.

    Args:
        model: the PEFT model that ``weights`` (by its parameter names) belong to.
        weights: at least the adapter's own.
        tokenizer: the tokenizer it was trained with.
        output: the folder to make or replace.
        base: the model folder that the adapter belongs to, written into its configuration.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    config.base_model_name_or_path = str(base.absolute())
    state = get_peft_model_state_dict(model, state_dict=dict(weights), save_embedding_layers=False)
    with whole_folder(output, overwrite=True) as folder:
        config.save_pretrained(folder)
        save_file({name: value.contiguous() for name, value in state.items()}, folder / ADAPTER_WEIGHTS)
        tokenizer.save_pretrained(folder)
        write_chat_template(folder)
    return output


def describe_adapter(config: Any) -> str:
    """One line on a LoRA configuration, for the model card."""
    targets = config.target_modules
    modules = targets if isinstance(targets, str) else " ".join(sorted(targets))
    kind = "rsLoRA" if config.use_rslora else "LoRA"
    whole = f", and whole: {' '.join(sorted(config.modules_to_save))}" if config.modules_to_save else ""
    return f"{kind} of rank {config.r}, alpha {config.lora_alpha}, on {modules}{whole}"


def documents_by_source(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Documents of the training split by corpus, from the manifest of the prepared data."""
    return {source: counts["documents"] for source, counts in _training_split(manifest).get("sources", {}).items()}


def _training_split(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return manifest.get("summary", {}).get("train", {})


def _is_peft(model: Any) -> bool:
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")
