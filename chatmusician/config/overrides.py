"""Checks the overrides of a command line one by one, so that all the wrong ones are reported together.

Hydra stops at the first override it cannot apply; here each is held against the groups and against the config as it
is without overrides, and `Checked.sound` keeps those that can be applied.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, ListConfig, Node

from chatmusician.config.paths import experiments_dir
from chatmusician.config.problems import Problem, suggestion
from chatmusician.config.recipes import GROUP, read_header
from chatmusician.config.signatures import UnknownTargetError, read_signature

ORIGIN = "command line"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Overrides that can be applied, and what is wrong with the others."""

    sound: tuple[Override, ...]
    problems: tuple[Problem, ...]

    @property
    def texts(self) -> list[str]:
        """The sound ones as they were written."""
        return [_text(override) for override in self.sound]


def parse(loader: ConfigLoaderImpl, overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Reads each override; those that break Hydra's grammar become problems."""
    parser = OverridesParser.create(config_loader=loader)
    parsed, problems = [], []
    for text in overrides:
        try:
            parsed.extend(parser.parse_overrides([text]))
        except OverrideParseException as error:
            reason = str(error.message).splitlines()[0]
            message = f"not an override of the form key=value: {reason}"
            problems.append(Problem(path=text, origin=ORIGIN, message=message))
    return parsed, problems


def is_group_choice(loader: ConfigLoaderImpl, override: Override) -> bool:
    """Whether an override chooses an option of a group (``model=nano``) and does not set a value."""
    return loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)


def check_choices(loader: ConfigLoaderImpl, choices: Sequence[Override], command: str) -> Checked:
    """Holds ``group=option`` against the options that exist."""
    return _check(choices, _text, lambda choice: _choice_mistake(loader, choice, command))


def check_placement(choices: Sequence[Override], *, own: Collection[str], known: Collection[str]) -> Checked:
    """Holds ``group=option`` and ``+group=option`` against the groups that are chosen from.

    ``own`` are those of the primary config, ``known`` also those that recipes and other additions bring.
    """
    return _check(choices, _text, lambda choice: _placement_mistake(choice, own, known))


def check_values(values: Sequence[Override], base: DictConfig) -> Checked:
    """Holds ``key=value``, ``+key=value`` and ``~key`` against the config without them."""
    return _check(values, lambda value: value.key_or_group, lambda value: _value_mistake(value, base))


def _check(
    overrides: Sequence[Override], path: Callable[[Override], str], mistake: Callable[[Override], str | None]
) -> Checked:
    found = [(override, mistake(override)) for override in overrides]
    return Checked(
        sound=tuple(override for override, message in found if message is None),
        problems=tuple(
            Problem(path=path(override), origin=ORIGIN, message=message)
            for override, message in found
            if message is not None
        ),
    )


def _text(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _placement_mistake(choice: Override, own: Collection[str], known: Collection[str]) -> str | None:
    group = choice.get_key_element().lstrip("+~")
    if choice.is_force_add():
        return f"a group takes one +: write +{group}={choice.value()}"
    if choice.is_add():
        return f"the group has an option already: write {group}={choice.value()}" if group in own else None
    if group in known:
        return None
    if choice.is_delete():
        ours = [name for name in known if not name.startswith("hydra/")]
        return f"nothing to remove; {suggestion(group, ours)}"
    return f"the group is not in use by itself: write +{group}={choice.value()}"


def _choice_mistake(loader: ConfigLoaderImpl, override: Override, command: str) -> str | None:
    group, value = override.key_or_group, override.value()
    if override.is_delete():
        return None
    if value is None:
        return f"a group cannot be null: remove it with ~{group}"
    options = loader.get_group_options(group)
    for option in value if isinstance(value, list) else [value]:
        if loader.repository.config_exists(f"{group}/{option}"):
            continue
        if group == GROUP:
            return _no_recipe(str(option), options, command)
        remedy = suggestion(str(option), options, prefix=f"{group}=") + plugin_hint(group)
        return f"the group has no option '{option}'; {remedy}"
    return None


def plugin_hint(group: str) -> str:
    """What to install for more launchers and sweepers than Hydra's own."""
    return "; pip install 'chatmusician[sweeps]' brings more" if group in ("hydra/launcher", "hydra/sweeper") else ""


def _no_recipe(name: str, options: Sequence[str], command: str) -> str:
    path = experiments_dir() / f"{name}.yaml"
    if path.is_file():
        return f"this recipe is for python -m chatmusician.{read_header(path).command}"
    listing = f"list the recipes with python -m chatmusician.{command} --help"
    return f"there is no recipe '{name}'; {suggestion(name, options)} {listing}"


def _value_mistake(override: Override, base: DictConfig) -> str | None:
    keys = [key for key in re.split(r"[.\[\]]", override.key_or_group) if key]
    node: Node = base
    for depth, key in enumerate(keys):
        child = _get(node, key)
        if child is None:
            adds = override.is_add() or override.is_force_add()
            return None if adds else _missing_key(override, node, keys, depth)
        node = child
    if override.is_add() and not isinstance(override.value(), dict | list):
        return f"is set already: write {_text(override).removeprefix('+')}"
    return None


def _get(node: Node, key: str) -> Node | None:
    """The unresolved node behind a key of a mapping or an index of a list, or None."""
    if not isinstance(node, DictConfig | ListConfig) or _is_empty(node):
        return None
    child: object = None
    if isinstance(node, DictConfig):
        child = node._get_node(key, validate_access=False)
    elif key.isdigit() and int(key) < len(node):
        child = node._get_node(int(key))
    return child if isinstance(child, Node) else None


def _missing_key(override: Override, parent: Node, keys: list[str], depth: int) -> str:
    """Says what to write instead of ``keys[depth]``, which ``parent`` lacks."""
    where, key = ".".join(keys[:depth]), keys[depth]
    if not isinstance(parent, DictConfig) or _is_empty(parent):
        return f"{where} holds a single value, it has no key '{key}'"
    arguments = _arguments(parent)
    if key in arguments and depth == len(keys) - 1 and not override.is_delete():
        return f"an argument that the config does not set: write +{_text(override)}"
    valid = {*arguments, *(str(name) for name in parent)} - {"_target_", "hydra"}
    missing = "no such key" if depth == len(keys) - 1 else f"there is no key '{'.'.join(keys[: depth + 1])}'"
    return f"{missing}; {suggestion(key, valid, prefix=f'{where}.' if where else '')}"


def _arguments(node: DictConfig) -> tuple[str, ...]:
    """The arguments of the node's target, if it has one that can be read."""
    target = _get(node, "_target_")
    if target is None:
        return ()
    try:
        return read_signature(str(target._value())).names
    except UnknownTargetError:
        return ()  # reported by the validation of the composed config


def _is_empty(node: DictConfig | ListConfig) -> bool:
    return node._is_none() or node._is_missing() or node._is_interpolation()
