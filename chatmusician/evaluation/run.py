"""The evaluate command after its configuration was accepted: evaluate a model, compare evaluations, or hear them."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from chatmusician.data.code_version import code_version, modules_of
from chatmusician.data.shards import write_bytes
from chatmusician.errors import UserError
from chatmusician.evaluation.comparison import difference_section, load_all
from chatmusician.evaluation.listening import ListeningTest, make_pairs, make_server
from chatmusician.evaluation.parts import Part, Subject
from chatmusician.evaluation.results import PartResult, load_part, save_part, save_results
from chatmusician.evaluation.sections import sections_of
from chatmusician.export.fingerprints import fingerprint
from chatmusician.export.folders import local_folder
from chatmusician.generation.loading import check_sources, load_generator, model_or_newest
from chatmusician.reporting.report import Section, report_files

log = logging.getLogger(__name__)

VOTES = "votes.jsonl"
MEASURING = ("chatmusician.evaluation", "chatmusician.generation", "chatmusician.music")
"""Packages whose code decides what is measured: a finished part of other code is done anew."""


def run(cfg: DictConfig) -> None:
    """Do what the configuration of the evaluate command says (see conf/evaluate.yaml)."""
    output = Path(HydraConfig.get().runtime.output_dir)
    if cfg.listen:
        listen(cfg, output)
    elif cfg.compare:
        compare(cfg, output)
    else:
        evaluate(cfg, output)


def evaluate(cfg: DictConfig, output: Path) -> dict[str, float]:
    """Run the parts that are not finished, and write results and report; the figures by name."""
    model = model_or_newest(cfg.model)
    check_sources(model=model, adapter=None, tokenizer=None)
    folder = local_folder(model, option="model")
    known = {"model": model, **asdict(fingerprint(folder))}
    parts: dict[str, Part] = {name: instantiate(node) for name, node in cfg.parts.items() if node is not None}
    if not parts:
        raise UserError("parts is empty: choose what to evaluate, such as evaluation=quick")
    known_by = {key: known[key] for key in ("tensors", "shapes", "content")}
    code = code_version(modules_of(*MEASURING))
    subject: Subject | None = None
    results: list[PartResult] = []
    for number, (name, part) in enumerate(parts.items(), start=1):
        settings = {"model": known_by, "code": code, **part.describe()}
        found = load_part(output, name, settings=settings)
        if found is None:
            log.info("[%d/%d] %s", number, len(parts), name)
            subject = subject or _load(cfg, model)
            started = time.perf_counter()
            result = part.run(subject, name=name)
            found = save_part(output, result, settings=settings, seconds=time.perf_counter() - started)
        else:
            log.info("[%d/%d] %s: done before", number, len(parts), name)
        results.append(found)
    figures = save_results(output, results, model=known)
    write_report(output, f"Evaluation of {model}", sections_of({model: {part.part: part for part in results}}))
    for name, value in figures.items():
        print(f"{name:44} {value}")
    print(f"report: {output / 'report.html'}")
    return figures


def compare(cfg: DictConfig, output: Path) -> None:
    """A report of several evaluations side by side."""
    evaluations = load_all([str(folder) for folder in cfg.compare], option="compare")
    sections = [difference_section(evaluations), *sections_of(evaluations)]
    write_report(output, f"Comparison of {', '.join(evaluations)}", sections)
    print((output / "report.md").read_text())
    print(f"report: {output / 'report.html'}")


def listen(cfg: DictConfig, output: Path) -> None:
    """Serve a blind listening test of two evaluations until Ctrl-C, then tell the result."""
    evaluations = load_all([str(folder) for folder in cfg.listen], option="listen")
    answers = {name: _tunes(name, parts) for name, parts in evaluations.items()}
    if len(answers) != 2:
        raise UserError(f"listen={list(cfg.listen)}: give two folders of evaluations")
    first, second = answers
    votes = Path(cfg.votes) if cfg.votes is not None else output / VOTES
    test = ListeningTest(pairs=make_pairs(answers, seed=cfg.seed), models=(first, second), votes=votes)
    with make_server(test, port=cfg.port) as server:
        print(
            f"listening test: http://127.0.0.1:{server.server_address[1]}  (votes: {votes}; Ctrl-C ends it)", flush=True
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    print(test.result())


def write_report(output: Path, title: str, sections: list[Section]) -> None:
    """Write report.md with its pictures, and report.html."""
    output.mkdir(parents=True, exist_ok=True)
    for name, content in report_files(title, sections).items():
        write_bytes(output / name, content)


def _tunes(name: str, parts: Mapping[str, PartResult]) -> list[Mapping[str, Any]]:
    if "tunes" not in parts:
        raise UserError(f"{name} has no part tunes: evaluate with it, such as evaluation=quick")
    return [record for record in parts["tunes"].records if "bars" in record]


def _load(cfg: DictConfig, model: str) -> Subject:
    generator = load_generator(
        model=model, backend="transformers", device=cfg.device, dtype=cfg.dtype, batch_size=cfg.batch_size
    )
    return Subject(generator=generator, model=model, batch_size=cfg.batch_size)
