"""Holds a composed config against what it configures, before anything heavy is imported or run.

The rules, for the whole tree below the root (the node ``hydra`` is Hydra's own):

* A mapping with ``_target_`` is a call: its keys are the target's arguments. Unknown ones are refused, required ones
  must be there unless the node is ``_partial_: true`` (the code gives the rest).
* Any other mapping takes the keys that the primary config and the chosen group options declare for it. A recipe or an
  override changes their values and adds none, with two exceptions: a mapping all of whose declared values are nodes
  with ``_target_`` (callbacks, loggers) takes more such nodes, and a mapping declared empty (``{}``) takes anything.
* Inside a call, an argument annotated as ``dict``, ``Mapping``, ``Any`` or ``object``, or not annotated, is free-form:
  a mapping given to it (a DeepSpeed config, overrides of a model's config) may have any keys. So may what goes to
  ``**kwargs``.
* Where a mapping is declared outside a call, a mapping or null must stand.
* ``???`` must have been set, and interpolations must resolve.

Nodes with ``_target_`` are held to the first rule wherever they are, in lists and free-form mappings too. The types of
values are left to the targets.
"""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, Node
from omegaconf.errors import OmegaConfBaseException

from chatmusician.config.problems import ConfigError, Problem, suggestion
from chatmusician.config.signatures import Signature, UnknownTargetError, read_signature

_RESERVED = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
_HYDRA = ((), "hydra")
"""The path and key of the node that is Hydra's own."""


def validate(cfg: DictConfig, *, schema: DictConfig | None = None, allow_missing: bool = False) -> None:
    """Raises ConfigError, with every problem, unless the config is sound. See `find_problems` for the arguments."""
    problems = find_problems(cfg, schema=schema, allow_missing=allow_missing)
    if problems:
        raise ConfigError(problems)


def find_problems(cfg: DictConfig, *, schema: DictConfig | None = None, allow_missing: bool = False) -> list[Problem]:
    """Everything that is wrong with a composed config, in the order of its keys.

    Args:
        cfg: the composed config; a top-level key ``hydra`` is passed over.
        schema: the same config as the primary config and the chosen group options alone declare it; without it only
            nodes with ``_target_``, missing values and interpolations are looked at.
        allow_missing: let ``???`` stand, for a config that is shown and not run.
    """
    return list(_mapping_problems(cfg, schema, (), allow_missing))


def _mapping_problems(
    node: DictConfig, schema: Node | None, path: tuple[str, ...], allow_missing: bool
) -> Iterator[Problem]:
    """A mapping at ``path`` (keys from the root); ``schema`` is None where any key may stand."""
    signature = None
    if "_target_" in node:
        signature, problems = _call_problems(node, path)
        yield from problems
        if not _same_target(node, schema):
            schema = None
    else:
        yield from _undeclared(node, schema, path)
    for key in node:
        if (path, key) == _HYDRA:
            continue
        free = signature is not None and _is_free_form(signature, str(key))
        declared = None if free else _child(schema, str(key))
        value = _child(node, key)
        if signature is None and _replaces_node(value, declared):
            message = "a mapping is declared here: give a mapping, a node with _target_, or null"
            yield Problem(path=dotted_path((*path, str(key))), message=message)
        yield from _value_problems(value, declared, (*path, str(key)), allow_missing)


def _replaces_node(value: Node | None, schema: Node | None) -> bool:
    """Whether a number, a text or a list stands where keys are declared; null is the way to leave a node out."""
    if value is None or isinstance(value, DictConfig) or value._is_none() or value._is_interpolation():
        return False
    return isinstance(schema, DictConfig) and not schema._is_none() and not value._is_missing()


def _value_problems(
    value: Node | None, schema: Node | None, path: tuple[str, ...], allow_missing: bool
) -> Iterator[Problem]:
    """Whatever stands behind a key: a mapping, a list, or a single value."""
    if value is None:
        return
    if value._is_interpolation():
        yield from _interpolation_problems(value, path)
    elif value._is_missing():
        if not allow_missing:
            key = dotted_path(path)
            yield Problem(path=key, message=f"a value is required: set it with {key}=...")
    elif isinstance(value, DictConfig) and not value._is_none():
        yield from _mapping_problems(value, schema, path, allow_missing)
    elif isinstance(value, ListConfig) and not value._is_none():
        for index in range(len(value)):
            yield from _value_problems(value._get_node(index), None, (*path, str(index)), allow_missing)  # type: ignore[arg-type]  # an index gives one node


def _interpolation_problems(value: Node, path: tuple[str, ...]) -> Iterator[Problem]:
    try:
        value._dereference_node()
    except OmegaConfBaseException as error:
        text = str(error).splitlines()[0]
        yield Problem(path=dotted_path(path), message=f"{value._value()} cannot be resolved: {text}")


def _call_problems(node: DictConfig, path: tuple[str, ...]) -> tuple[Signature | None, list[Problem]]:
    """Holds one node against the signature of its target, which is None if there is no such target."""
    try:
        target = node["_target_"]
        signature = read_signature(str(target))
    except (UnknownTargetError, OmegaConfBaseException) as error:
        return None, [Problem(path=dotted_path((*path, "_target_")), message=str(error).splitlines()[0])]
    problems = [
        Problem(path=dotted_path((*path, key)), message=_unknown_argument(signature, key, path))
        for key in map(str, node)
        if not _is_accepted(signature, key)
    ]
    if not node.get("_partial_"):
        problems += [
            Problem(
                path=dotted_path((*path, name)),
                message=f"{signature.short_name} requires it: set it with +{dotted_path((*path, name))}=...",
            )
            for name in _not_given(signature, node)
        ]
    return signature, problems


def _is_accepted(signature: Signature, key: str) -> bool:
    """Whether a call takes the key; one like ``_partail_`` is meant for Hydra, ``**kwargs`` or not."""
    if key in _RESERVED or key in signature.names:
        return True
    return signature.takes_any_keyword and not (key.startswith("_") and key.endswith("_"))


def _unknown_argument(signature: Signature, key: str, path: tuple[str, ...]) -> str:
    prefix = f"{dotted_path(path)}." if path else ""
    reserved = _RESERVED if key.startswith("_") else ()
    return f"{signature.target} takes no such argument; {suggestion(key, [*signature.names, *reserved], prefix=prefix)}"


def _not_given(signature: Signature, node: DictConfig) -> list[str]:
    """The required arguments that neither a key nor the list ``_args_`` gives."""
    positional = node.get("_args_")
    given = len(positional) if positional is not None else 0
    in_order = [*signature.positional_only, *(parameter.name for parameter in signature.parameters)]
    required = {*signature.positional_only, *(p.name for p in signature.parameters if p.required)}
    keys = {str(key) for key in node}  # ``name in node`` is false for a value that is ???
    return [name for name in in_order[given:] if name in required and name not in keys]


def _undeclared(node: DictConfig, schema: Node | None, path: tuple[str, ...]) -> Iterator[Problem]:
    """Keys that a mapping outside calls has and its declaration lacks."""
    if schema is None:
        return
    key = dotted_path(path)
    if not isinstance(schema, DictConfig) or schema._is_none() or schema._is_missing():
        yield Problem(path=key, message="takes a single value or a node with _target_, not a mapping")
        return
    declared = [str(name) for name in schema if (path, name) != _HYDRA]
    if not declared and path:
        return
    takes_nodes = path != () and all(_is_call(_child(schema, name)) for name in declared)
    prefix = f"{key}." if key else ""
    for name in map(str, node):
        if (path, name) == _HYDRA:
            continue
        if name not in declared and not (takes_nodes and _is_call(_child(node, name))):
            yield Problem(path=f"{prefix}{name}", message=f"no such key; {suggestion(name, declared, prefix=prefix)}")


def dotted_path(path: tuple[str, ...]) -> str:
    """The path as it is written in an override."""
    return ".".join(path)


def _child(node: Node | None, key: Any) -> Node | None:
    """The node behind a key, unresolved; None where there is none."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
        return None
    child = node._get_node(key, validate_access=False)
    return child if isinstance(child, Node) else None


def _is_call(node: Node | None) -> bool:
    return _child(node, "_target_") is not None


def _same_target(node: DictConfig, schema: Node | None) -> bool:
    declared = _child(schema, "_target_")
    target = _child(node, "_target_")
    return declared is not None and target is not None and declared._value() == target._value()


def _is_free_form(signature: Signature, key: str) -> bool:
    parameter = signature.parameter(key)
    return parameter is None or parameter.free_form
