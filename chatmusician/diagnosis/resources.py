"""Cores, memory and disk that this process may use: less than the machine has where a scheduler or container says so.

Limits come from the affinity mask and from control groups, of both versions; a group's limit holds for all below it, so
the least on the way up counts. Within a container the path that ``/proc/self/cgroup`` names is often not there, and the
mount's own root is the container's group.
"""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as torch sees it."""

    name: str
    memory_bytes: int
    capability: str
    """Compute capability, such as ``8.0``."""
    bf16: bool
    """Whether it multiplies bfloat16 matrices."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a training run can use here."""

    processor: str
    cores: int
    memory_bytes: int
    """The least of what there is and what control groups allow."""
    available_bytes: int
    """Of it, what is not in use."""
    disk_free_bytes: int
    """Where runs are written: below the working directory."""
    gpus: tuple[Gpu, ...] = ()


def look_around(*, gpus: tuple[Gpu, ...] = (), root: Path = ROOT) -> Resources:
    """This machine; ``root`` is where ``/proc`` and ``/sys`` are."""
    memory = memory_limit(root)
    return Resources(
        processor=_processor(root),
        cores=usable_cores(root),
        memory_bytes=memory,
        available_bytes=min(memory, _meminfo(root).get("MemAvailable", memory)),
        disk_free_bytes=shutil.disk_usage(Path.cwd()).free,
        gpus=gpus,
    )


def usable_cores(root: Path = ROOT) -> int:
    """Cores by affinity, and by the quota of processor time where there is one (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [-(-quota // period) for quota, period in _quotas(root) if quota > 0 and period > 0]
    return max(1, min([cores, *quotas]))


def memory_limit(root: Path = ROOT) -> int:
    """Bytes of memory that this process and its children may use together."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = _meminfo(root).get("MemTotal", pages)
    limits = [*_group_numbers(root, "memory", "memory.limit_in_bytes"), *_group_numbers(root, "", "memory.max")]
    return min([total, *limits])


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Microseconds of processor time, and of the period they are for."""
    for folder in _groups(root, "cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and period is not None:
            yield quota, period
    for folder in _groups(root, ""):
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            yield int(words[0]), int(words[1])


def _group_numbers(root: Path, controller: str, file: str) -> Iterator[int]:
    for folder in _groups(root, controller):
        number = _number(folder / file)
        if number is not None:
            yield number


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those above it; '' is version 2, which has one tree."""
    mount = root / "sys/fs/cgroup" / controller
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            group = Path(path.lstrip("/"))
            yield from (mount / folder for folder in [group, *group.parents])


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _meminfo(root: Path) -> dict[str, int]:
    """The lines of ``/proc/meminfo`` that are in kB, in bytes."""
    lines = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[2:] == ["kB"]}


def _processor(root: Path) -> str:
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
