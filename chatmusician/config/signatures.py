"""The arguments that a ``_target_`` takes, read from its source without importing it.

Between composing and running: `chatmusician.config.validation` holds every node of a config against what is read here.
It agrees with ``inspect.signature`` on what the configs name (a test compares them); what cannot be read from source
(an extension type, a function made at run time) is reported as taking anything rather than guessed at.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from chatmusician.config.definitions import (
    Definition,
    Found,
    ModuleName,
    Opaque,
    find_attributes,
    linearise,
    own_method,
    public_names,
)
from chatmusician.config.modules import dotted, module_exists
from chatmusician.config.problems import suggestion

_FREE_FORM = re.compile(r"\b(dict|Dict|Mapping|MutableMapping|Any|object)\b")


class UnknownTargetError(Exception):
    """A ``_target_`` that names no class or function; the message says which part is wrong."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One argument that can be given by keyword."""

    name: str
    required: bool
    annotation: str | None
    """As written in the source; None if there is none."""

    @property
    def free_form(self) -> bool:
        """Whether it may hold a mapping with any keys: annotated as dict, Mapping, Any or object, or not at all."""
        return self.annotation is None or _FREE_FORM.search(self.annotation) is not None


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The arguments of a target, in order."""

    target: str
    parameters: tuple[Parameter, ...]
    takes_any_keyword: bool
    """It has ``**kwargs``, or its source cannot be read."""
    positional_only: tuple[str, ...] = ()
    """Required arguments that only ``_args_`` can give."""

    @property
    def short_name(self) -> str:
        """The last part of the target, for messages."""
        return self.target.rpartition(".")[2]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that can be given by keyword."""
        return tuple(parameter.name for parameter in self.parameters)

    def parameter(self, name: str) -> Parameter | None:
        """The argument of that name, or None."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


@cache
def read_signature(target: str) -> Signature:
    """The signature of the class, function or method that ``target`` names, as an importable dotted path.

    Raises UnknownTargetError if there is no such module or attribute, with the closest name that exists.
    """
    try:
        found = _locate(target)
    except SyntaxError as error:
        raise UnknownTargetError(f"{target} is in {error.filename}:{error.lineno}, which has {error.msg}") from error
    if not isinstance(found, Definition):
        return Signature(target=target, parameters=(), takes_any_keyword=True)
    if isinstance(found.node, ast.ClassDef):
        return _class_signature(target, found)
    return _function_signature(target, found, drops_first=_is_bound(found))


def _locate(target: str) -> Definition | Opaque:
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UnknownTargetError(f"'{target}' is not a dotted path to a class or function, such as package.module.Name")
    if not module_exists(parts[0]):
        raise UnknownTargetError(f"there is no package '{parts[0]}' (of '{target}'): install it or correct the name")
    depth = 1
    while depth < len(parts) - 1 and module_exists(".".join(parts[: depth + 1])):
        depth += 1
    found: Found = ModuleName(".".join(parts[:depth]))
    for position, name in enumerate(parts[depth:], start=depth):
        attribute = find_attributes(found, [name])
        if attribute is None:
            owner, hint = ".".join(parts[:position]), suggestion(name, public_names(found))
            raise UnknownTargetError(f"'{owner}' has no '{name}' (of '{target}'); {hint}")
        found = attribute
    if isinstance(found, ModuleName):
        raise UnknownTargetError(
            f"'{target}' is a module, not a class or function; {suggestion('', public_names(found))}"
        )
    return found


def _is_bound(function: Definition) -> bool:
    """Whether the function's first argument is filled in: a classmethod reached through its class."""
    return any(_decorator_name(decorator) == "classmethod" for decorator in function.node.decorator_list)


def _function_signature(target: str, function: Definition, *, drops_first: bool) -> Signature:
    assert isinstance(function.node, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = function.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    needs = [(argument, index < required) for index, argument in enumerate(positional)]
    only = needs[int(drops_first) : len(arguments.posonlyargs)]
    by_keyword = needs[max(int(drops_first), len(arguments.posonlyargs)) :]
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    by_keyword += [(argument, default is None) for argument, default in keyword_only]
    return Signature(
        target=target,
        parameters=tuple(_parameter(argument, required=needed) for argument, needed in by_keyword),
        takes_any_keyword=arguments.kwarg is not None,
        positional_only=tuple(argument.arg for argument, needed in only if needed),
    )


def _parameter(argument: ast.arg, *, required: bool) -> Parameter:
    annotation = None if argument.annotation is None else ast.unparse(argument.annotation)
    return Parameter(name=argument.arg, required=required, annotation=annotation)


def _class_signature(target: str, owner: Definition) -> Signature:
    """From the first class in lookup order that writes ``__init__`` or has it written by ``dataclass``."""
    order = linearise(owner)
    for position, base in enumerate(order):
        if not isinstance(base, Definition):
            return Signature(target=target, parameters=(), takes_any_keyword=True)
        for name in ("__init__", "__new__"):
            method = own_method(base, name)
            if method is not None:
                return _function_signature(target, method, drops_first=True)
        if _writes_init(base):
            made_at_run_time = any(_rewrites_classes(other) for other in order)
            fields = {} if made_at_run_time else {field.name: field for field in _inherited_fields(order[position:])}
            return Signature(target=target, parameters=tuple(fields.values()), takes_any_keyword=made_at_run_time)
    return Signature(target=target, parameters=(), takes_any_keyword=False)


def _rewrites_classes(owner: Definition | Opaque) -> bool:
    """Whether a class without an ``__init__`` of its own may get one that the source does not show.

    So it is with ``__init_subclass__`` and with decorators other than ``dataclass``: configs of transformers, for one.
    """
    if not isinstance(owner, Definition):
        return False
    known = ("dataclass", "dataclass_transform", "final", "runtime_checkable", "total_ordering")
    unknown = any(_decorator_name(decorator) not in known for decorator in owner.node.decorator_list)
    return unknown or own_method(owner, "__init_subclass__") is not None


def _decorator_name(decorator: ast.expr) -> str:
    """``dataclass`` for each of ``@dataclass``, ``@dataclass(...)`` and ``@dataclasses.dataclass(...)``."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (dotted(called) or [""])[-1]


def _dataclass_decorator(owner: Definition) -> ast.expr | None:
    return next((d for d in owner.node.decorator_list if _decorator_name(d) == "dataclass"), None)


def _writes_init(owner: Definition) -> bool:
    decorator = _dataclass_decorator(owner)
    return decorator is not None and not (isinstance(decorator, ast.Call) and _is_false(decorator, "init"))


def _inherited_fields(order: list[Definition | Opaque]) -> Iterator[Parameter]:
    """The fields of a dataclass and of its dataclass bases, bases first, as ``dataclasses`` collects them."""
    for base in reversed(order):
        if isinstance(base, Definition) and _dataclass_decorator(base) is not None:
            yield from _own_fields(base)


def _own_fields(owner: Definition) -> Iterator[Parameter]:
    for statement in owner.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation, has_default = ast.unparse(statement.annotation), statement.value is not None
        if re.search(r"\b(ClassVar|KW_ONLY)\b", annotation):
            continue
        if isinstance(statement.value, ast.Call) and dotted(statement.value.func)[-1:] == ["field"]:
            if _is_false(statement.value, "init"):
                continue
            has_default = any(given.arg in ("default", "default_factory") for given in statement.value.keywords)
        yield Parameter(name=statement.target.id, required=not has_default, annotation=annotation)


def _is_false(call: ast.Call, keyword: str) -> bool:
    return any(
        given.arg == keyword and isinstance(given.value, ast.Constant) and given.value.value is False
        for given in call.keywords
    )
