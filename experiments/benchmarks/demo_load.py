"""Many people at the web demo at once: refusals, waiting times, memory.

    python experiments/benchmarks/demo_load.py --model MODEL [--users 32] [--seconds 300]

A demo of its own is started on a free port of this machine, and each user asks the next question as soon as the last is
answered, drawn and played, over HTTP as the page does. The last line is JSON:

- ``answered``, ``refused`` (politely, in words) and ``failed``: how the questions ended, ``kinds`` the failures;
- ``first_token_s``: median seconds from a question to the first piece of its answer; ``whole_s`` to its tune's card;
- ``memory_mib``: of the demo after a tenth of the time, and ``memory_end_mib`` at the end; ``temporary_mib``: files.

Tests call `load`.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

QUESTIONS = (
    "Compose a reel in D major.",
    "Write a tune in ABC notation that fits this description.\nMeter 6/8\nKey G\nNote Length 1/8\nRhythm jig",
    "Write a tune in ABC notation over these chords.\n'G', 'D7', 'Em', 'C'",
    "Compose a waltz in A minor.",
)
ERROR = "role='alert'"
"""How the status line marks a refusal."""


@dataclass(frozen=True, kw_only=True)
class LoadFigures:
    """What a load did; see the module's docstring."""

    users: int
    answered: int
    refused: int
    failed: int
    kinds: dict[str, int]
    first_token_s: float
    whole_s: float
    memory_mib: float
    memory_end_mib: float
    temporary_mib: float


@dataclass
class _Tally:
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)


def main() -> None:
    """Start a demo, load it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder")
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    arguments = parser.parse_args()
    with demo(arguments.model) as (url, process, folder):
        print(json.dumps(asdict(load(url, process.pid, folder, users=arguments.users, seconds=arguments.seconds))))


@contextlib.contextmanager
def demo(model: str) -> Iterator[tuple[str, "subprocess.Popen[str]", Path]]:
    """A demo's address, its process and the folder of its temporary files."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "chatmusician.demo", f"model={model}", "generation=nano", "port=0"]
        command += ["requests_per_minute=100000", f"hydra.run.dir={name}/run"]
        environment = {**os.environ, "TMPDIR": name, "HF_HUB_OFFLINE": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().split(" ")[0], process, Path(name)
            finally:
                process.send_signal(signal.SIGTERM)


def load(url: str, pid: int, folder: Path, *, users: int, seconds: float, questions: int | None = None) -> LoadFigures:
    """So many users for so long, or until each has asked so many questions."""
    tally, end = _Tally(), time.monotonic() + seconds
    config = httpx.get(f"{url}/config", timeout=60).json()
    lock = threading.Lock()
    threads = [
        threading.Thread(target=_use, args=(url, config, number, end, questions, tally, lock))
        for number in range(users)
    ]
    for thread in threads:
        thread.start()
    threads[0].join(seconds / 10)
    memory = memory_mib(pid)
    for thread in threads:
        thread.join()
    return LoadFigures(
        users=users,
        answered=tally.ends["answered"],
        refused=tally.ends["refused"],
        failed=tally.ends["failed"],
        kinds=dict(tally.kinds),
        first_token_s=round(statistics.median(tally.first_s or [0.0]), 2),
        whole_s=round(statistics.median(tally.whole_s or [0.0]), 2),
        memory_mib=memory,
        memory_end_mib=memory_mib(pid),
        temporary_mib=round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20, 1),
    )


def memory_mib(pid: int) -> float:
    """Resident memory of a process; Linux only."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)


def _use(
    url: str, config: Any, number: int, end: float, questions: int | None, tally: _Tally, lock: threading.Lock
) -> None:
    """One user: a session that asks until the time is over, and begins anew after ten questions."""
    asked = 0
    with httpx.Client(base_url=url, timeout=120) as client:
        session = secrets.token_hex(8)
        while time.monotonic() < end and (questions is None or asked < questions):
            started = time.monotonic()
            try:
                first, outcome = _ask(client, config, QUESTIONS[(number + asked) % len(QUESTIONS)], session)
                kind = ""
            except (httpx.HTTPError, KeyError, ValueError) as error:
                first, outcome, kind = None, "failed", type(error).__name__
            asked += 1
            if asked % 10 == 0:
                session = secrets.token_hex(8)
            with lock:
                tally.ends[outcome] += 1
                if outcome == "failed":
                    tally.kinds[kind or "the page's event failed"] += 1
                if outcome == "answered":
                    tally.whole_s.append(time.monotonic() - started)
                    tally.first_s += [first] if first is not None else []


def _ask(client: httpx.Client, config: Any, question: str, session: str) -> tuple[float | None, str]:
    """Seconds to the first piece, and ``answered``, ``refused`` or ``failed``."""
    event = next(event for event in config["dependencies"] if event["api_name"] == "ask")
    values = {component["id"]: component["props"].get("value") for component in config["components"]}
    data = [question, *(values[component] for component in event["inputs"][1:])]
    started = time.monotonic()
    asked = {"data": data, "fn_index": event["id"], "session_hash": session}
    joined = client.post("/gradio_api/queue/join", json=asked)
    if joined.status_code == 503:
        return None, "refused"
    joined.raise_for_status()
    first, refused = None, False
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") not in ("process_generating", "process_completed"):
                continue
            content = json.dumps(message["output"])
            first = time.monotonic() - started if first is None and "said model" in content else first
            refused = refused or (ERROR in content and first is None)
            if message["msg"] == "process_completed":
                return first, ("refused" if refused else "answered") if message["success"] else "failed"
    raise ValueError("the stream ended early")


if __name__ == "__main__":
    main()
