"""Composes a command's config with Hydra and refuses it with all its mistakes, or returns it.

::

    overrides -> parsed -> group choices checked -> composed without values -> values checked -> composed -> validated
                                                            |
                          the same without the bodies of recipes: what the config declares, the schema of the validation

A mistake takes the override that made it out of the further steps, not the others: two misspelt overrides and a
misspelt key in a recipe come in one message. A recipe that Hydra cannot compose at all ends the search there.

Hydra's compose API stops at the first mistake and cannot leave recipes out, hence the use of its loader
(``hydra._internal``; hydra-core is pinned below 1.4).
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from chatmusician.config.origins import Layer, find_origin
from chatmusician.config.overrides import (
    ORIGIN,
    Checked,
    check_choices,
    check_placement,
    check_values,
    is_group_choice,
    parse,
    plugin_hint,
)
from chatmusician.config.paths import conf_dir
from chatmusician.config.problems import ConfigError, Problem, suggestion
from chatmusician.config.recipes import GROUP, broken_yaml, commands_served, register_recipes
from chatmusician.config.validation import find_problems


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A config before values are overridden, and what it was made of."""

    base: DictConfig
    """All files merged."""
    schema: DictConfig
    """The same without the bodies of recipes."""
    layers: tuple[Layer, ...]


def compose(
    command: str, overrides: Sequence[str] = (), *, conf: Path | None = None, config_dir: Path | None = None
) -> DictConfig:
    """The config that ``python -m chatmusician.COMMAND OVERRIDES`` would run, for tests and other programs.

    Args:
        command: the primary config, for example ``train``.
        overrides: as on the command line, ``+experiment=NAME`` among them.
        conf: the folder of configs; default: the project's.
        config_dir: a further folder, as ``--config-dir`` gives it.

    Raises:
        ConfigError: with every mistake that was found.
    """
    conf = conf or conf_dir()
    register_recipes(commands=commands_served(conf, command))
    setup_globals()
    version.setbase("1.3")
    JobRuntime().set("name", command)
    cfg = accept(ConfigLoaderImpl(search_path(conf, config_dir)), command, overrides)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def search_path(conf: Path, config_dir: Path | None = None) -> ConfigSearchPath:
    """Where Hydra looks: its own configs, ours, then the user's. Raises ConfigError if the last is not a folder."""
    path = create_config_search_path(str(conf.resolve()))
    if config_dir is not None:
        if not config_dir.is_dir():
            message = "not a folder: name one that holds group folders, such as experiment/"
            raise ConfigError([Problem(path=f"--config-dir {config_dir}", message=message)])
        path.prepend("command-line", f"file://{config_dir.resolve()}", SearchPathQuery(provider="schema"))
    return path


def accept(
    loader: ConfigLoaderImpl, command: str, overrides: Sequence[str], *, allow_missing: bool = False
) -> DictConfig:
    """Composes one job's config, with the node ``hydra``; raises ConfigError with every mistake found.

    ``allow_missing`` lets ``???`` stand, for a config that is shown and not run.
    """
    parsed, problems = parse(loader, overrides)
    problems += [_sweep_problem(override) for override in parsed if override.is_sweep_override()]
    parsed = [override for override in parsed if not override.is_sweep_override()]
    existing = check_choices(loader, [override for override in parsed if is_group_choice(loader, override)], command)
    problems += existing.problems
    try:
        placed = _check_placement(loader, command, existing.sound)
        problems += placed.problems
        values = [override for override in parsed if not is_group_choice(loader, override)]
        with_hydra = any(value.is_hydra_override() for value in values)
        composition = _compose_files(loader, command, placed.texts, with_hydra=with_hydra)
        valued = check_values(values, composition.base)
        problems += valued.problems
        cfg = loader.load_configuration(command, [*placed.texts, *valued.texts], RunMode.RUN)
    except (HydraException, OmegaConfBaseException, yaml.MarkedYAMLError, ValueError) as error:
        recipes = [str(choice.input_line) for choice in existing.sound if choice.key_or_group == GROUP]
        raise ConfigError([*problems, _refusal(error, loader, command, recipes)]) from error
    problems += _located_problems(cfg, composition, valued.sound, allow_missing=allow_missing)
    if problems:
        raise ConfigError(problems)
    return cfg


def _sweep_problem(override: Override) -> Problem:
    key, _, values = str(override.input_line).partition("=")
    message = f"several values: add --multirun to run one job each, or write {key}=[{values}] for a list"
    return Problem(path=str(override.input_line), origin=ORIGIN, message=message)


def _check_placement(loader: ConfigLoaderImpl, command: str, choices: Sequence[Override]) -> Checked:
    """Whether each choice is of a group that is in use, or adds one that is not."""
    if all(choice.is_add() and choice.key_or_group == GROUP for choice in choices):
        return Checked(sound=tuple(choices), problems=())  # nothing to look up
    own = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
    allowed = [choice for choice in choices if not choice.is_delete() and not choice.is_force_add()]
    fitting = [choice for choice in allowed if choice.is_add() is not (choice.key_or_group in own)]
    texts = [str(choice.input_line) for choice in fitting]  # options may bring groups of their own
    known = loader.compute_defaults_list(command, texts, RunMode.RUN).overrides.known_choices
    return check_placement(choices, own=own, known=known)


def _compose_files(loader: ConfigLoaderImpl, command: str, choices: Sequence[str], *, with_hydra: bool) -> Composition:
    """Merges the files of the defaults list, with the bodies of recipes and without them.

    Hydra's own typed configs take more than half of the time, so that they are left out where nothing asks for them.
    """
    parsed, repository = loader._parse_overrides_and_create_caching_repo(command, list(choices))
    defaults = create_defaults_list(
        repo=repository, config_name=command, overrides_list=parsed, prepend_hydra=True, skip_missing=False
    ).defaults
    if not with_hydra:
        defaults = [default for default in defaults if not str(default.config_path).startswith("hydra/")]
    declaring = [default for default in defaults if not _is_recipe(default)]
    untouched = CachingConfigRepository(repository)  # a copy, since merging changes what a repository has cached
    base = loader._compose_config_from_defaults_list(defaults, repository)
    schema = base if declaring == defaults else loader._compose_config_from_defaults_list(declaring, untouched)
    layers = [layer for default in defaults if (layer := _layer(loader, default)) is not None]
    return Composition(base=base, schema=schema, layers=tuple(layers))


def _is_recipe(default: ResultDefault) -> bool:
    return str(default.config_path).startswith(f"{GROUP}/")


def _layer(loader: ConfigLoaderImpl, default: ResultDefault) -> Layer | None:
    """The file behind an entry of the defaults list; None for what Hydra itself declares in Python."""
    path = str(default.config_path)
    files = [Path(source.path) / f"{path}.yaml" for source in loader.get_sources() if source.scheme() == "file"]
    if _is_recipe(default) and ConfigStore.instance().get_type(f"{path}.yaml") is ObjectType.CONFIG:
        files.append(Path(str(ConfigStore.instance().load(f"{path}.yaml").provider)))
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else Layer(file=file, package=(default.package or "").removeprefix("_global_"))


def _located_problems(
    cfg: DictConfig, composition: Composition, values: Sequence[Override], *, allow_missing: bool
) -> list[Problem]:
    """What is wrong with the composed config, each with the place that set it."""
    with _visible_to_interpolations(cfg):
        problems = find_problems(cfg, schema=composition.schema, allow_missing=allow_missing)
        problems += _output_problems(cfg)
    given = {value.key_or_group for value in values}
    located = []
    for problem in problems:
        if problem.path == GROUP:
            located.append(_rootless_recipe(composition.layers))
            continue
        by_hand = any(problem.path == key or problem.path.startswith(f"{key}.") for key in given)
        origin = ORIGIN if by_hand else find_origin(problem.path, composition.layers)
        located.append(dataclasses.replace(problem, origin=origin))
    return located


def _output_problems(cfg: DictConfig) -> Iterator[Problem]:
    """Folders of Hydra's whose interpolations do not resolve."""
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        try:
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            yield Problem(path=key, message=f"cannot be resolved: {str(error).splitlines()[0]}")


@contextmanager
def _visible_to_interpolations(cfg: DictConfig) -> Iterator[None]:
    """Lets ``${hydra:runtime.choices.model}`` and the like resolve, as they do while a job runs."""
    singleton = HydraConfig.instance()
    before = singleton.cfg
    singleton.set_config(copy.deepcopy(cfg))
    try:
        yield
    finally:
        singleton.cfg = before


def _rootless_recipe(layers: Sequence[Layer]) -> Problem:
    """What is wrong when the keys of a recipe from --config-dir went to a node named like the group."""
    file = next((str(layer.file) for layer in layers if layer.package == GROUP), None)
    return Problem(
        path=GROUP, origin=file, message="a recipe of your own needs '# @package _global_' as its first line"
    )


def _refusal(error: Exception, loader: ConfigLoaderImpl, command: str, recipes: Sequence[str]) -> Problem:
    """What Hydra refuses itself (a broken file, a defaults list that does not fit), on one line."""
    origin = ", ".join(recipes) or None
    if isinstance(error, yaml.MarkedYAMLError):
        return broken_yaml(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = [option for option in loader.get_group_options(group) if not option.startswith("_")]
        hint = suggestion(name, options, prefix=f"{group}/" if group else "") + plugin_hint(group)
        return Problem(path=error.missing_cfg_file, origin=origin, message=f"there is no such config; {hint}")
    lines = [line.strip() for line in (str(error) or str(error.__cause__)).splitlines() if line.strip()]
    cause = error.__cause__
    if cause is not None and str(cause).strip() and str(cause).splitlines()[0] not in lines:
        lines.append(str(cause).splitlines()[0])
    return Problem(path=command, origin=origin, message="; ".join(lines))
