"""Module files and the names that they bind, without importing anything.

``importlib.machinery.PathFinder`` finds the file of a module: it imports nothing, unlike ``importlib.util.find_spec``,
which imports the parents of a dotted name.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Module:
    """A parsed source file."""

    name: str
    path: Path
    tree: ast.Module
    is_package: bool


@cache
def find_module(name: str) -> ModuleSpec | None:
    """Where a module lies, or None. Imports neither it nor its parents."""
    parent, _, _ = name.rpartition(".")
    if not parent:
        return PathFinder.find_spec(name)
    package = find_module(parent)
    if package is None or package.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(package.submodule_search_locations))


def module_exists(name: str) -> bool:
    """Whether a module could be imported under this name."""
    return name in sys.builtin_module_names or find_module(name) is not None


@cache
def read_module(name: str) -> Module | None:
    """The parsed source of a module, or None if it has none (an extension, a namespace, a builtin).

    Raises SyntaxError for a source that Python could not import either.
    """
    spec = find_module(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    tree = ast.parse(path.read_bytes(), str(path))
    return Module(name, path, tree, is_package=spec.submodule_search_locations is not None)


def has_no_source(name: str) -> bool:
    """Whether a module is compiled: what it binds cannot be read, and importing it to look may be slow."""
    spec = find_module(name)
    compiled = spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
    return compiled or name in sys.builtin_module_names


@cache
def bindings(module: Module) -> dict[str, list[ast.stmt]]:
    """Which top-level statements, also inside ``if``, ``try`` and ``with``, bind each name."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in statements(module.tree.body):
        for name in names_bound(statement):
            found.setdefault(name, []).append(statement)
    return found


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, with those inside ``if``, ``try`` and ``with`` in place of the block."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, field, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from statements(handler.body)
        else:
            yield statement


def names_bound(statement: ast.stmt) -> list[str]:
    """The names that one statement binds; ``*`` for a star import."""
    match statement:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [] if _is_overload(statement) else [statement.name]
        case ast.Import():
            return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
        case ast.ImportFrom():
            return [alias.asname or alias.name for alias in statement.names]
        case ast.Assign():
            return [target.id for target in statement.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            return [name]
    return []


def _is_overload(node: ast.stmt) -> bool:
    """Whether a function is only a ``typing.overload`` of one that follows."""
    return any(dotted(decorator)[-1:] == ["overload"] for decorator in getattr(node, "decorator_list", ()))


def imported_module(module: Module, statement: ast.ImportFrom) -> str:
    """The absolute name behind ``from .a import b``."""
    if not statement.level:
        return statement.module or ""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    kept = package[: len(package) - statement.level + 1]
    return ".".join([*kept, *([statement.module] if statement.module else [])])


def dotted(expression: ast.expr) -> list[str]:
    """``['a', 'b']`` for the expression ``a.b``, an empty list for one that is not a dotted name."""
    names: list[str] = []
    while isinstance(expression, ast.Attribute):
        names.insert(0, expression.attr)
        expression = expression.value
    return [expression.id, *names] if isinstance(expression, ast.Name) else []
