import subprocess
from pathlib import Path

from chatmusician.dashboards.run_record import CodeState, code_state, data_fingerprint, versions

UNKNOWN = CodeState(commit=None, dirty=None)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_state_of_a_checkout(tmp_path: Path) -> None:
    assert code_state(tmp_path) == UNKNOWN
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_state(package) == CodeState(commit=commit, dirty=False)
    (tmp_path / "notes.txt").write_text("")  # beside the code
    assert code_state(package) == CodeState(commit=commit, dirty=False)
    (package / "more.py").write_text("")
    assert code_state(package) == CodeState(commit=commit, dirty=True)
    (tmp_path / "site-packages").mkdir()  # installed into a checkout of something else
    assert code_state(tmp_path / "site-packages") == UNKNOWN


def test_data_are_told_apart_by_what_they_were_made_from_and_hold() -> None:
    data = {"settings": {"seq_len": 8}, "summary": {"train": {"rows": 3}}}
    again = {"summary": {"train": {"rows": 3}}, "settings": {"seq_len": 8}}
    other = {"settings": {"seq_len": 8}, "summary": {"train": {"rows": 4}}}
    assert data_fingerprint(data) == data_fingerprint(again) != data_fingerprint(other)


def test_versions_are_of_what_is_installed() -> None:
    found = versions(["torch", "no-such-thing"])
    assert found.keys() == {"python", "torch"}
    assert found["torch"].startswith("2.")
