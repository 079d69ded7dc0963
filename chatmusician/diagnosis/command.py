"""The checks in their order, and how they end: nothing raised where the basics work, else one line of what does not.

Products are timed first, while nothing else computes; the other checks then run beside the rest of the child's. On
two cores all of it takes 8 s, with a recipe 15 s.
"""

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.data.shards import write_json
from chatmusician.diagnosis.building import compilers, deepspeed_operations
from chatmusician.diagnosis.computing import TorchChild, communication, gpus, graphics, peaks, processor
from chatmusician.diagnosis.findings import Finding, Section, State
from chatmusician.diagnosis.music_tools import music_tools
from chatmusician.diagnosis.packages import optional_packages, python_and_packages
from chatmusician.diagnosis.printing import as_json, print_section
from chatmusician.diagnosis.recipe.command import Recipe, is_asked
from chatmusician.diagnosis.resources import look_around
from chatmusician.diagnosis.surroundings import disk_and_limits, services
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(cfg: "DictConfig", *, asked: Sequence[str], output: str | None, as_text: bool) -> None:
    """Look at the machine, and at the recipe if one is asked for.

    Args:
        cfg: the configuration of the training run.
        asked: the overrides of the command line.
        output: a file for the report as JSON.
        as_text: print tables; otherwise JSON.

    Raises:
        UserError: something that is needed is missing or broken, or the recipe does not fit here.
    """
    sections: list[Section] = []
    report: dict[str, Any] = {}

    def add(title: str, findings: Iterable[Finding]) -> None:
        sections.append(Section(title=title, findings=tuple(findings)))
        if as_text:
            print_section(sections[-1])

    child = TorchChild()
    recipe = Recipe(cfg, asked) if is_asked(asked) else None
    add("Python and packages", python_and_packages())
    with ThreadPoolExecutor(max_workers=3) as pool:
        child.products()
        music = pool.submit(lambda: list(music_tools()))
        hub = pool.submit(lambda: list(services(os.environ)))
        if recipe is not None:
            recipe.begin(pool)
        probes = child.all()
        machine = look_around(gpus=gpus(probes))
        add("Processor and memory", processor(machine, probes))
        add("GPUs", graphics(probes))
        add("Several processes", (*communication(probes), *deepspeed_operations()))
        add("Compilers", compilers(with_gpu=bool(machine.gpus)))
        add("Music tools", music.result())
        add("Optional packages", optional_packages())
        add("Disk and limits", disk_and_limits(machine))
        add("Services", hub.result())
        broken = [finding.name for section in sections for finding in section.findings if _is_needed(finding)]
        if recipe is not None:
            add(recipe.title, recipe.findings(machine, peaks(probes)))
            report["recipe"] = recipe.report()
    report |= {"machine": asdict(machine), "sections": as_json(sections)}
    if output is not None:
        write_json(Path(output), report)
    if not as_text:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    if broken:
        raise UserError(f"needed and missing or broken: {', '.join(broken)}; the remedies stand above")
    if recipe is not None and recipe.lacking:
        raise UserError(f"the run does not fit on this machine: {'; '.join(recipe.lacking)}")


def _is_needed(finding: Finding) -> bool:
    return finding.state in (State.MISSING, State.BROKEN)
