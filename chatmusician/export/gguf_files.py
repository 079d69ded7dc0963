"""Writing a model folder as one GGUF file, which llama.cpp, Ollama and LM Studio run.

    model folder --read a block of rows--> reorder, round or quantise --> its place in .NAME.partial --> rename

The file begins with the metadata and with the place of every tensor; all of it follows from config.json, the tokenizer
and the tensors' shapes, so it is written first, and then each block at its place: memory holds the blocks in flight.

*Numbers.* Vectors (norms, biases) stay float32 whatever the kind. Q8_0 stores each 32 numbers of a row as integers of 8
bits times one float16; a tensor whose rows are no multiple of 32 is written as float16, which the report says.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

from chatmusician.errors import UserError
from chatmusician.export.folders import FULL, sync, tensor_files
from chatmusician.export.gguf_architecture import Target, add_rope, add_shape, plan_tensors, read_config
from chatmusician.export.gguf_vocabulary import Vocabulary, add_vocabulary, read_vocabulary
from chatmusician.export.ollama import write_modelfile
from chatmusician.export.reading import StoredTensor, TensorReader, is_finite, stored_tensors
from chatmusician.export.shards import block_threads, require_room, wait, write_at

if TYPE_CHECKING:
    from torch import Tensor

WRITTEN_KINDS: Mapping[str, str] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "q8_0": "float32"}
"""Kinds of numbers written here, with torch's dtype that the weights must be finite in."""
QUANTIZE_KINDS = ("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k")
"""Kinds that llama.cpp's tool makes of a float16 file, by their bits a weight; the last letter is the size."""
KINDS = (*WRITTEN_KINDS, *QUANTIZE_KINDS)
QUANTIZE_TOOL = "llama-quantize"


@dataclass(frozen=True, kw_only=True)
class GgufReport:
    """What `write_gguf` did."""

    path: Path
    kind: str
    tensors: int
    bytes: int
    """Size of the file."""
    vocabulary: str
    """The algorithm that llama.cpp tokenises with: "llama", or "gpt2" with its name for how text is cut."""
    tokens: int
    padding: int
    """Tokens of these that the model embeds but the tokenizer lacks, named [PAD0] and so on."""
    warnings: tuple[str, ...]
    """What llama.cpp will do otherwise than transformers, and what was not written as the kind says."""


def write_gguf(model: Path, output: Path, *, kind: str, overwrite: bool = False) -> GgufReport:
    """Write the model folder ``model`` as the GGUF file ``output``, whole or not at all.

    Args:
        model: a Llama in safetensors with its tokenizer, as `chatmusician.export.merging.merge_adapter` writes it.
        output: the file to make, ``NAME.gguf``.
        kind: one of `KINDS`.
        overwrite: replace ``output`` if it is there.

    Raises:
        UserError: the package gguf or llama.cpp's tool is missing; the kind is unknown; the folder is not that of a
            Llama, is incomplete, quantised or uses what GGUF cannot say; the output is in the way; or the disk is too
            full.
    """
    check_gguf(kind)
    import gguf

    tool = _find_tool(kind) if kind in QUANTIZE_KINDS else None
    _check_output(output, overwrite=overwrite)
    config = read_config(model)
    stored = stored_tensors(dict.fromkeys(tensor_files(model).values()))
    targets = plan_tensors(stored, config, kind="f16" if tool else kind)
    vocabulary = read_vocabulary(model, size=config.vocab_size)
    with _whole_file(output) as partial:
        if tool is None:
            tensors = _write(gguf, partial, config, vocabulary, targets, stored, kind=kind, name=output.stem)
        else:
            with _temporary(output, "f16") as unquantised:
                tensors = _write(gguf, unquantised, config, vocabulary, targets, stored, kind="f16", name=output.stem)
                _quantize(tool, unquantised, partial, kind=kind)
    warnings = vocabulary.warnings
    if kept := [target.name for target in targets if kind == "q8_0" and target.kind == "f16"]:
        warnings += (f"rows no multiple of 32, written as f16: {', '.join(kept)}",)
    return GgufReport(
        path=output,
        kind=kind,
        tensors=tensors,
        bytes=output.stat().st_size,
        vocabulary=vocabulary.model if vocabulary.model == "llama" else f"{vocabulary.model} ({vocabulary.pre})",
        tokens=len(vocabulary.tokens),
        padding=vocabulary.padding,
        warnings=warnings,
    )


def add_gguf(model: Path, *, kind: str) -> list[str]:
    """Put ``model-KIND.gguf`` and a Modelfile into a model folder; lines that say what was done and what to know.

    Raises:
        UserError: as `write_gguf`.
    """
    report = write_gguf(model, model / f"model-{kind}.gguf", kind=kind, overwrite=True)
    modelfile = write_modelfile(report.path, model=model)
    size = f"{report.bytes / 1e9:.3f} GB {report.kind}"
    made = f"{report.path}: {report.tensors} tensors, {size}, vocabulary {report.vocabulary} of {report.tokens} tokens"
    return [made, f"{modelfile}: for `ollama create NAME -f Modelfile`", *report.warnings]


def check_gguf(kind: str) -> None:
    """Refuse a kind that cannot be written here: to be asked before the work that leads to the model.

    Raises:
        UserError: the kind is unknown, the package gguf is not installed, or llama.cpp's tool is not there.
    """
    if kind not in KINDS:
        raise UserError(f"gguf={kind} is unknown: choose one of {', '.join(KINDS)}")
    if find_spec("gguf") is None:
        raise UserError(f"gguf={kind} needs the package gguf: pip install 'chatmusician[gguf]'")
    if kind in QUANTIZE_KINDS:
        _find_tool(kind)


def _find_tool(kind: str) -> str:
    tool = shutil.which(QUANTIZE_TOOL)
    if tool is None:
        raise UserError(
            f"gguf={kind} needs {QUANTIZE_TOOL}, which is not on PATH: install llama.cpp "
            "(https://github.com/ggml-org/llama.cpp/releases), or choose q8_0"
        )
    return tool


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix != ".gguf":
        raise UserError(f"{output} does not end in .gguf, by which programs know the format: name it so")
    if output.is_dir() or (output.exists() and not overwrite):
        raise UserError(f"{output} exists already: choose another name, or remove it")


def _write(
    gguf: ModuleType,
    path: Path,
    config: Any,
    vocabulary: Vocabulary,
    targets: Sequence[Target],
    stored: Mapping[str, StoredTensor],
    *,
    kind: str,
    name: str,
) -> int:
    """Write one whole file of one of `WRITTEN_KINDS`; returns how many tensors it has."""
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[("ALL_" if kind == "f32" else "MOSTLY_") + kind.upper()])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_shape(writer, config)
    factors = add_rope(writer, config)
    add_vocabulary(writer, vocabulary)
    if factors:
        writer.add_tensor_info("rope_freqs.weight", (len(factors),), np.dtype(np.float32), 4 * len(factors))
    for target in targets:
        number_type = gguf.GGMLQuantizationType[target.kind.upper()]
        writer.add_tensor_info(target.name, target.shape, np.dtype(np.float32), target.bytes, number_type)
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()

    def aligned(size: int) -> int:
        return writer.ggml_pad(size, writer.data_alignment)

    place = aligned(path.stat().st_size)
    sizes = [4 * len(factors), *(target.bytes for target in targets)]
    require_room(path, sum(map(aligned, sizes)))
    with path.open("r+b") as stream, TensorReader(stored) as reader, block_threads() as pool:
        stream.truncate(place + sum(map(aligned, sizes)))
        write_at(stream, np.array(factors, dtype=np.float32).tobytes(), place)
        place += aligned(sizes[0])
        jobs = []
        for target in targets:
            jobs += [
                pool.submit(_write_block, stream, place + start * target.row_bytes, reader, target, start, stop)
                for start, stop in target.blocks()
            ]
            place += aligned(target.bytes)
        wait(jobs)
    return len(targets) + bool(factors)


def _write_block(stream: BinaryIO, place: int, reader: TensorReader, target: Target, start: int, stop: int) -> None:
    value = reader.rows(target.source, start, stop)
    if target.head > 1:
        value = _interleave(value, target.head)
    write_at(stream, _encode(value, target), place)


def _interleave(rows: "Tensor", head: int) -> "Tensor":
    """Reorder the rows [N * head, ...] of whole heads: those of each first half alternate with those of the second."""
    return rows.reshape(-1, 2, head // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def _encode(value: "Tensor", target: Target) -> memoryview:
    """The bytes of some rows in the target's kind.

    Raises:
        UserError: a number is not finite, or is not any more.
    """
    import torch

    dtype = getattr(torch, WRITTEN_KINDS[target.kind])
    if not is_finite(value, dtype):
        raise UserError(
            f"{target.source} holds NaN or infinity, or numbers too large for {target.kind}: try gguf=bf16 or gguf=f32"
        )
    value = value.to(dtype).contiguous()
    if target.kind == "q8_0":
        from gguf import GGMLQuantizationType, quants

        return quants.quantize(value.numpy(), GGMLQuantizationType.Q8_0).reshape(-1).data
    return value.reshape(-1).view(torch.uint8).numpy().data


@contextmanager
def _temporary(output: Path, ending: str) -> Iterator[Path]:
    """A name beside ``output`` for a file that does not outlive the block."""
    path = output.with_name(f".{output.name}.{ending}")
    path.unlink(missing_ok=True)  # what a killed run left
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _whole_file(output: Path) -> Iterator[Path]:
    """A file to write that becomes ``output`` only when all of it is on the disk.

    Raises:
        UserError: the disk is full.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _temporary(output, "partial") as partial:
            yield partial
            sync(partial)
            partial.replace(output)
            sync(output.parent)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"{output} cannot be written ({error.strerror}): free some space or choose another place"
        ) from error


def _quantize(tool: str, source: Path, target: Path, *, kind: str) -> None:
    require_room(target.parent, source.stat().st_size // 2)  # of 16 bits a weight, the largest kind keeps under 7
    done = subprocess.run([tool, source, target, kind.upper()], capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not target.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise UserError(f"{tool} failed with status {done.returncode}: {lines[-1]}")
