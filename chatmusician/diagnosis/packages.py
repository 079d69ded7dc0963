"""Python and packages: those that are required, held against the bounds of pyproject.toml, and the optional ones.

In a checkout the bounds are those of its pyproject.toml, which may be newer than what pip was told when it was
installed; elsewhere those of the installed package.
"""

import platform
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from chatmusician.diagnosis.findings import Finding, State

CHECKOUT = Path(__file__).resolve().parents[2]
EXTRAS = {
    "demo": "the page in the browser",
    "eval": "MMLU (evaluation=paper)",
    "sweeps": "sweeps on several processes and clusters, and Optuna's search",
    "dashboards": "TensorBoard, and building the W&B dashboard",
    "quantised": "bases in 8 and 4 bits (QLoRA)",
    "liger": "faster kernels on GPUs",
    "gguf": "GGUF files for llama.cpp",
    "llama-cpp": "answers from GGUF files",
    "ray": "preparing data on a cluster",
}
"""What each extra of pyproject.toml is for; those of developers are left out."""
BY_HAND = {
    "flash-attn": ("attention=flash_attention_2", "pip install flash-attn --no-build-isolation"),
    "vllm": ("backend=vllm", "pip install vllm, in an environment of its own"),
}
"""Packages that no extra names, since they are built for one GPU, or bring a torch of their own."""


def python_and_packages(checkout: Path = CHECKOUT) -> Iterator[Finding]:
    """Python, then each required package that is not in order, or one finding for all where all are."""
    python, requirements, _ = _declared(checkout)
    here = platform.python_version()
    if python.contains(here):
        yield Finding(name="Python", state=State.OK, found=here)
    else:
        yield Finding(name="Python", state=State.BROKEN, found=here, remedy=f"use Python {python}")
    wrong = [finding for requirement in requirements if (finding := _not_in_order(requirement)) is not None]
    yield from wrong
    if not wrong:
        main = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "transformers", "peft"))
        yield Finding(name="packages", state=State.OK, found=f"all {len(requirements)} in their bounds: {main}")


def optional_packages(checkout: Path = CHECKOUT) -> Iterator[Finding]:
    """What each extra is for, and the line that installs it."""
    _, _, extras = _declared(checkout)
    for extra, purpose in EXTRAS.items():
        lacking = [needed.name for needed in extras.get(extra, ()) if _not_in_order(needed) is not None]
        if extra not in extras:
            continue
        if lacking:
            found = f"{', '.join(lacking)} not installed: for {purpose}"
            remedy = f"pip install 'chatmusician[{extra}]'"
            yield Finding(name=extra, state=State.OPTIONAL, found=found, remedy=remedy)
        else:
            yield Finding(name=extra, state=State.OK, found=purpose)
    for package, (purpose, remedy) in BY_HAND.items():
        if (there := _version(package)) is not None:
            yield Finding(name=package, state=State.OK, found=f"{there}, for {purpose}")
        else:
            yield Finding(
                name=package, state=State.OPTIONAL, found=f"not installed: for {purpose} on GPUs", remedy=remedy
            )


def _not_in_order(requirement: Requirement) -> Finding | None:
    found = _version(requirement.name)
    line = f"pip install '{requirement.name}{requirement.specifier}'"
    if found is None:
        return Finding(name=requirement.name, state=State.MISSING, found="not installed", remedy=line)
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(
            name=requirement.name,
            state=State.BROKEN,
            found=f"{found}, and {requirement.specifier} is needed",
            remedy=line,
        )
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _declared(checkout: Path) -> tuple[SpecifierSet, list[Requirement], dict[str, list[Requirement]]]:
    """Versions of Python, required packages, and the packages of each extra."""
    file = checkout / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text())["project"]
        extras = {name: _parsed(lines) for name, lines in project["optional-dependencies"].items()}
        return SpecifierSet(project["requires-python"]), _parsed(project["dependencies"]), extras
    declared = metadata("chatmusician")
    lines = declared.get_all("Requires-Dist") or []
    required = [requirement for requirement in _parsed(lines) if requirement.marker is None]
    extras = {
        extra: [
            needed
            for needed in _parsed(lines)
            if needed.marker is not None
            and needed.marker.evaluate({"extra": extra})
            and not needed.marker.evaluate({"extra": ""})
        ]
        for extra in declared.get_all("Provides-Extra") or []
    }
    return SpecifierSet(declared["Requires-Python"]), required, extras


def _parsed(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]
