"""Which version of the code wrote a text: a hash that changes with what the code does and not with how it is described.

Prepared data of a corpus that is made by rules of ours (laid out, transposed, labelled) are out of date once a rule
changes. The manifest therefore keeps this hash beside that of the files.
"""

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def code_version(modules: Sequence[str]) -> str:
    """A hash of the named modules' code, without comments, docstrings and layout.

    Raises:
        ValueError: there is no such module, or it has no source file.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"{name} is no module with a source file")
        digest.update(ast.dump(_without_docstrings(ast.parse(Path(spec.origin).read_bytes()))).encode())
    return digest.hexdigest()[:16]


def modules_of(*packages: str) -> tuple[str, ...]:
    """The names of all modules in some packages, those in packages inside them included, in order."""
    found = []
    for package in packages:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise ValueError(f"{package} is no package with source files")
        folder = Path(spec.origin).parent
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return tuple(sorted(found))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined] # it has a body
    return tree


def _is_text(node: ast.AST) -> bool:
    """A string that stands alone: a docstring, or the one under a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
