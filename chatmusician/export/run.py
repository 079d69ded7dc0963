"""The merge command after its configuration was accepted."""

import sys
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError
from chatmusician.export.folders import is_hub_id
from chatmusician.export.merging import MergeReport, merge_adapter
from chatmusician.export.verification import compare_logits


def run(cfg: Any) -> None:
    """Merge, check and report, as the configuration says (see conf/merge.yaml)."""
    from transformers.utils import logging

    base = local_folder(str(cfg.base), option="base")
    report = merge_adapter(
        base=base,
        adapter=Path(cfg.adapter),
        output=Path(cfg.output),
        tokenizer=None if cfg.tokenizer is None else Path(cfg.tokenizer),
        dtype=cfg.dtype,
        max_shard_bytes=cfg.max_shard_bytes,
        overwrite=cfg.overwrite,
    )
    for line in describe(report):
        print(line)
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    if cfg.check:
        agreement = compare_logits(base=base, adapter=Path(cfg.adapter), merged=report.output)
        print(f"reloaded: {agreement}")
        if not agreement.agrees:
            raise UserError(f"output={report.output} does not compute what base and adapter compute: {agreement}")


def local_folder(name: str, *, option: str) -> Path:
    """The folder of a model that is given as a folder or as a Hub id, downloaded if need be.

    Raises:
        UserError: the Hub has no such model, or cannot be reached.
    """
    if not is_hub_id(name):
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"{option}={name} is no folder here and cannot be downloaded: {type(error).__name__}"
        ) from error


def describe(report: MergeReport) -> list[str]:
    """Lines that say what a merge did."""
    lines = [
        f"{report.output}: {report.tensors} tensors, {report.bytes / 1e9:.3f} GB {report.dtype}, {report.shards} files",
        f"merged: {report.low_rank} by W + s B A, {report.replaced} replaced (modules_to_save)",
    ]
    if report.untied:
        lines.append("embedding and output head are no longer tied: the adapter changed them differently")
    return lines
