"""Disk and limits, the Hugging Face Hub, and Weights & Biases. Keys are looked for and never shown."""

import netrc
import resource
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from chatmusician.diagnosis.findings import Finding, State, gibibytes
from chatmusician.diagnosis.resources import Resources

FILES_AT_LEAST = 4096
"""Open files: each loader process of each rank shares its rows with the trainer through some."""
SHARED_MEMORY_AT_LEAST = 2**30
"""Bytes of /dev/shm: a container has 64 MiB unless it is told otherwise, and NCCL and the loaders use it."""
DISK_AT_LEAST = 2 * 2**30
"""Bytes that the quickstart and its environment's caches need."""
CONNECT_SECONDS = 3
SHARED_MEMORY = Path("/dev/shm")


def disk_and_limits(machine: Resources) -> Iterator[Finding]:
    """Room for files, open ones, and shared memory."""
    enough = machine.disk_free_bytes >= DISK_AT_LEAST
    yield Finding(
        name="disk",
        state=State.OK if enough else State.MISSING,
        found=f"{gibibytes(machine.disk_free_bytes)} free at {Path.cwd()}",
        remedy="" if enough else f"free {gibibytes(DISK_AT_LEAST)}, or work in another folder",
    )
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= FILES_AT_LEAST:
        yield Finding(name="open files", state=State.OK, found=f"{files}")
    else:
        remedy = f"ulimit -n {min(FILES_AT_LEAST, most) if most > 0 else FILES_AT_LEAST}"
        found = f"{files}: loader processes of several ranks need more"
        yield Finding(name="open files", state=State.OPTIONAL, found=found, remedy=remedy)
    if SHARED_MEMORY.is_dir():
        yield _shared_memory(shutil.disk_usage(SHARED_MEMORY).free)


def _shared_memory(free: int) -> Finding:
    found = f"{gibibytes(free)} free"
    if free >= SHARED_MEMORY_AT_LEAST:
        return Finding(name=str(SHARED_MEMORY), state=State.OK, found=found)
    remedy = "docker run --shm-size=8g, or --ipc=host"
    found = f"{found}: loader processes and NCCL need more"
    return Finding(name=str(SHARED_MEMORY), state=State.OPTIONAL, found=found, remedy=remedy)


def services(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The Hub, the token for gated models, and where dashboards go."""
    yield _hub(environment)
    yield _token(environment)
    yield _dashboard(environment)


def _hub(environment: Mapping[str, str]) -> Finding:
    offline = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _is_on(environment.get(name))), None)
    if offline is not None:
        found = f"not asked, since {offline} is set: models and data must be on this disk"
        return Finding(name="Hugging Face Hub", state=State.OPTIONAL, found=found, remedy=f"unset {offline}")
    address = urlsplit(environment.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    if proxy is not None:
        return Finding(name="Hugging Face Hub", state=State.OK, found=f"through the proxy {urlsplit(proxy).hostname}")
    port = address.port or (443 if address.scheme == "https" else 80)
    fault = _unreachable(str(address.hostname), port)
    if fault is not None:
        found = f"{address.hostname} cannot be reached ({fault})"
        remedy = "export HF_HUB_OFFLINE=1, and use folders in place of Hub ids"
        return Finding(name="Hugging Face Hub", state=State.OPTIONAL, found=found, remedy=remedy)
    return Finding(name="Hugging Face Hub", state=State.OK, found=f"{address.hostname} answers")


def _unreachable(host: str, port: int) -> str | None:
    """Why no connection can be made, or None. Looking up a name has no time limit of its own, hence the thread."""
    faults = [f"no answer in {CONNECT_SECONDS} s"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            faults.clear()
        except OSError as error:
            faults[0] = error.strerror or str(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return faults[0] if faults else None


def _token(environment: Mapping[str, str]) -> Finding:
    home = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    file = Path(environment.get("HF_TOKEN_PATH") or home / "token")
    if environment.get("HF_TOKEN") or file.is_file():
        place = "in HF_TOKEN" if environment.get("HF_TOKEN") else f"in {file}"
        return Finding(name="Hub token", state=State.OK, found=place)
    found = "none: needed for meta-llama/Llama-2-7b-hf, and for uploads"
    return Finding(name="Hub token", state=State.OPTIONAL, found=found, remedy="hf auth login")


def _dashboard(environment: Mapping[str, str]) -> Finding:
    mode = environment.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        return Finding(name="Weights & Biases", state=State.OK, found=f"WANDB_MODE={mode}")
    host = urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    if environment.get("WANDB_API_KEY") or _has_login(environment, str(host)):
        return Finding(name="Weights & Biases", state=State.OK, found=f"a key for {host}")
    found = f"no key for {host}: the dashboards of logger=wandb"
    return Finding(name="Weights & Biases", state=State.OPTIONAL, found=found, remedy="wandb login")


def _has_login(environment: Mapping[str, str], host: str) -> bool:
    file = Path(environment.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _is_on(value: str | None) -> bool:
    return (value or "").upper() in ("1", "ON", "YES", "TRUE")
