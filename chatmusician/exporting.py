"""The merge command after its configuration was accepted: an adapter, a checkpoint or a model made ready to use."""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from chatmusician.errors import UserError
from chatmusician.export.adapters import open_adapter
from chatmusician.export.fingerprints import read_fingerprint
from chatmusician.export.folders import check_model_folder, is_hub_id, local_folder, read_json
from chatmusician.export.gguf_files import add_gguf, check_gguf
from chatmusician.export.merging import MergeReport, merge_adapter
from chatmusician.export.model_card import CARD, CardFacts, licence_of, read_card, write_model_card
from chatmusician.export.trained import ExportFacts, export_trained, require_agreement

SOURCES = ("adapter", "checkpoint", "model")


def run(cfg: DictConfig) -> None:
    """Merge, check, add what is asked for and report, as the configuration says (see conf/merge.yaml)."""
    from transformers.utils import logging

    given = [name for name in SOURCES if cfg[name] is not None]
    if len(given) != 1:
        state = f"{' and '.join(f'{name}={cfg[name]}' for name in given)} were given" if given else "none was given"
        raise UserError(f"one of {', '.join(f'{name}=' for name in SOURCES)} says what to export, {state}")
    if (cfg.output is None) is (cfg.model is None):
        state = (
            f"output={cfg.output} goes with adapter= or checkpoint=" if cfg.model is not None else "output= is missing"
        )
        raise UserError(f"{state}: a model given as model= is completed where it lies, any other is written to output=")
    warnings.filterwarnings("ignore", message=".*is_activation_checkpointing.*")  # transformers 5 with torch 2.13
    if cfg.gguf is not None:
        check_gguf(cfg.gguf)
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    for line in {"adapter": _from_adapter, "checkpoint": _from_checkpoint, "model": _from_model}[given[0]](cfg):
        print(line, flush=True)


def _from_adapter(cfg: DictConfig) -> Iterator[str]:
    """``output`` becomes the model folder."""
    adapter, output = Path(cfg.adapter), Path(cfg.output)
    name = _base_of(cfg, adapter)
    base = local_folder(name, option="base")
    card = CardFacts(base=name if is_hub_id(name) else base.name, base_license=licence_of(base))
    report = merge_adapter(
        base=base,
        adapter=adapter,
        output=output,
        tokenizer=None if cfg.tokenizer is None else Path(cfg.tokenizer),
        dtype=cfg.dtype,
        max_shard_bytes=cfg.max_shard_bytes,
        overwrite=cfg.overwrite,
        decoding=_decoding(cfg),
        card=card,
    )
    yield from describe(report)
    if cfg.check:
        yield f"reloaded: {require_agreement(base=base, adapter=adapter, merged=output)}"
    yield from _complete(cfg, output, card)


def _from_checkpoint(cfg: DictConfig) -> Iterator[str]:
    """``output`` becomes what a training run leaves: ``model/``, and of an adapter ``adapter/``."""
    from chatmusician.export.checkpoints import open_checkpoint

    opened = open_checkpoint(Path(cfg.checkpoint))
    facts = ExportFacts.of_checkpoint(opened.facts)
    yield f"{cfg.checkpoint}: {len(opened.state)} trained tensors, of optimizer step {opened.step}"
    report = export_trained(
        state=opened.state,
        facts=facts,
        output=Path(cfg.output),
        base=cfg.base,
        tokenizer=None if cfg.tokenizer is None else Path(cfg.tokenizer),
        dtype=cfg.dtype,
        max_shard_bytes=cfg.max_shard_bytes,
        check=cfg.check,
        overwrite=cfg.overwrite,
    )
    if report.adapter is not None:
        yield f"{report.adapter}: the adapter, of base {report.base}"
    if report.merge is not None:
        yield from describe(report.merge)
    else:
        yield f"{report.model}: the model"
    if report.agreement is not None:
        yield f"reloaded: {report.agreement}"
    yield from _complete(cfg, report.model, facts.card_facts())


def _from_model(cfg: DictConfig) -> Iterator[str]:
    """A model folder gets what is asked for, and a new card where there is something to say about it."""
    folder = Path(cfg.model)
    check_model_folder(folder)
    if not any(cfg[option] is not None for option in ("gguf", "compose", "figures", "upload")):
        raise UserError(f"model={folder} is a model already: give gguf=, compose=, figures= or upload=")
    yield from _complete(cfg, folder, read_card(folder))


def _base_of(cfg: DictConfig, adapter: Path) -> str:
    """The base to merge into: as given, else as the adapter says.

    Raises:
        UserError: the adapter names none that is here, or was trained on another than the one given.
    """
    trained_on = open_adapter(adapter).base
    if cfg.base is None:
        if trained_on is None or not (is_hub_id(trained_on) or Path(trained_on).is_dir()):
            raise UserError(f"base= is missing: {adapter} was trained on {trained_on}, which is not here")
        return trained_on
    base = str(cfg.base)
    both_on_the_hub = is_hub_id(base) and trained_on is not None and is_hub_id(trained_on)
    if both_on_the_hub and base != trained_on and read_fingerprint(adapter) is None:
        raise UserError(f"base={base} is not the base that {adapter} was trained on: give base={trained_on}")
    return base


def _complete(cfg: DictConfig, folder: Path, card: CardFacts | None) -> Iterator[str]:
    """What is made of a model folder once it is there: a GGUF file, a picture, its card, a copy on the Hub."""
    if cfg.gguf is not None:
        yield from add_gguf(folder, kind=cfg.gguf)
    if cfg.compose is not None:
        from hydra.utils import instantiate

        from chatmusician.generation.picture import compose_picture

        problem = compose_picture(folder, prompt=str(cfg.compose), decoding=instantiate(cfg.generation))
        yield f"the card has no score: {problem}" if problem else f"{folder}: a score for the card"
    if card is None:
        yield f"{folder / CARD}: somebody else's card, left as it is"
    else:
        figures = {} if cfg.figures is None else _figures(Path(cfg.figures))
        yield f"{write_model_card(folder, replace(card, metrics={**card.metrics, **figures}))}: the card"
    if cfg.upload is not None:
        from chatmusician.export.upload import upload_folder

        yield from upload_folder(folder, str(cfg.upload), dry_run=cfg.dry_run, private=cfg.private)


def _figures(path: Path) -> dict[str, float]:
    """The figures in the metrics.json of an evaluation."""
    content = read_json(path)
    numbers = {name: float(value) for name, value in content.items() if isinstance(value, int | float)}
    figures = {name: value for name, value in numbers.items() if not name.endswith("_s")}  # seconds are the machine's
    if not figures:
        raise UserError(f"figures={path} holds no figures: give the metrics.json of an evaluation")
    return figures


def _decoding(cfg: DictConfig) -> dict[str, float]:
    from hydra.utils import instantiate

    settings: dict[str, float] = instantiate(cfg.generation).for_transformers()
    return settings


def describe(report: MergeReport) -> list[str]:
    """Lines that say what a merge did."""
    lines = [
        f"{report.output}: {report.tensors} tensors, {report.bytes / 1e9:.3f} GB {report.dtype}, {report.shards} files",
        f"merged: {report.low_rank} by W + s B A, {report.replaced} replaced (trained whole)",
    ]
    if report.untied:
        lines.append("embedding and output head are no longer tied: the adapter changed them differently")
    return lines
