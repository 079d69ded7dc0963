"""Validates a ``--multirun`` before its first job: hours may pass before a mistake in the last one would show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from chatmusician.config.composition import accept
from chatmusician.config.overrides import ORIGIN, parse
from chatmusician.config.problems import ConfigError, Problem


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep that was accepted."""

    swept: tuple[str, ...]
    """The keys and groups that vary, without a ``+``."""
    folder: str
    """Where all its jobs go. It is named by the first job: a clock or a swept key may be in the name."""


def accept_sweep(loader: ConfigLoaderImpl, command: str, overrides: Sequence[str]) -> Sweep:
    """Raises ConfigError unless the jobs of a sweep are sound.

    Composes one config for each option of each group swept over, and one value of each other key: which keys exist
    depends on the groups alone. The cost is thus the number of options, not of their combinations.
    """
    parsed, problems = parse(loader, overrides)
    alternatives = [_alternatives(loader, override) for override in parsed]
    keys = [override.get_key_element().lstrip("+") for override in parsed if override.is_sweep_override()]
    sweep = Sweep(swept=tuple(keys), folder="")
    first = [texts[0] for texts in alternatives]
    for job in _one_at_a_time(alternatives):
        try:
            cfg = accept(loader, command, job)
            if job == first:
                problems += _launcher_problems(cfg)
                sweep = replace(sweep, folder=cfg.hydra.sweep.dir)
                params = cfg.hydra.sweeper.get("params") or {}
                more = [f"{key}={values}" for key, values in params.items() if isinstance(values, str)]
                if more:
                    sweep = accept_sweep(loader, command, [*overrides, *more, "hydra.sweeper.params=null"])
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)
    return sweep


def _launcher_problems(cfg: DictConfig) -> Iterator[Problem]:
    """Several tasks for a job find one another where SLURM numbers them, and nowhere else."""
    launcher = cfg.hydra.launcher
    if str(launcher.get("_target_")).endswith("submitit_launcher.LocalLauncher") and launcher.tasks_per_node != 1:
        message = f"{launcher.tasks_per_node} without SLURM; leave it at 1, trainer.devices says how many processes"
        yield Problem(path="hydra.launcher.tasks_per_node", message=message)


def _one_at_a_time(alternatives: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The first alternative of each, then each further one beside the first of the others.

    >>> list(_one_at_a_time([["a=1", "a=2"], ["b=1"]]))
    [['a=1', 'b=1'], ['a=2', 'b=1']]
    """
    first = [texts[0] for texts in alternatives]
    yield first
    for index, texts in enumerate(alternatives):
        for text in texts[1:]:
            yield [*first[:index], text, *first[index + 1 :]]


def _alternatives(loader: ConfigLoaderImpl, override: Override) -> list[str]:
    """The overrides that stand for one of a sweep: all options of a group, one value of anything else."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key, values = override.get_key_element(), override.value()
    if isinstance(values, IntervalSweep):
        return [f"{key}={values.start}"]
    texts = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not texts:
        message = f"matches none of: {', '.join(loader.get_group_options(override.key_or_group))}"
        raise ConfigError([Problem(path=str(override.input_line), origin=ORIGIN, message=message)])
    return texts if loader.repository.group_exists(override.key_or_group) else texts[:1]
