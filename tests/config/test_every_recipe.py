"""Every primary config and every recipe of this project composes and is valid."""

import pytest

from chatmusician.config.composition import compose
from chatmusician.config.paths import conf_dir
from chatmusician.config.problems import ConfigError
from chatmusician.config.recipes import read_header, recipe_paths

COMMANDS = sorted(path.stem for path in conf_dir().glob("*.yaml"))


@pytest.mark.parametrize("path", recipe_paths(), ids=lambda path: path.stem)
def test_the_recipe_says_how_to_run_it_and_composes(path):
    header = read_header(path)
    assert header.command in COMMANDS
    assert header.summary, f"{path}: the second line says in a comment what the recipe is"
    compose(header.command, header.arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_primary_config_is_valid_but_for_values_that_the_user_must_give(command):
    try:
        compose(command)
    except ConfigError as error:
        assert all("a value is required" in problem.message for problem in error.problems), str(error)


def options() -> list[str]:
    """``command group=option`` for each option of each group that a primary config chooses from."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.types import RunMode

    from chatmusician.config.composition import search_path

    loader = ConfigLoaderImpl(search_path(conf_dir()))
    found = []
    for command in COMMANDS:
        chosen = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
        for group in chosen:
            if not group.startswith("hydra/") and "@" not in group:
                found += [f"{command} {group}={option}" for option in loader.get_group_options(group)]
    return found


@pytest.mark.parametrize("choice", options())
def test_each_option_of_a_group_is_valid(choice):
    command, override = choice.split(" ")
    try:
        compose(command, [override])
    except ConfigError as error:
        assert all("a value is required" in problem.message for problem in error.problems), str(error)
