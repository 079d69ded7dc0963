"""Limits of control groups, as files of a made-up ``/proc`` and ``/sys`` give them."""

from pathlib import Path

import pytest

from chatmusician.diagnosis.resources import look_around, memory_limit, usable_cores

GIB = 1024**3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 8 GiB, 6 of them free, and no limits."""
    write(
        tmp_path, "proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 6291456 kB\nHugePages_Total: 0\n"
    )
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    write(tmp_path, "proc/self/cgroup", "")
    return tmp_path


def write(root: Path, name: str, content: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_without_limits_it_is_what_the_machine_has(root: Path) -> None:
    machine = look_around(root=root)
    assert machine.processor == "Some CPU @ 2 GHz"
    assert (machine.memory_bytes, machine.available_bytes) == (8 * GIB, 6 * GIB)
    assert machine.cores == usable_cores(Path("/nowhere")) >= 1


@pytest.mark.parametrize("limits", [{"": "4G"}, {"job": "4G"}, {"job": "5G", "": "4G"}, {"job": "4G", "": "max"}])
def test_the_least_limit_on_the_way_up_counts_in_version_2(root: Path, limits: dict[str, str]) -> None:
    write(root, "proc/self/cgroup", "0::/job\n")
    for folder, limit in limits.items():
        size = limit.replace("5G", str(5 * GIB)).replace("4G", str(4 * GIB))
        write(root, f"sys/fs/cgroup/{folder}/memory.max", f"{size}\n")
    machine = look_around(root=root)
    assert (machine.memory_bytes, machine.available_bytes) == (4 * GIB, 4 * GIB)


def test_in_a_container_the_mount_itself_is_the_group_in_version_1(root: Path) -> None:
    write(root, "proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{3 * GIB}\n")
    assert memory_limit(root) == 3 * GIB


def test_no_limit_in_version_1_is_a_number_larger_than_any_memory(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/\n")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_limit(root) == 8 * GIB


@pytest.mark.parametrize(
    ("groups", "file", "quota"),
    [
        ("0::/job\n", "sys/fs/cgroup/job/cpu.max", "50000 100000\n"),
        ("5:cpu,cpuacct:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
    ],
    ids=["version 2", "version 1"],
)
def test_half_a_core_of_time_is_one_core(root: Path, groups: str, file: str, quota: str) -> None:
    write(root, "proc/self/cgroup", groups)
    write(root, file, quota)
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert usable_cores(root) == 1


@pytest.mark.parametrize("quota", ["max 100000\n", "-1\n"])
def test_no_quota_leaves_all_cores(root: Path, quota: str) -> None:
    write(root, "proc/self/cgroup", "5:cpu:/\n0::/\n")
    write(root, "sys/fs/cgroup/cpu.max", quota)
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert usable_cores(root) == usable_cores(Path("/nowhere"))
