"""What a child takes away from itself before it runs a tool: time, memory, files, processes, the network.

Flow: ``sandbox`` -> ``warm_parent`` forks -> `confine` -> the tool. Everything is done by the child to itself, between
the fork and the tool, and cannot be undone by it:

=================  =====================================================================  ========================
resource limits    processor time, address space, size of each file, number of open ones  POSIX
Landlock           reads programs and libraries only, writes in its own directory only    Linux 5.13
seccomp            opens no socket and starts no process; a script runs no program        Linux on x86-64, aarch64
network namespace  a network without a way out, where the filter cannot be had            Linux
=================  =====================================================================  ========================

What the system lacks is left out without a word; `chatmusician.music.sandbox.protections` tries what holds. The
numbers are those of the kernel's interface, which are never changed. All of it takes 1.5 ms.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

OPEN_FILES = 256
"""Files that a tool may have open at once."""
SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/bin", "/opt", "/nix", "/gnu", "/etc/ld.so.cache", "/etc/fonts")
"""Where programs, libraries and fonts are, and neither people's files nor the machine's settings."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls, the same on all machines
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights each version of Landlock has; 16 from version 5 on
_OUTSIDE = 0b11  # no abstract socket and no signal to a process outside; from version 6 on

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # of prctl
_ALLOW, _REFUSE, _NO_SUCH_CALL = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in what a filter looks at
_NEW_USERS, _NEW_NETWORK, _THREAD = 0x10000000, 0x40000000, 0x00010000  # flags of clone


class _Machine(NamedTuple):
    """System calls of a kind of machine by their numbers."""

    architecture: int
    refused: tuple[int, ...]
    """socket, ptrace, unshare, setns; fork and vfork where there are such."""
    clone: int
    execute: tuple[int, ...]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, (41, 101, 272, 308, 57, 58), 56, (59, 322)),
    "aarch64": _Machine(0xC00000B7, (198, 117, 97, 268), 220, (221, 281)),
}
_NEWER_CALLS = (425, 435)  # io_uring_setup, clone3: programs do without where the system lacks them


def confine(
    *,
    cpu_seconds: int,
    memory_bytes: int,
    file_bytes: int,
    directory: str,
    reads: Iterable[str],
    may_execute: bool,
) -> None:
    """Lower this process's limits and take away what it does not need.

    Args:
        cpu_seconds: processor time; past it comes SIGXCPU, a second later SIGKILL.
        memory_bytes: address space.
        file_bytes: size of each file written; past it comes SIGXFSZ.
        directory: the one place to write.
        reads: what may be read besides programs and libraries: files, or folders with all in them.
        may_execute: whether this process may become another program, as a tool that is no script must.
    """
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, cpu_seconds, grace=1)
    limit(resource.RLIMIT_FSIZE, file_bytes)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    limit(resource.RLIMIT_AS, memory_bytes)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if not filter_calls(libc, may_execute=may_execute):
            leave_network(libc)
        restrict_files(libc, directory=directory, reads=reads)


def limit(kind: int, most: int, *, grace: int = 0) -> None:
    """Set the soft limit of one resource to ``most`` and the hard one to ``grace`` more; neither is ever raised.

    Past the soft limit of processor time a process gets SIGXCPU, past the hard one SIGKILL, which does not tell why;
    with both the same it may be either.
    """
    hard = resource.getrlimit(kind)[1]
    soft, hard = (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard) for wanted in (most, most + grace))
    resource.setrlimit(kind, (soft, hard))


def filter_calls(libc: ctypes.CDLL, *, may_execute: bool) -> bool:
    """Let the kernel refuse sockets and new processes to this process; False where it cannot."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = b"".join(struct.pack("=HBBI", *step) for step in _filter(machine, may_execute=may_execute))
    steps = ctypes.create_string_buffer(program)
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
    return libc.prctl(_SECCOMP, _FILTER, header, 0, 0) == 0


def _filter(machine: _Machine, *, may_execute: bool) -> Iterator[tuple[int, int, int, int]]:
    """The filter's steps: operation, steps to skip if true, if false, number.

    One that compares is followed by what to answer if it holds, which is skipped if it does not.
    """
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _IF_EQUAL, 1, 0, machine.architecture
    yield _RETURN, 0, 0, _REFUSE  # a call in the manner of another machine, such as 32-bit, has other numbers
    yield _LOAD, 0, 0, _NUMBER
    yield _IF_AT_LEAST, 0, 1, 0x40000000  # x86-64 has its calls a second time from here on
    yield _RETURN, 0, 0, _REFUSE
    for numbers, answer in (
        (machine.refused if may_execute else machine.refused + machine.execute, _REFUSE),
        (_NEWER_CALLS, _NO_SUCH_CALL),
    ):
        for number in numbers:
            yield _IF_EQUAL, 0, 1, number
            yield _RETURN, 0, 0, answer
    yield _IF_EQUAL, 0, 3, machine.clone
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _IF_ANY_BIT, 1, 0, _THREAD
    yield _RETURN, 0, 0, _REFUSE
    yield _RETURN, 0, 0, _ALLOW


def leave_network(libc: ctypes.CDLL) -> bool:
    """Go where there is no network but a loopback that is down; False where the system forbids it.

    The right to do so comes with a namespace of users, which also needs no privilege.
    """
    return libc.unshare(_NEW_USERS | _NEW_NETWORK) == 0


def restrict_files(libc: ctypes.CDLL, *, directory: str, reads: Iterable[str]) -> bool:
    """Leave to this process the files named, and signals to nobody outside; False where the system cannot."""
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    every = (1 << _RIGHTS.get(version, 16)) - 1
    wanted = struct.pack("=QQQ", every, 0, _OUTSIDE)[: 24 if version >= 6 else 8]
    ruleset = libc.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0)
    if ruleset < 0:
        return False
    allowed = [(path, _EXECUTE | _READ_FILE | _READ_DIRECTORY) for path in (*SYSTEM_PATHS, *reads)]
    allowed += [(path, _READ_FILE | _WRITE_FILE | _TRUNCATE) for path in DEVICES]
    for path, rights in (*allowed, (directory, every)):
        _allow(libc, ruleset, path, rights & every)
    return libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this system
        return
    if not os.path.isdir(path):  # noqa: PTH112 -- this module is imported before anything else of a child
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE
    libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
    os.close(descriptor)
