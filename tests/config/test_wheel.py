"""The wheel carries the configs: every recipe composes from it, in an empty folder, without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

COMPOSE = """
import chatmusician, json
from chatmusician.config.composition import compose
from chatmusician.config.paths import conf_dir, experiments_dir
from chatmusician.config.problems import ConfigError
from chatmusician.config.recipes import read_header, recipe_paths

recipes = [read_header(path) for path in recipe_paths()]
for recipe in recipes:
    compose(recipe.command, recipe.arguments)
for primary in conf_dir().glob("*.yaml"):
    try:
        compose(primary.stem)
    except ConfigError as error:
        assert all("a value is required" in problem.message for problem in error.problems), str(error)
print(json.dumps([chatmusician.__file__, str(conf_dir()), str(experiments_dir()), [r.name for r in recipes]]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (built,) = folder.glob("chatmusician-*.whl")
    return built


def test_the_wheel_holds_every_config_of_the_checkout(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("conf", "experiments"):
        for path in (CHECKOUT / folder).rglob("*.yaml"):
            assert f"chatmusician/_{path.relative_to(CHECKOUT).as_posix()}" in packed


def test_every_recipe_composes_from_the_wheel_in_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    shown = subprocess.run(
        [sys.executable, "-c", COMPOSE], cwd=empty, env=environment, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    package = f"{site}/chatmusician"
    names = sorted(path.stem for path in (CHECKOUT / "experiments").glob("*.yaml"))
    expected = [f"{package}/__init__.py", f"{package}/_conf", f"{package}/_experiments", names]
    assert shown.stdout == str(expected).replace("'", '"') + "\n"
    assert list(empty.iterdir()) == []
