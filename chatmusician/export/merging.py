"""Merging a LoRA adapter into its base: one Hugging Face folder that needs no PEFT.

    base shards --read a block of rows--> float32 --W + s B A--> round once --> its place in the output shards

Each product is computed in float32 and rounded once to the output dtype: adding a rounded product to a rounded
weight, as a bfloat16 model in memory does, loses up to half a unit of the last place more. Blocks of about 2 MB pass
through the processor's cache, one a thread, so memory holds neither the model nor a shard: the largest things in it
are the products B A of two modules, 180 MB each at LLaMA2-7B's shapes.

*Tied embeddings.* A base with ``tie_word_embeddings`` stores one tensor that is both embedding and output head. An
adapter that changed only one of them (or both differently) trained a model that is no longer tied: both are written
and the config says so.

*Added tokens.* An adapter that was trained with a larger vocabulary holds embedding and head whole; the output has the
larger ones, and the tokenizer must be the adapter's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.adapter_rows import AdapterReader
from chatmusician.export.adapters import Adapter, LowRank, Replaced, ReplacedRows, open_adapter
from chatmusician.export.fingerprints import read_fingerprint, require_same_base
from chatmusician.export.folders import (
    CONFIG,
    check_model_folder,
    check_output_folder,
    check_tokenizer_folder,
    has_tokenizer,
    read_json,
    tensor_files,
    whole_folder,
)
from chatmusician.export.metadata import copy_tokenizer, write_generation_config, write_json
from chatmusician.export.model_card import CardFacts, write_model_card
from chatmusician.export.reading import (
    DTYPE_BYTES,
    DTYPE_NAMES,
    TORCH_NAMES,
    StoredTensor,
    TensorReader,
    is_finite,
    stored_tensors,
)
from chatmusician.export.shards import MAX_SHARD_BYTES, Rows, Spec, write_shards

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """What `merge_adapter` did."""

    output: Path
    tensors: int
    """Tensors written."""
    low_rank: int
    """Of these, tensors that W + s B A changed, DoRA's scaling included."""
    replaced: int
    """Of these, tensors that were trained whole (modules_to_save), or some rows of them (trained tokens)."""
    untied: bool
    """The base ties embedding and head, the output does not."""
    vocabulary: int
    """Rows of the embedding."""
    dtype: str
    """Of the output: float32, bfloat16 or float16; "mixed" where the base mixes them and none was asked for."""
    bytes: int
    """Size of the weights."""
    shards: int


def merge_adapter(
    *,
    base: Path,
    adapter: Path,
    output: Path,
    tokenizer: Path | None = None,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
    decoding: Mapping[str, float] | None = None,
    card: CardFacts | None = None,
) -> MergeReport:
    """Write ``base`` with ``adapter`` merged into it to the folder ``output``, whole or not at all.

    Args:
        base: a model folder in safetensors.
        adapter: a PEFT folder: LoRA, rsLoRA or DoRA, with or without modules_to_save and trained tokens.
        output: the folder to make.
        tokenizer: where the tokenizer's files are copied from; by default ``adapter`` if it has one, else ``base``.
        dtype: "float32", "bfloat16" or "float16"; by default each tensor keeps the base's.
        max_shard_bytes: size of one weights file, see `chatmusician.export.shards.plan`.
        overwrite: replace an output that is not empty.
        decoding: settings for generation_config.json; by default the paper's.
        card: facts for the model card; by default only the base is named.

    Raises:
        UserError: base and adapter do not belong together or do not fit, a file is missing or not safetensors, the
            adapter is another variant of LoRA or holds NaN, the output is not empty, or the disk is too full.
    """
    check_model_folder(base, option="base")
    opened = open_adapter(adapter)
    if (trained_on := read_fingerprint(adapter)) is not None:
        require_same_base(base, trained_on, adapter=adapter)
    if tokenizer is None:
        tokenizer = adapter if has_tokenizer(adapter) else base
    check_tokenizer_folder(tokenizer, option="base" if tokenizer is base else "tokenizer")
    check_output_folder(output, overwrite=overwrite)
    if dtype is not None and dtype not in DTYPE_NAMES:
        raise UserError(f"dtype={dtype} is unknown: choose one of {', '.join(DTYPE_NAMES)}, or none for the base's")
    config = read_json(base / CONFIG)
    stored = stored_tensors(dict.fromkeys(tensor_files(base).values()))
    merge = plan_merge(stored, opened, config, dtype)
    kinds = {spec.dtype for spec in merge.specs}
    written_dtype = TORCH_NAMES[kinds.pop()] if len(kinds) == 1 else "mixed"
    with whole_folder(output, overwrite=overwrite) as folder:
        with MergedTensors(merge) as source:
            shards = write_shards(folder, merge.specs, source, max_shard_bytes=max_shard_bytes)
        write_json(folder / CONFIG, _merged_config(config, written_dtype, merge))
        copy_tokenizer(tokenizer, folder)
        write_generation_config(folder, config, decoding)
        write_model_card(folder, card or CardFacts(base=base.name))
    changes = opened.changes.values()
    return MergeReport(
        output=output,
        tensors=len(merge.specs),
        low_rank=sum(isinstance(change, LowRank) for change in changes),
        replaced=sum(not isinstance(change, LowRank) for change in changes),
        untied=merge.untied,
        vocabulary=merge.vocabulary,
        dtype=written_dtype,
        bytes=sum(spec.bytes for spec in merge.specs),
        shards=len(shards),
    )


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A merge that was found to fit: what is to be written, and where it comes from."""

    stored: Mapping[str, StoredTensor]
    """The base's tensors."""
    adapter: Adapter
    specs: tuple[Spec, ...]
    """The tensors of the output, in the order of the base's files."""
    untied: bool

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding in the output; 0 for a model without one of that name."""
        return next((spec.shape[0] for spec in self.specs if spec.name == EMBEDDING), 0)


class MergedTensors:
    """Computes the merged tensors: a `chatmusician.export.shards.Source`, and a context manager."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge
        self._base = TensorReader(merge.stored)
        self._adapter = AdapterReader(merge.adapter)

    def __enter__(self) -> "MergedTensors":
        self._base.__enter__()
        self._adapter.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._adapter.__exit__(*error)
        self._base.__exit__(*error)

    def __call__(self, spec: Spec) -> Rows:
        """One tensor of the output by its rows, which raise UserError where they hold NaN or infinity."""
        import torch

        stored = spec.name if spec.name in self.merge.stored else EMBEDDING
        dtype = getattr(torch, TORCH_NAMES[spec.dtype])

        def base(start: int, stop: int) -> "Tensor":
            return self._base.rows(stored, start, stop).to(torch.float32)

        if spec.name in self.merge.adapter.changes:
            merged = self._adapter.changed(spec.name, base)
        elif self.merge.stored[stored].dtype == spec.dtype:
            merged = partial(self._base.rows, stored)  # as it is
        else:
            merged = base

        def rows(start: int, stop: int) -> "Tensor":
            value = merged(start, stop)
            if not is_finite(value, dtype):
                raise UserError(
                    f"{spec.name} is not finite as {TORCH_NAMES[spec.dtype]}: {self.merge.stored[stored].file} holds "
                    "NaN or infinity, or the dtype overflows; try dtype=float32"
                )
            return value.to(dtype)

        return rows


def plan_merge(
    stored: Mapping[str, StoredTensor], adapter: Adapter, config: Mapping[str, Any], dtype: str | None
) -> Merge:
    """Hold the adapter against the base's tensors and decide what is to be written.

    Raises:
        UserError: a tensor of the adapter has no partner of its shape, or the base is quantised.
    """
    tied = bool(config.get("tie_word_embeddings")) or HEAD not in stored
    untied = tied and _splits_tie(adapter)
    names = [name for name in stored if name != HEAD]
    if (HEAD in stored and not tied) or untied:
        names.append(HEAD)
    known = {HEAD: stored[EMBEDDING], **stored} if EMBEDDING in stored else stored
    shapes = {name: _merged_shape(name, change, known, adapter.file) for name, change in adapter.changes.items()}
    specs = []
    for name in names:
        change = adapter.changes.get(name)
        specs.append(
            Spec(
                name=name,
                shape=shapes.get(name, known[name].shape),
                dtype=_output_dtype(name, known[name], dtype),
                divisible=change is None or change.divisible,
            )
        )
    merge = Merge(stored=stored, adapter=adapter, specs=tuple(specs), untied=untied)
    _check_vocabulary(merge)
    return merge


def _merged_shape(
    name: str, change: LowRank | Replaced | ReplacedRows, known: Mapping[str, StoredTensor], file: Path
) -> tuple[int, ...]:
    """The shape of a changed tensor: the base's, or for a vocabulary that grew that of the adapter."""
    shape = known[name].shape if name in known else ()
    if isinstance(change, ReplacedRows):
        wanted: tuple[int, ...] = (max(change.rows) + 1, change.width)
        result = shape if change.base_rows is None else (change.base_rows, change.width)
        fits = len(shape) == 2 and shape[1] == change.width and shape[0] <= result[0] >= wanted[0]
    else:
        wanted = result = change.shape
        grows = name in (EMBEDDING, HEAD) and (isinstance(change, Replaced) or change.base is not None)
        fits = shape == wanted or (grows and len(shape) == 2 and shape[1:] == wanted[1:] and wanted[0] > shape[0])
    if not fits:
        state = f"has shape {list(shape)}" if shape else "is not"
        raise UserError(
            f"{file} changes {name} {list(wanted)}, which {state} in the base: the adapter belongs to another base"
        )
    return result


def _check_vocabulary(merge: Merge) -> None:
    rows = {spec.name: spec.shape[0] for spec in merge.specs if spec.name in (EMBEDDING, HEAD)}
    if len(set(rows.values())) > 1:
        raise UserError(
            f"{merge.adapter.file} makes an embedding of {rows[EMBEDDING]} tokens and an output head of {rows[HEAD]}: "
            "both must be trained where tokens are added; save the adapter with both in modules_to_save"
        )


def _splits_tie(adapter: Adapter) -> bool:
    """Whether the adapter makes a tied embedding and output head two different tensors."""
    import torch

    embedding, head = adapter.changes.get(EMBEDDING), adapter.changes.get(HEAD)
    if embedding is None and head is None:
        return False
    if isinstance(embedding, Replaced) and isinstance(head, Replaced):
        with TensorReader(adapter.stored) as reader:
            return not torch.equal(reader.rows(embedding.name), reader.rows(head.name))
    if isinstance(embedding, ReplacedRows):
        if head is None:
            return False  # PEFT trains the tokens of a tied head with those of the embedding
        if isinstance(head, ReplacedRows) and head.rows == embedding.rows:
            with TensorReader(adapter.stored) as reader:
                return not torch.equal(reader.rows(embedding.name), reader.rows(head.name))
    return not (adapter.ties_weights and isinstance(embedding, Replaced))


def _output_dtype(name: str, stored: StoredTensor, dtype: str | None) -> str:
    if stored.dtype not in DTYPE_BYTES:
        raise UserError(
            f"{stored.file}: {name} is stored as {stored.dtype}: a quantised base cannot be merged into, use the "
            "original"
        )
    return DTYPE_NAMES[dtype] if dtype else stored.dtype


def _merged_config(config: Mapping[str, Any], dtype: str, merge: Merge) -> dict[str, Any]:
    """The base's config.json with what the merge changed."""
    merged = {key: value for key, value in config.items() if key not in ("_name_or_path", "torch_dtype")}
    if dtype != "mixed":
        merged["dtype"] = dtype
    if merge.untied:
        merged["tie_word_embeddings"] = False
    if merge.vocabulary:
        merged["vocab_size"] = merge.vocabulary
    return merged
