"""The text of ``--help``: what the command does, its groups with their options, its keys and recipes, how to call it.

Keys and examples are those of the primary config's file, comments included, so that they are written in one place.
"""

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode

from chatmusician.config.recipes import GROUP, RecipeHeader, read_header, recipe_paths

_WIDTH = 100
_FLAGS = """\
--cfg job          print the config and stop; --resolve fills in the interpolations
-m, --multirun     one job for each combination of several values, as in optim.lr=1e-4,2e-4
--config-dir DIR   a folder of your own: DIR/experiment/NAME.yaml answers +experiment=NAME (its
                   first line must be '# @package _global_'), DIR/GROUP/NAME.yaml answers GROUP=NAME
--hydra-help       all flags"""


def help_text(loader: ConfigLoaderImpl, command: str, description: str) -> str:
    """What ``python -m chatmusician.COMMAND --help`` prints."""
    chosen = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
    groups = {key: option for key, option in chosen.items() if not key.startswith("hydra/")}
    available = loader.get_group_options(GROUP)
    recipes = [read_header(path) for path in recipe_paths() if path.stem in available]
    module = f"python -m chatmusician.{command}"
    primary = _primary_lines(loader, command)
    parts = [
        f"usage: {module} [flags] [+{GROUP}=NAME] [GROUP=OPTION ...] [KEY=VALUE ...]",
        description,
        _section("groups (* is the default)", _group_lines(loader, groups)),
        _section("keys, with their defaults", _key_lines(primary)),
        _section(f"recipes (+{GROUP}=NAME)", _recipe_lines(recipes, available)),
        _section("flags", _FLAGS.splitlines()),
        _section("examples", _examples(module, primary, recipes)),
    ]
    return "\n\n".join(part for part in parts if part)


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else ""


def _group_lines(loader: ConfigLoaderImpl, groups: dict[str, str | None]) -> list[str]:
    lines = []
    width = max((len(group) for group in groups), default=0) + 2
    for group, default in sorted(groups.items()):
        options = loader.get_group_options(group.partition("@")[0])
        marked = " ".join(f"*{option}" if option == default else option for option in options)
        lines += textwrap.wrap(f"{group:<{width}}{marked}", _WIDTH, subsequent_indent=" " * width)
    return lines


def _recipe_lines(recipes: Sequence[RecipeHeader], available: Sequence[str]) -> list[str]:
    """This project's recipes with their summaries, then those that only ``--config-dir`` has."""
    width = max((len(name) for name in available), default=0) + 2
    ours = {recipe.name for recipe in recipes}
    lines = [f"{recipe.name:<{width}}{recipe.summary}".rstrip() for recipe in recipes]
    return lines + [f"{name:<{width}}(from --config-dir)" for name in available if name not in ours]


def _primary_lines(loader: ConfigLoaderImpl, command: str) -> list[str]:
    """The file of the primary config, as it is written."""
    files = [Path(source.path) / f"{command}.yaml" for source in loader.get_sources() if source.scheme() == "file"]
    file = next((file for file in files if file.is_file()), None)
    return [] if file is None else file.read_text(encoding="utf-8").splitlines()


def _key_lines(primary: Sequence[str]) -> list[str]:
    """The primary config's own keys with their comments, without what is Hydra's."""
    lines: list[str] = []
    shown = False
    for line in primary:
        if line and not line[0].isspace():
            shown = not line.startswith(("#", "defaults:", "hydra:"))
        if shown and line.strip():
            lines.append(line)
    return lines


def _examples(module: str, primary: Sequence[str], recipes: Sequence[RecipeHeader]) -> list[str]:
    """The commands in the leading comment of the primary config, then those of the first recipes."""
    examples = [line.lstrip("# ") for line in primary if line.startswith(f"# {module} ")]
    examples += [f"{module} {shlex.join(recipe.arguments)}" for recipe in recipes[:2]]
    if len(recipes) > 1:
        examples.append(f"{module} -m '+{GROUP}=glob(*)'")
    return examples
