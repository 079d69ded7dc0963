"""Validates a ``--multirun`` before its first job: hours may pass before a mistake in the last one would show."""

from collections.abc import Iterator, Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import IntervalSweep, Override

from chatmusician.config.composition import accept
from chatmusician.config.overrides import ORIGIN, parse
from chatmusician.config.problems import ConfigError, Problem


def accept_sweep(loader: ConfigLoaderImpl, command: str, overrides: Sequence[str]) -> None:
    """Raises ConfigError unless the jobs of a sweep are sound.

    Composes one config for each option of each group swept over, and one value of each other key: which keys exist
    depends on the groups alone. The cost is thus the number of options, not of their combinations.
    """
    parsed, problems = parse(loader, overrides)
    alternatives = [_alternatives(loader, override) for override in parsed]
    for job in _one_at_a_time(alternatives):
        try:
            cfg = accept(loader, command, job)
            params = cfg.hydra.sweeper.get("params") or {}
            swept = [f"{key}={values}" for key, values in params.items() if isinstance(values, str)]
            if swept and job == [texts[0] for texts in alternatives]:
                accept_sweep(loader, command, [*overrides, *swept, "hydra.sweeper.params=null"])
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)


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
