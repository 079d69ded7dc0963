import socket
from pathlib import Path

import pytest

from chatmusician.diagnosis.building import SHARED_MEMORY, compilers, deepspeed_operations
from chatmusician.diagnosis.findings import Finding, State
from chatmusician.diagnosis.music_tools import music_tools
from chatmusician.diagnosis.resources import Resources
from chatmusician.diagnosis.surroundings import disk_and_limits, services

GIB = 2**30


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def no_keys(tmp_path: Path) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}


def test_without_keys_each_is_told_with_the_command_that_makes_one(no_keys: dict[str, str]) -> None:
    found = by_name(list(services(no_keys)))
    assert [finding.state for finding in found.values()] == [State.OPTIONAL] * 3
    assert [finding.remedy for finding in found.values()] == ["unset HF_HUB_OFFLINE", "hf auth login", "wandb login"]


@pytest.mark.parametrize("place", ["variables", "files"])
def test_keys_are_found_and_not_shown(no_keys: dict[str, str], tmp_path: Path, place: str) -> None:
    if place == "variables":
        environment = {**no_keys, "HF_TOKEN": "hf_SECRET", "WANDB_API_KEY": "SECRET"}
    else:
        environment = no_keys
        (tmp_path / "token").write_text("hf_SECRET")
        (tmp_path / "netrc").write_text("machine api.wandb.ai login user password SECRET\n")
    found = by_name(list(services(environment)))
    assert found["Hub token"].state is found["Weights & Biases"].state is State.OK
    assert "SECRET" not in str(found)


def test_a_hub_that_answers_and_one_that_does_not(no_keys: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        asked = {**no_keys, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}
        assert by_name(list(services(asked)))["Hugging Face Hub"].found == "127.0.0.1 answers"
    refused = by_name(list(services(asked)))["Hugging Face Hub"]
    assert refused.state is State.OPTIONAL
    assert refused.found == "127.0.0.1 cannot be reached (Connection refused)"


def test_a_proxy_is_named_without_its_password(no_keys: dict[str, str]) -> None:
    asked = {**no_keys, "HF_HUB_OFFLINE": "", "https_proxy": "http://me:SECRET@proxy.example:3128"}
    assert by_name(list(services(asked)))["Hugging Face Hub"].found == "through the proxy proxy.example"


@pytest.mark.parametrize(("free", "state"), [(GIB, State.MISSING), (3 * GIB, State.OK)])
def test_a_full_disk_is_missing_room(free: int, state: State) -> None:
    machine = Resources(processor="", cores=1, memory_bytes=GIB, available_bytes=GIB, disk_free_bytes=free)
    assert by_name(list(disk_and_limits(machine)))["disk"].state is state


def test_an_operation_that_is_compiled_and_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (before,) = deepspeed_operations()
    assert "about a minute" in before.found
    folder = tmp_path / "py311_cpu" / SHARED_MEMORY
    folder.mkdir(parents=True)
    (folder / f"{SHARED_MEMORY}.so").touch()
    (after,) = deepspeed_operations()
    assert after.found == f"compiled: {folder}"


def test_a_compiler_that_is_not_there_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = by_name(list(compilers(with_gpu=True)))
    assert found["C++ compiler"].state is found["nvcc"].state is State.OPTIONAL
    assert found["C++ compiler"].remedy == "apt-get install g++"
    assert found["ninja"].state is State.OK  # beside this Python


def test_a_tune_is_really_converted_engraved_and_played() -> None:
    found = by_name(list(music_tools()))
    made = ["score", "PNG", "PDF", "abc2midi", "sound"]
    assert {name: found[name].state for name in made} == dict.fromkeys(made, State.OK), found
    assert found["sandbox"].state in (State.OK, State.OPTIONAL)
