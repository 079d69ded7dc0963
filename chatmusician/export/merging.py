"""Merging a LoRA adapter into its base: one Hugging Face folder that needs no PEFT.

    base shards --read one tensor--> float32 --W + s B A--> round once --> output shards

Each product is computed in float32 and rounded once to the output dtype: adding a rounded product to a rounded
weight, as a bfloat16 model in memory does, loses up to half a unit of the last place more. The tensors pass one at a
time, so memory holds the largest tensor (in float32, with its product) and not the model.

*Tied embeddings.* A base with ``tie_word_embeddings`` stores one tensor that is both embedding and output head. An
adapter that changed only one of them (or both differently) trained a model that is no longer tied: both are written
and the config says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.adapters import Adapter, LowRank, Replaced, open_adapter
from chatmusician.export.folders import (
    CONFIG,
    check_model_folder,
    check_output_folder,
    check_tokenizer_folder,
    read_json,
    tensor_files,
    tensor_headers,
    whole_folder,
)
from chatmusician.export.metadata import copy_tokenizer, write_generation_config, write_json
from chatmusician.export.model_card import CardFacts, write_model_card
from chatmusician.export.shards import DTYPE_BYTES, DTYPE_NAMES, MAX_SHARD_BYTES, TORCH_NAMES, Spec, write_shards

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
    """Of these, tensors that W + s B A changed."""
    replaced: int
    """Of these, tensors that were trained whole (modules_to_save)."""
    untied: bool
    """The base ties embedding and head, the output does not."""
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
        adapter: a PEFT LoRA folder: LoRA or rsLoRA, with or without modules_to_save.
        output: the folder to make.
        tokenizer: where the tokenizer's files are copied from; by default ``base``.
        dtype: "float32", "bfloat16" or "float16"; by default each tensor keeps the base's.
        max_shard_bytes: size of one weights file, see `chatmusician.export.shards.plan`.
        overwrite: replace an output that is not empty.
        decoding: settings for generation_config.json; by default the paper's.
        card: facts for the model card; by default only the base is named.

    Raises:
        UserError: base and adapter do not fit, a file is missing or not safetensors, the adapter is another variant of
            LoRA or holds NaN, or the output is not empty. The message names file and tensor.
    """
    check_model_folder(base, option="base")
    check_tokenizer_folder(tokenizer or base, option="tokenizer" if tokenizer else "base")
    check_output_folder(output, overwrite=overwrite)
    if dtype is not None and dtype not in DTYPE_NAMES:
        raise UserError(f"dtype={dtype} is unknown: choose one of {', '.join(DTYPE_NAMES)}, or none for the base's")
    config = read_json(base / CONFIG)
    merge = plan_merge(tensor_files(base), open_adapter(adapter), config, dtype)
    kinds = {spec.dtype for spec in merge.specs}
    written_dtype = TORCH_NAMES[kinds.pop()] if len(kinds) == 1 else "mixed"
    with whole_folder(output, overwrite=overwrite) as folder:
        shards = write_shards(folder, merge.specs, merge.tensor, max_shard_bytes=max_shard_bytes)
        write_json(folder / CONFIG, _merged_config(config, written_dtype, untied=merge.untied))
        copy_tokenizer(tokenizer or base, folder)
        write_generation_config(folder, config, decoding)
        write_model_card(folder, card or CardFacts(base=base.name))
    changes = merge.adapter.changes.values()
    return MergeReport(
        output=output,
        tensors=len(merge.specs),
        low_rank=sum(isinstance(change, LowRank) for change in changes),
        replaced=sum(isinstance(change, Replaced) for change in changes),
        untied=merge.untied,
        dtype=written_dtype,
        bytes=sum(spec.bytes for spec in merge.specs),
        shards=len(shards),
    )


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A merge that was found to fit: what is to be written, and where it comes from."""

    files: dict[str, Path]
    """Which file holds each tensor of the base."""
    adapter: Adapter
    specs: tuple[Spec, ...]
    """The tensors of the output, in the order of the base's files."""
    untied: bool

    def tensor(self, spec: Spec) -> "Tensor":
        """One tensor of the output, on the CPU.

        Raises:
            UserError: it holds NaN or infinity, in the base, in the adapter, or because the output dtype overflows.
        """
        import torch
        from safetensors import safe_open

        stored = spec.name if spec.name in self.files else EMBEDDING
        with safe_open(self.files[stored], framework="pt") as stream:
            value = stream.get_tensor(stored)
        if spec.name in self.adapter.changes:
            value = self.adapter.apply(spec.name, value.to(torch.float32))
        rounded = value.to(getattr(torch, TORCH_NAMES[spec.dtype]))
        if not bool(torch.isfinite(rounded).all()):
            raise UserError(
                f"{spec.name} is not finite as {TORCH_NAMES[spec.dtype]}: {self.files[stored]} holds NaN or the dtype "
                "overflows; try dtype=float32"
            )
        return rounded


def plan_merge(files: dict[str, Path], adapter: Adapter, config: Mapping[str, Any], dtype: str | None) -> Merge:
    """Hold the adapter against the base's tensors and decide what is to be written.

    Raises:
        UserError: a tensor of the adapter has no partner of its shape, or the base is quantised.
    """
    headers = {name: entry for file in dict.fromkeys(files.values()) for name, entry in tensor_headers(file).items()}
    tied = bool(config.get("tie_word_embeddings")) or HEAD not in headers
    untied = tied and _splits_tie(adapter)
    names = [name for name in headers if not (tied and name == HEAD)]
    if (HEAD in headers and not tied) or untied:
        names = [name for name in names if name != HEAD] + [HEAD]
    known = dict(headers)
    known.setdefault(HEAD, headers.get(EMBEDDING, {}))
    for name, change in adapter.changes.items():
        shape = tuple(known.get(name, {}).get("shape", ()))
        if shape != change.shape:
            state = f"has shape {list(shape)}" if shape else "is not"
            raise UserError(
                f"{adapter.file} changes {name} {list(change.shape)}, which {state} in the base: "
                "the adapter belongs to another base"
            )
    specs = tuple(
        Spec(
            name=name, shape=tuple(known[name]["shape"]), dtype=_output_dtype(name, known[name]["dtype"], files, dtype)
        )
        for name in names
    )
    return Merge(files=files, adapter=adapter, specs=specs, untied=untied)


def _splits_tie(adapter: Adapter) -> bool:
    """Whether the adapter makes a tied embedding and output head two different tensors."""
    import torch

    embedding, head = adapter.changes.get(EMBEDDING), adapter.changes.get(HEAD)
    if embedding is None and head is None:
        return False
    if isinstance(embedding, Replaced) and isinstance(head, Replaced):
        return not torch.equal(adapter.read(embedding.name), adapter.read(head.name))
    return not (adapter.ties_weights and isinstance(embedding, Replaced))


def _output_dtype(name: str, stored: str, files: Mapping[str, Path], dtype: str | None) -> str:
    if stored not in DTYPE_BYTES:
        raise UserError(
            f"{files[name]}: {name} is stored as {stored}: a quantised base cannot be merged into, use the original"
        )
    return DTYPE_NAMES[dtype] if dtype else stored


def _merged_config(config: Mapping[str, Any], dtype: str, *, untied: bool) -> dict[str, Any]:
    """The base's config.json with what the merge changed."""
    merged = {key: value for key, value in config.items() if key not in ("_name_or_path", "torch_dtype")}
    if dtype != "mixed":
        merged["dtype"] = dtype
    if untied:
        merged["tie_word_embeddings"] = False
    return merged
