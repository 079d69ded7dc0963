"""Recipes: ``experiments/NAME.yaml`` answers ``+experiment=NAME``.

Hydra maps a group to a folder of the search path, so a flat ``experiments/`` cannot be one; each file is put into the
ConfigStore instead, in the package ``_global_``. This works from a checkout and from a wheel, with ``glob(*)``, with
``override /model: ...`` inside, and lets a recipe extend another (``defaults: [other, _self_]``).

The first line of a recipe says how to run it, the comment lines after it what it is::

    # python -m chatmusician.train +experiment=sft_78k
    # Instruction tuning on 78,000 rows, ten epochs (setting 18 of Table 8).
"""

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from chatmusician.config.paths import experiments_dir
from chatmusician.config.problems import ConfigError, Problem
from chatmusician.errors import UserError

if TYPE_CHECKING:
    import yaml
    from omegaconf import DictConfig

GROUP = "experiment"
_COMMAND_LINE = re.compile(r"#\s*python -m chatmusician\.(?P<command>\w+)\s+(?P<arguments>.+)")


@dataclass(frozen=True, kw_only=True)
class RecipeHeader:
    """What the leading comment of a recipe says."""

    name: str
    path: Path
    command: str
    """The entry point it goes with, for example ``train``."""
    arguments: tuple[str, ...]
    """What follows the command, with ``+experiment=NAME`` among it."""
    summary: str
    """The comment line after the command, or ''."""


def recipe_paths(directory: Path | None = None) -> list[Path]:
    """The recipes of a folder (default: those of this project), by name."""
    return sorted((directory or experiments_dir()).glob("*.yaml"))


def read_header(path: Path) -> RecipeHeader:
    """Reads the leading comment of a recipe. Raises UserError if its first line is not a command that runs it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    match = _COMMAND_LINE.fullmatch(lines[0].strip()) if lines else None
    arguments = tuple(shlex.split(match["arguments"])) if match else ()
    if match is None or f"+{GROUP}={path.stem}" not in arguments:
        raise UserError(f"{path}:1: the first line must be '# python -m chatmusician.COMMAND +{GROUP}={path.stem}'")
    summary = lines[1].removeprefix("#").strip() if len(lines) > 1 and lines[1].startswith("#") else ""
    return RecipeHeader(name=path.stem, path=path, command=match["command"], arguments=arguments, summary=summary)


def load_mapping(path: Path) -> "DictConfig":
    """Reads the YAML of a recipe or a primary config. Raises ConfigError with file and line unless it is a mapping."""
    import yaml
    from omegaconf import DictConfig, OmegaConf

    try:
        config = OmegaConf.load(path)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([broken_yaml(error)]) from error
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text ({error.reason}); save it as UTF-8"
        raise ConfigError([Problem(path=str(path), message=message)]) from error
    if not isinstance(config, DictConfig):
        message = "a config is a mapping of keys to values, not a list; correct the file"
        raise ConfigError([Problem(path=f"{path}:1", message=message)])
    return config


def broken_yaml(error: "yaml.MarkedYAMLError") -> Problem:
    """What a YAML parser says about a file, on one line."""
    mark = error.problem_mark or error.context_mark
    place = f"{mark.name}:{mark.line + 1}" if mark else "a YAML file"
    return Problem(path=place, message=f"not valid YAML, {error.problem or error.context}; correct the file")


def register_recipes(directory: Path | None = None, *, commands: Collection[str] | None = None) -> None:
    """Makes the recipes of a folder options of the group ``experiment``, and no others; calling it again does no harm.

    The file is kept as the provider of the entry, for messages that point into it.

    Args:
        directory: of the recipes; default: those of this project.
        commands: only recipes whose first line names one of these, so that ``glob(*)`` matches what can be run.

    Raises:
        ConfigError: with file and line, for a recipe that cannot be read.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.repo[GROUP] = {}
    for path in recipe_paths(directory):
        if commands is None or read_header(path).command in commands:
            node = _load_unchanged(path, path.stat().st_mtime_ns)
            store.store(group=GROUP, name=path.stem, node=node, package="_global_", provider=str(path))


@cache
def _load_unchanged(path: Path, _modified_ns: int) -> "DictConfig":
    """Reading a recipe takes 10 ms, and a process may compose many configs."""
    return load_mapping(path)


def commands_served(conf: Path, command: str) -> frozenset[str]:
    """The commands whose recipes a command takes: its own, and those of a primary config that its own builds on.

    ``prepare.yaml`` with ``defaults: [train, _self_]`` takes the recipes of ``train``.
    """
    path = conf / f"{command}.yaml"
    defaults = load_mapping(path).get("defaults", []) if path.is_file() else []
    bases = [entry for entry in defaults if isinstance(entry, str) and (conf / f"{entry}.yaml").is_file()]
    return frozenset({command}).union(*(commands_served(conf, base) for base in bases))
