"""The command as a user runs it: how it begins, refuses and ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from running_demo import environment, started
from taught_model import ENDLESS

COMMAND = [sys.executable, "-m", "chatmusician.demo"]


def refused(folder: Path, *arguments: str, **more: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**environment(folder), **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") <= 1
    assert [path.name for path in folder.iterdir() if path.name.startswith("chatmusician-demo")] == []
    return done.stderr.strip()


def test_without_a_model_it_says_how_to_make_one(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith("error: no model was given and outputs/ holds no export: give model=FOLDER")


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(taught: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path, f"model={taught}", f"port={port}")
    assert said.startswith(f"error: port={port} of host=127.0.0.1 cannot be used (Address already in use): choose ano")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_a_host_that_is_none_of_this_machine_is_told(taught: Path, tmp_path: Path, host: str) -> None:
    said = refused(tmp_path, f"model={taught}", f"host={host}", "port=0")
    assert f"host={host} cannot be" in said


def test_without_gradio_it_says_what_to_install(taught: Path, tmp_path: Path) -> None:
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text("import sys\nsys.modules['gradio'] = None\n")
    path = f"{hiding}{os.pathsep}{environment(tmp_path)['PYTHONPATH']}"
    said = refused(tmp_path, f"model={taught}", PYTHONPATH=path)
    assert said == "error: the demo needs gradio, which is not installed: pip install 'chatmusician[demo]'"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_pages_are_open_and_answers_are_written(
    taught: Path, tmp_path: Path, number: int, status: int
) -> None:
    pytest.importorskip("gradio")
    with started(taught, tmp_path) as demo:
        streams = [f"{demo.url}/gradio_api/heartbeat/one", f"{demo.url}/gradio_api/queue/data?session_hash=one"]
        with httpx.stream("GET", streams[0], timeout=60) as heart:
            assert next(heart.iter_lines()).startswith("data")
            demo.begin("ask", ENDLESS, session="one")
            with httpx.stream("GET", streams[1], timeout=60) as data:
                seen = []
                for line in data.iter_lines():
                    seen.append(line)
                    if "said model" in line:
                        break
                assert "said model" in seen[-1], seen
                demo.process.send_signal(number)
                demo.process.wait(timeout=60)
        assert demo.process.returncode == status
    assert (tmp_path / "stderr").read_text().splitlines() == (["interrupted"] if number == signal.SIGINT else [])
    assert list((tmp_path / "tmp").iterdir()) == []
