"""Data flow one way: a package imports only from packages to its left."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "chatmusician"

ALLOWED = {
    "errors": set(),
    "half_precision": {"errors"},
    "reporting": {"errors"},
    "music": {"errors"},
    "config": {"errors", "reporting"},
    "data": {"errors", "reporting", "music"},
    "modeling": {"errors", "data"},
    "checkpoint_files": {"errors"},
    "strategies": {"errors", "checkpoint_files"},
    "export": {"errors", "checkpoint_files", "data"},
    "generation": {"errors", "half_precision", "music", "data", "modeling", "export"},
    "dashboards": {"errors", "export"},
    "callbacks": {"errors", "music", "data", "modeling", "strategies", "export", "generation", "dashboards"},
    "evaluation": {"errors", "reporting", "music", "data", "modeling", "export", "generation"},
    "diagnosis": {
        *{"errors", "half_precision", "config", "music", "data", "modeling"},
        *{"machine", "requirements", "training_plan"},  # of the entry point `train`
    },
    "webapp": {"errors", "music", "data", "export", "generation"},
}
"""What each package may import, besides itself. Entry points and what they run may import everything."""


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield f"{node.module}"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_one_way(package: str) -> None:
    folder = PACKAGE / package
    files = [folder.with_suffix(".py")] if folder.with_suffix(".py").exists() else sorted(folder.rglob("*.py"))
    assert files
    for file in files:
        for name in imports_of(file):
            parts = name.split(".")
            if parts[0] == "chatmusician" and len(parts) > 1 and parts[1] != package:
                assert parts[1] in ALLOWED[package], f"{file.relative_to(ROOT)} imports {name}"


def test_every_package_has_its_place() -> None:
    packages = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert packages <= ALLOWED.keys()
