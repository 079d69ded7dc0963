"""Which file and line set a key, for messages: read again from the YAML, only once something is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A file that took part in a composition, and the dotted place its content went to ('' is the root)."""

    file: Path
    package: str


def find_origin(path: str, layers: Sequence[Layer]) -> str | None:
    """``file:line`` of the last layer that sets the key at a dotted path, or None."""
    for layer in reversed(layers):
        inside = _inside(path, layer.package)
        line = None if inside is None else _line(layer.file, inside)
        if line is not None:
            return f"{_shown(layer.file)}:{line}"
    return None


def _inside(path: str, package: str) -> list[str] | None:
    """The part of ``path`` below ``package``, or None if it lies elsewhere."""
    keys, prefix = path.split("."), package.split(".") if package else []
    return keys[len(prefix) :] if keys[: len(prefix)] == prefix and len(keys) > len(prefix) else None


def _line(file: Path, keys: Sequence[str]) -> int | None:
    """The 1-based line of a key, or of an item of a list, in a YAML file."""
    with file.open(encoding="utf-8") as stream:
        node = yaml.compose(stream, Loader=yaml.SafeLoader)
    line = None
    for key in keys:
        entry = _entry(node, key)
        if entry is None:
            return None
        line, node = entry
    return line


def _entry(node: yaml.Node | None, key: str) -> tuple[int, yaml.Node] | None:
    """The line and the node of a key of a mapping or of an index of a list."""
    if isinstance(node, yaml.MappingNode):
        return next(((name.start_mark.line + 1, value) for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
        item = node.value[int(key)]
        return item.start_mark.line + 1, item
    return None


def _shown(file: Path) -> str:
    """The path as the reader would type it: relative to the working directory where it is below it."""
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
