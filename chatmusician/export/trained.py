"""From trained weights to folders: the one path by which a training run and the merge command export.

    weights by their names in the model + `ExportFacts`
        adapter:      adapter/ (PEFT's format), merged with its base into model/
        all weights:  model/
        some of them: completed from their base, model/

The facts travel in every checkpoint, so that what holds at the end of a run holds for each of its checkpoints.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.adapters import PREFIX, adapter_tensor_name, base_tensor_name
from chatmusician.export.completing import completed
from chatmusician.export.fingerprints import BASE_FILE, as_fingerprint, require_same_base
from chatmusician.export.folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, is_hub_id, local_folder, whole_folder
from chatmusician.export.merging import EMBEDDING, HEAD, MergeReport, merge_adapter
from chatmusician.export.metadata import copy_tokenizer, write_json
from chatmusician.export.model_card import CardFacts
from chatmusician.export.saving import write_model_folder
from chatmusician.export.shards import MAX_SHARD_BYTES
from chatmusician.export.verification import LogitAgreement, compare_logits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ExportFacts:
    """What trained weights belong to. JSON values, which a checkpoint can hold without pickled classes."""

    model_config: Mapping[str, Any]
    """config.json of the model that was trained, the base's for an adapter."""
    adapter_config: Mapping[str, Any] | None = None
    """adapter_config.json; None where all weights were trained."""
    base: str | None = None
    """Folder or Hub id of the weights that training started from; None for random ones."""
    base_fingerprint: Mapping[str, Any] | None = None
    tokenizer: str | None = None
    """Folder of the tokenizer that the data were prepared with."""
    decoding: Mapping[str, float] | None = None
    """For generation_config.json; None for the paper's."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """A `CardFacts`."""

    @classmethod
    def of_checkpoint(cls, content: Mapping[str, Any]) -> "ExportFacts":
        """What a checkpoint says.

        Raises:
            UserError: it was written by a version that said other things.
        """
        try:
            return cls(**content)
        except TypeError as error:
            raise UserError(f"the checkpoint was written by another version of this project: {error}") from error

    def card_facts(self) -> CardFacts:
        """The card as an object."""
        return CardFacts(**self.card)


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What `export_trained` left."""

    model: Path
    adapter: Path | None = None
    base: Path | None = None
    merge: MergeReport | None = None
    agreement: LogitAgreement | None = None
    """Of the merged model, reloaded, with base and adapter; None where it was not asked for or nothing was merged."""


def export_trained(
    *,
    state: Mapping[str, "Tensor"],
    facts: ExportFacts,
    output: Path,
    base: str | None = None,
    tokenizer: Path | None = None,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    check: bool = True,
    overwrite: bool = False,
) -> ExportReport:
    """Write ``output/model``, of an adapter also ``output/adapter`` (and ``output/base`` if it exists nowhere else).

    Args:
        state: the trained weights by the names they have in the model; without a base on disk all of its weights.
        facts: what they belong to.
        output: the folder to put the others in.
        base: folder or Hub id of the base; by default the one of the facts.
        tokenizer: folder of the tokenizer; by default the one of the facts, else the base's.
        dtype: "float32", "bfloat16" or "float16" for ``model``; None keeps the base's, of a new model the weights' own.
        max_shard_bytes: size of one weights file.
        check: reload the merged model and compare its logits with base and adapter (memory of one float32 model).
        overwrite: replace what an earlier export left there.

    Raises:
        UserError: base and weights do not belong together, the merged model computes something else, or a folder
            cannot be written.
    """
    place = base or facts.base
    source = tokenizer or _tokenizer_folder(facts, place)
    options: dict[str, Any] = {"tokenizer": source, "max_shard_bytes": max_shard_bytes, "overwrite": overwrite}
    options |= {"decoding": facts.decoding, "card": facts.card_facts()}
    if facts.adapter_config is None:
        folder = output / "model"
        whole = _whole_model(state, facts, place)
        kept = dtype or (facts.model_config.get("dtype") if whole is state and place is not None else None)
        write_model_folder(state=whole, config=facts.model_config, output=folder, dtype=kept, **options)
        return ExportReport(model=folder)
    if place is None:
        whole = {own: value for name, value in state.items() if (own := base_tensor_name(name)) is not None}
        if not whole:
            raise UserError(
                "the base of these weights was made by their run and is not among them: give base=, the base/ that the "
                "run exported"
            )
        base_folder = write_model_folder(
            state=whole, config=facts.model_config, output=output / "base", **{**options, "card": CardFacts()}
        )
    else:
        base_folder = local_folder(place, option="base")
    adapter = write_adapter(
        state=state, facts=facts, base=base_folder, tokenizer=source, output=output / "adapter", overwrite=overwrite
    )
    merged = merge_adapter(base=base_folder, adapter=adapter, output=output / "model", dtype=dtype, **options)
    return ExportReport(
        model=merged.output,
        adapter=adapter,
        base=base_folder,
        merge=merged,
        agreement=require_agreement(base=base_folder, adapter=adapter, merged=merged.output) if check else None,
    )


def _whole_model(state: Mapping[str, "Tensor"], facts: ExportFacts, place: str | None) -> Mapping[str, "Tensor"]:
    """The weights, with those that were frozen from the base that training started from."""
    if place is None or facts.base_fingerprint is None or len(state) >= facts.base_fingerprint["tensors"]:
        return state
    base = local_folder(place, option="base")
    expected = as_fingerprint(facts.base_fingerprint, source=base)
    require_same_base(base, expected, adapter="the model")
    return completed(state, base=base, config=facts.model_config)


def write_adapter(
    *,
    state: Mapping[str, "Tensor"],
    facts: ExportFacts,
    base: Path,
    tokenizer: Path,
    output: Path,
    overwrite: bool = False,
) -> Path:
    """Write a PEFT adapter folder with its tokenizer and its base's fingerprint, whole or not at all; returns it."""
    from safetensors.torch import save_file

    tensors = {own: value for name, value in state.items() if (own := adapter_tensor_name(name)) is not None}
    if (facts.adapter_config or {}).get("ensure_weight_tying") and PREFIX + EMBEDDING in tensors:
        tensors[PREFIX + HEAD] = tensors[PREFIX + EMBEDDING].clone()  # one matrix, which PEFT stores as two
    config = {
        **(facts.adapter_config or {}),
        "inference_mode": True,
        "base_model_name_or_path": _base_name(facts, base),
    }
    with whole_folder(output, overwrite=overwrite) as folder:
        write_json(folder / ADAPTER_CONFIG, config)
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / ADAPTER_WEIGHTS)
        copy_tokenizer(tokenizer, folder)
        if facts.base_fingerprint is not None:
            write_json(folder / BASE_FILE, facts.base_fingerprint)
    return output


def require_agreement(*, base: Path, adapter: Path, merged: Path) -> LogitAgreement:
    """Compare a merged model, reloaded, with base and adapter on a fixed prompt.

    Raises:
        UserError: they differ by more than rounding explains.
    """
    agreement = compare_logits(base=base, adapter=adapter, merged=merged)
    if not agreement.agrees:
        raise UserError(f"{merged} does not compute what base and adapter compute: {agreement}")
    return agreement


def report_as_json(report: ExportReport) -> dict[str, Any]:
    """The report for a JSON file, without what does not apply; paths as text."""
    return {name: value for name, value in asdict(report).items() if value is not None}


def _base_name(facts: ExportFacts, base: Path) -> str:
    """What adapter_config.json calls the base: its Hub id, or where it lies."""
    return facts.base if facts.base is not None and is_hub_id(facts.base) else str(base.absolute())


def _tokenizer_folder(facts: ExportFacts, base: str | None) -> Path:
    if facts.tokenizer is not None and Path(facts.tokenizer).is_dir():
        return Path(facts.tokenizer)
    if base is None:
        raise UserError(f"the tokenizer of the training, {facts.tokenizer}, is gone: give one with tokenizer=FOLDER")
    return local_folder(base, option="base")
