"""The demo as a process of its own, started by its command line, and what a page of it asks over HTTP."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
GREEDY = ("generation.temperature=0", "generation.repetition_penalty=1", "generation.min_new_tokens=1")


def environment(folder: Path) -> dict[str, str]:
    """Of a demo whose temporary files go into a folder."""
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder)}
    return {**os.environ, **more, "PYTHONUNBUFFERED": "1"}


class Demo:
    """A demo that runs."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self.process, self.url, self.folder = process, url, folder
        self.client = httpx.Client(base_url=url, timeout=60)
        config = self.client.get("/config").json()
        self._events = {event["api_name"]: event for event in config["dependencies"]}
        self._values = {component["id"]: component["props"].get("value") for component in config["components"]}

    def begin(self, name: str, *values: Any, session: str) -> str:
        """Let an event of the page happen, and give its number; values that are not given are the page's own."""
        event = self._events[name]
        data = [self._values[component] for component in event["inputs"]]
        data[: len(values)] = values
        asked = {"data": data, "fn_index": event["id"], "session_hash": session}
        joined = self.client.post("/gradio_api/queue/join", json=asked)
        joined.raise_for_status()
        return joined.json()["event_id"]

    def event(self, name: str, *values: Any, session: str | None = None) -> list[dict[str, Any]]:
        """The messages of an event, to its end."""
        session = session or secrets.token_hex(8)
        number, messages = self.begin(name, *values, session=session), []
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("event_id") == number:
                    messages.append(message)
                if message.get("msg") == "process_completed":
                    return messages
        raise AssertionError(f"the stream of {name} ended early: {messages}")

    def draw(self, abc: str) -> str:
        """The card of a tune from the editor."""
        end = self.event("draw", abc)[-1]
        assert end["success"], end
        return end["output"]["data"][0]

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """What is said of a file that was chosen."""
        sent = self.client.post("/gradio_api/upload", files={"files": (name, content)})
        sent.raise_for_status()
        file = {"path": sent.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.event("take_up", file)[-1]


@contextmanager
def started(model: Path, folder: Path, *overrides: str) -> Iterator[Demo]:
    """A demo on a free port; ended by Ctrl-C, if it has not ended."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "chatmusician.demo", f"model={model}", "port=0", "seed=1", *GREEDY, *overrides]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(temporary),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Test runners in the background of a shell ignore it, and so would their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), (folder / "stderr").read_text()
        yield Demo(process, line.split(" ")[0], temporary)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@contextmanager
def running(model: Path, folder: Path, *overrides: str) -> Iterator[Demo]:
    """A demo that lives until it is ended by Ctrl-C, and then leaves nothing behind."""
    with started(model, folder, *overrides) as demo:
        yield demo
        assert demo.process.poll() is None, (folder / "stderr").read_text()
    assert demo.process.returncode == 130, (folder / "stderr").read_text()
    assert list(demo.folder.iterdir()) == []
