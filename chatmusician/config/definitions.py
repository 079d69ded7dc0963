"""From a dotted name to its definition in a source file, without importing anything.

Re-exports, aliases and base classes are followed as far as source goes; of several definitions of a name (in the
branches of an ``if`` or ``try``) the first one that has source is taken. The arguments of Lightning's Trainer are read
in 0.03 s; importing it to ask takes 6.5 s (tests/config/test_signatures.py does both).

Names made by running code (an extension module, a module-level ``__getattr__``) end as `OPAQUE`: they may well exist,
nothing can be said about them.
"""

import ast
import builtins
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from chatmusician.config.modules import (
    Module,
    bindings,
    dotted,
    find_module,
    has_no_source,
    imported_module,
    module_exists,
    names_bound,
    read_module,
    statements,
)


@dataclass(frozen=True)
class ModuleName:
    """A name that stands for a module, as after ``import torch.nn as nn``."""

    name: str


@dataclass(frozen=True)
class Definition:
    """A class or a function in a source file."""

    module: Module
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def name(self) -> str:
        """Its name where it is defined, which may differ from the name asked for."""
        return self.node.name


class Opaque(Enum):
    """The type of `OPAQUE`."""

    OPAQUE = "opaque"


OPAQUE = Opaque.OPAQUE
"""Something that exists, or may exist, but has no source to read."""

Found = Definition | ModuleName | Opaque


def find_attributes(owner: Found, names: Sequence[str]) -> Found | None:
    """Follows ``owner.names[0].names[1]...``; None if there is no such attribute."""
    found: Found | None = owner
    for name in names:
        if isinstance(found, ModuleName):
            found = find_in_module(found.name, name)
        elif isinstance(found, Definition):
            found = find_in_class(found, name)
        if found is None or found is OPAQUE:
            break
    return found


def find_in_module(module_name: str, name: str) -> Found | None:
    """What ``name`` is in a module: its own definition, a re-export, or a submodule; None if it is nothing."""
    return _find_in_module(module_name, name, frozenset())


def find_in_class(owner: Definition, name: str) -> Found | None:
    """The method ``name`` of a class, inherited ones included; None if there is none."""
    for base in linearise(owner):
        if not isinstance(base, Definition):
            return OPAQUE
        method = _in_body(base, name)
        if method is not None:
            return method
    return None


def linearise(owner: Definition | Opaque) -> list[Definition | Opaque]:
    """The classes in which attributes are looked up, in order (C3); bases without source are `OPAQUE`."""
    if not isinstance(owner, Definition):
        return [owner]
    if not isinstance(owner.node, ast.ClassDef):
        return []
    bases = [base for expression in owner.node.bases for base in _base(owner, expression)]
    return [owner, *_merge([*map(linearise, bases), bases])]


def find_expression(module: Module, expression: ast.expr) -> Found | None:
    """What a name or a dotted name means in a module's global scope; None for anything else."""
    names = dotted(expression)
    if not names:
        return None
    first = find_in_module(module.name, names[0])
    if first is None and hasattr(builtins, names[0]):
        return OPAQUE
    return None if first is None else find_attributes(first, names[1:])


def public_names(owner: Found) -> list[str]:
    """The public names in a module (submodules included) or a class: what may be suggested in place of a wrong one."""
    names: set[str] = set()
    if isinstance(owner, ModuleName):
        module, spec = read_module(owner.name), find_module(owner.name)
        names |= {*(bindings(module) if module else ())}
        locations = spec.submodule_search_locations if spec else None
        names |= {submodule.name for submodule in pkgutil.iter_modules(locations or [])}
    elif isinstance(owner, Definition):
        bodies = [base.node.body for base in linearise(owner) if isinstance(base, Definition)]
        names |= {name for body in bodies for statement in statements(body) for name in names_bound(statement)}
    return sorted(name for name in names if not name.startswith("_") and name != "*")


def own_method(owner: Definition, name: str) -> Definition | None:
    """The method that the body of a class itself defines, or None."""
    found = _in_body(owner, name)
    return found if isinstance(found, Definition) else None


def _base(owner: Definition, expression: ast.expr) -> list[Definition | Opaque]:
    """A base class as it is written; ``object`` is none, ``Generic[T]`` is ``Generic``."""
    if isinstance(expression, ast.Subscript):
        expression = expression.value
    if dotted(expression) == ["object"]:
        return []
    found = find_expression(owner.module, expression)
    return [found] if isinstance(found, Definition) and found != owner else [OPAQUE]


def _merge(sequences: list[list[Definition | Opaque]]) -> Iterator[Definition | Opaque]:
    """The merge step of C3; `OPAQUE` bases count as different from one another, and a cycle ends the search."""
    while sequences := [sequence for sequence in sequences if sequence]:
        for sequence in sequences:
            head = sequence[0]
            if head is OPAQUE or not any(head in other[1:] for other in sequences):
                break
        else:
            return
        yield head
        for other in [sequence] if head is OPAQUE else sequences:
            if other and other[0] == head:
                other.pop(0)


def _find_in_module(module_name: str, name: str, visited: frozenset[tuple[str, str]]) -> Found | None:
    if (module_name, name) in visited:
        return None
    visited |= {(module_name, name)}
    module = read_module(module_name)
    if module is None:
        if module_exists(f"{module_name}.{name}"):
            return ModuleName(f"{module_name}.{name}")
        return OPAQUE if has_no_source(module_name) else None
    best: Found | None = None
    for statement in bindings(module).get(name, ()):
        found = _bound(module, statement, name, visited)
        if isinstance(found, Definition):
            return found
        best = best or found
    if best is None and module_exists(f"{module_name}.{name}"):
        return ModuleName(f"{module_name}.{name}")
    return best or _find_behind_star(module, name, visited)


def _find_behind_star(module: Module, name: str, visited: frozenset[tuple[str, str]]) -> Found | None:
    """What a star import, or a module-level ``__getattr__``, may bring."""
    for statement in bindings(module).get("*", ()):
        if isinstance(statement, ast.ImportFrom) and not name.startswith("_"):
            found = _find_in_module(imported_module(module, statement), name, visited)
            if found is not None:
                return found
    return OPAQUE if "__getattr__" in bindings(module) else None


def _bound(module: Module, statement: ast.stmt, name: str, visited: frozenset[tuple[str, str]]) -> Found | None:
    """What one statement binds ``name`` to."""
    match statement:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return Definition(module, statement)
        case ast.Import():
            alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name)
            return ModuleName(alias.name if alias.asname else name)
        case ast.ImportFrom():
            alias = next(a for a in statement.names if (a.asname or a.name) == name)
            return _find_in_module(imported_module(module, statement), alias.name, visited)
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            names = dotted(value)
            first = _find_in_module(module.name, names[0], visited) if names else None
            return (first and find_attributes(first, names[1:])) or OPAQUE
    return None


def _in_body(owner: Definition, name: str) -> Found | None:
    """The method, nested class or other attribute that a class body itself defines."""
    found: Found | None = None
    for statement in statements(owner.node.body):
        if name in names_bound(statement):
            is_definition = isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            found = Definition(owner.module, statement) if is_definition else OPAQUE  # type: ignore[arg-type]  # narrowed above
    return found
