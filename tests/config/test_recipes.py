from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from chatmusician.config.paths import conf_dir, experiments_dir
from chatmusician.config.recipes import commands_served, load_mapping, read_header, register_recipes
from chatmusician.errors import UserError


@pytest.fixture
def store():
    """The group ``experiment`` of the ConfigStore, as it was when the test ends."""
    repository = ConfigStore.instance().repo
    before = repository.get("experiment", {})
    yield lambda: repository["experiment"]
    repository["experiment"] = before


def test_a_checkout_has_its_folders_beside_the_package():
    checkout = Path(__file__).parents[2]
    assert conf_dir() == checkout / "conf"
    assert experiments_dir() == checkout / "experiments"


def test_each_file_becomes_an_option_and_registering_twice_does_no_harm(tmp_path, store):
    (tmp_path / "reel.yaml").write_text("seed: 7\n")
    (tmp_path / "jig.yaml").write_text("seed: 8\n")
    (tmp_path / "README.md").write_text("not a recipe")
    register_recipes(tmp_path)
    register_recipes(tmp_path)
    assert set(store()) == {"reel.yaml", "jig.yaml"}
    reel = store()["reel.yaml"]
    assert (reel.node.seed, reel.package, reel.provider) == (7, "_global_", str(tmp_path / "reel.yaml"))


def test_a_command_takes_its_own_recipes_and_those_of_the_config_it_builds_on(tmp_path, store):
    conf, recipes = tmp_path / "conf", tmp_path / "experiments"
    conf.mkdir()
    recipes.mkdir()
    (conf / "train.yaml").write_text("defaults: [_self_]\nseed: 1\n")
    (conf / "prepare.yaml").write_text("defaults: [train, model: nano, _self_]\n")
    (conf / "evaluate.yaml").write_text("seed: 1\n")
    (recipes / "reel.yaml").write_text("# python -m chatmusician.train +experiment=reel\nseed: 7\n")
    (recipes / "quiz.yaml").write_text("# python -m chatmusician.evaluate +experiment=quiz\nseed: 7\n")
    assert commands_served(conf, "train") == {"train"}
    assert commands_served(conf, "prepare") == {"prepare", "train"}
    register_recipes(recipes, commands=commands_served(conf, "prepare"))
    assert set(store()) == {"reel.yaml"}
    register_recipes(recipes, commands=commands_served(conf, "evaluate"))
    assert set(store()) == {"quiz.yaml"}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("seed: 1\nmodel: [a, b\nlr: 2\n", 3, "expected ',' or ']', but got ':'"),
        ("seed: 1\nlr: 2\nseed: 3\n", 3, "found duplicate key seed"),
        ("- a\n- b\n", 1, "a config is a mapping"),
    ],
)
def test_a_broken_recipe_is_named_with_its_line(tmp_path, text, line, reason):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        load_mapping(path)
    message = str(refused.value)
    assert message.startswith(f"{path}:{line}: ")
    assert reason in message
    assert "\n" not in message


def test_a_recipe_in_another_encoding_is_refused_by_name(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"title: caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.yaml: not UTF-8 text"):
        load_mapping(path)


def test_the_header_gives_command_arguments_and_summary(tmp_path):
    path = tmp_path / "reel.yaml"
    path.write_text("# python -m chatmusician.train +experiment=reel 'seed=1'\n# Reels only.\nseed: 2\n")
    header = read_header(path)
    assert header.command == "train"
    assert header.arguments == ("+experiment=reel", "seed=1")
    assert header.summary == "Reels only."


@pytest.mark.parametrize(
    "text",
    ["", "seed: 1\n", "# Reels only.\n", "# python -m chatmusician.train +experiment=jig\n"],
    ids=["empty", "no comment", "no command", "another recipe"],
)
def test_a_recipe_that_does_not_say_how_to_run_it_is_refused(tmp_path, text):
    path = tmp_path / "reel.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"reel\.yaml:1: .*python -m chatmusician\.COMMAND \+experiment=reel"):
        read_header(path)
