from pathlib import Path

import pytest

from chatmusician.diagnosis.findings import Finding, State
from chatmusician.diagnosis.packages import optional_packages, python_and_packages


def project(folder: Path, *, python: str = ">=3.11", dependencies: str = "", extras: str = "") -> Path:
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "chatmusician"\nrequires-python = "{python}"\ndependencies = [{dependencies}]\n'
        f"[project.optional-dependencies]\n{extras}\n"
    )
    return folder


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.mark.parametrize("place", ["the checkout", "the installed package"])
def test_what_is_installed_here_is_in_order(place: str, tmp_path: Path) -> None:
    found = list(python_and_packages() if place == "the checkout" else python_and_packages(tmp_path))
    assert [finding.name for finding in found] == ["Python", "packages"]
    assert {finding.state for finding in found} == {State.OK}
    assert "torch 2.13." in found[1].found


def test_a_package_that_is_missing_or_too_old_comes_with_the_line_that_mends_it(tmp_path: Path) -> None:
    folder = project(tmp_path, python=">=4", dependencies='"numpy>=999", "no-such-package<2", "omegaconf"')
    found = by_name(list(python_and_packages(folder)))
    assert found.keys() == {"Python", "numpy", "no-such-package"}
    assert (found["Python"].state, found["Python"].remedy) == (State.BROKEN, "use Python >=4")
    assert (found["numpy"].state, found["numpy"].remedy) == (State.BROKEN, "pip install 'numpy>=999'")
    assert found["numpy"].found.endswith(", and >=999 is needed")
    assert (found["no-such-package"].state, found["no-such-package"].found) == (State.MISSING, "not installed")


def test_an_extra_is_told_with_what_it_is_for_and_what_it_lacks(tmp_path: Path) -> None:
    extras = 'demo = ["numpy"]\nray = ["no-such-package>=1", "numpy"]\ndev = ["no-such-package"]'
    found = by_name(list(optional_packages(project(tmp_path, extras=extras))))
    assert "dev" not in found
    assert (found["demo"].state, found["demo"].found) == (State.OK, "the page in the browser")
    assert found["ray"].found == "no-such-package not installed: for preparing data on a cluster"
    assert (found["ray"].state, found["ray"].remedy) == (State.OPTIONAL, "pip install 'chatmusician[ray]'")


def test_every_extra_that_is_explained_is_one_of_the_project() -> None:
    """A name that pyproject.toml no longer has would be left out without a word."""
    from chatmusician.diagnosis.packages import BY_HAND, EXTRAS

    assert [finding.name for finding in optional_packages()] == [*EXTRAS, *BY_HAND]
