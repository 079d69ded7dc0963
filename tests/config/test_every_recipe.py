"""Every primary config and every recipe of this project composes and is valid."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode

from chatmusician.config.composition import compose, search_path
from chatmusician.config.paths import conf_dir
from chatmusician.config.problems import ConfigError
from chatmusician.config.recipes import read_header, recipe_paths
from chatmusician.generation.free_text import quote_overrides

COMMANDS = sorted(path.stem for path in conf_dir().glob("*.yaml"))


@pytest.mark.parametrize("path", recipe_paths(), ids=lambda path: path.stem)
def test_the_recipe_says_how_to_run_it_and_composes(path):
    header = read_header(path)
    assert header.command in COMMANDS
    assert header.summary, f"{path}: the second line says in a comment what the recipe is"
    compose(header.command, header.arguments)


def test_the_stages_of_a_pipeline_are_sound():
    """Each is a command of its own, refused only once the stages before it have run."""
    stages = compose("pipeline", ["+experiment=quickstart"]).pipeline.stages
    assert len(stages) > 2
    for stage in stages:
        compose(stage.command, quote_overrides([*stage.overrides, f"hydra.run.dir={stage.folder}"]))


def assert_sound_but_for_what_goes_with_it(command: str, overrides: list[str]) -> None:
    """An option by itself may lack what others bring: a path, the key that an interpolation reads, the option that a
    key in the primary config is meant for.
    """
    try:
        compose(command, overrides)
    except ConfigError as error:
        for problem in error.problems:
            lacking = "a value is required" in problem.message or "cannot be resolved" in problem.message
            for_another = bool(overrides) and f"/{command}.yaml:" in f"/{problem.origin}"
            assert lacking or for_another, str(problem)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_primary_config_is_sound(command):
    assert_sound_but_for_what_goes_with_it(command, [])


def rounds() -> list[str]:
    """``command group=option ...`` so that each option of each group of each command is in one of them."""
    loader = ConfigLoaderImpl(search_path(conf_dir()))
    found = []
    for command in COMMANDS:
        chosen = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
        groups = [group for group in chosen if not group.startswith("hydra/")]
        options = {group: loader.get_group_options(group.partition("@")[0]) for group in groups}
        for index in range(max(map(len, options.values()), default=0)):
            chosen_now = [f"{group}={names[index % len(names)]}" for group, names in options.items()]
            found.append(" ".join([command, *chosen_now]))
    return found


@pytest.mark.parametrize("choices", rounds())
def test_each_option_of_a_group_is_sound(choices):
    command, *overrides = choices.split(" ")
    assert_sound_but_for_what_goes_with_it(command, overrides)
