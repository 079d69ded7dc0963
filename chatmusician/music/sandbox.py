"""Runs the outside music tools (abc2midi, abcm2ps, verovio, resvg, midirenderer, ...) confined in child processes.

ABC that a model or a visitor wrote can crash a tool, hang it, or make it fill memory and disk; in a child none of that
reaches the training job or the web server. Each run gets an empty directory of its own that is removed afterwards, no
shell, no input, a minimal environment, limits on processor time, memory and file size, and a session of its own that
is killed as a whole when it ends or time is up. Where the system can do it, and Linux can, a run also reaches no
network, starts no process, reads no file but programs, libraries and what it was given, and writes in its own
directory only (`chatmusician.music.children.confinement`); `protections` tells what holds on this machine.

The second of two defences: the first is `chatmusician.music.sanitising`. POSIX only. A run is forked by a process that
has imported the tool already (`chatmusician.music.tool_processes`): of a program that does nothing it takes 8 ms.
"""

import json
import math
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.music.children.warm_parent import REFUSED, Run
from chatmusician.music.tool_processes import ParentEnded, ToolParent, discard, environment, parent_of

TIMEOUT_S = 15.0
"""Wall-clock seconds a tool may take; an ordinary tune takes a tool well under one."""
MEMORY_BYTES = 2 * 1024**3
"""Address space of a tool, not resident memory: libraries and thread stacks count."""
FILE_BYTES = 128 * 1024**2
"""Size of each file a tool may write, and of all together that it may leave behind."""
OUTPUT_BYTES = 64 * 1024
"""How much of standard output, and of standard error, is kept unless more is asked for; the rest is dropped."""
FILES_PRODUCED = 64
"""How many files a tool may leave behind."""


class ToolError(UserError):
    """A music tool crashed, ran out of time or memory, or refused its input; one line, fit to show to a user."""


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What a tool left when it ended by itself."""

    exit_status: int
    stdout: bytes
    """At most ``output_bytes``."""
    stderr: bytes
    """At most ``output_bytes``."""
    files: Mapping[str, bytes]
    """Name to content of the regular files in the tool's directory that it was not given, links and folders aside."""


@dataclass(frozen=True, kw_only=True)
class Protections:
    """What a run is cut off from on this machine, besides the limits on its resources, which hold everywhere."""

    network: bool
    files: bool
    """Those that are neither programs, libraries, fonts nor its own."""
    processes: bool
    """Those that it could start."""


@cache
def protections() -> Protections:
    """Let a child try what it should not be able to do, and tell.

    Raises:
        ToolError: no child can be run here.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.NamedTemporaryFile() as file:
        result = run_child("prober", str(listener.getsockname()[1]), file.name, files={}, name="the prober")
    return Protections(**json.loads(last_line(result.stdout)))


def run_tool(
    argv: Sequence[str],
    *,
    files: Mapping[str, bytes],
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    file_bytes: int = FILE_BYTES,
    output_bytes: int = OUTPUT_BYTES,
) -> ToolResult:
    """Run a program in a fresh directory that holds ``files`` and collect what it writes there.

    ``argv[0]`` is its absolute path; ``files`` has plain file names. ``name`` is what messages call the tool (default:
    the program's file name).

    Raises:
        ToolError: the tool was ended by a signal (a crash, or its limit of processor time or file size), took longer
            than ``timeout_s`` seconds, or left more than `FILES_PRODUCED` files or too large ones.
    """
    limits = _Limits(timeout_s=timeout_s, memory_bytes=memory_bytes, file_bytes=file_bytes, output_bytes=output_bytes)
    folder = str(Path(argv[0]).resolve().parent)
    return _run("", argv, files=files, name=name or Path(argv[0]).name, reads=[folder], limits=limits)


def run_child(
    script: str, *arguments: str, files: Mapping[str, bytes], name: str, reads: Sequence[str] = ()
) -> ToolResult:
    """Run a script of `chatmusician.music.children`, with the default limits, and collect what it writes.

    Args:
        script: the module's name.
        arguments: what its function ``main`` is given.
        files: name to content of what stands in its directory.
        name: what messages call it.
        reads: files and folders besides that it may read, where these are not those of Python and its packages.

    Raises:
        ToolError: as `run_tool`; also when the script refuses its input, or ends in another exception, whose last line
            is quoted.
    """
    result = _run(script, arguments, files=files, name=name, reads=reads, limits=_Limits())
    if result.exit_status == REFUSED:
        raise ToolError(last_line(result.stderr))
    if result.exit_status != 0:
        raise ToolError(f"{name} could not process this tune ({last_line(result.stderr)}); check its notation")
    return result


def last_line(output: bytes, *, characters: int = 200) -> str:
    """The last line of a tool's output that is not blank, cut to a length fit for a message."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:characters] if lines else "it gave no reason"


@dataclass(frozen=True, kw_only=True)
class _Limits:
    timeout_s: float = TIMEOUT_S
    memory_bytes: int = MEMORY_BYTES
    file_bytes: int = FILE_BYTES
    output_bytes: int = OUTPUT_BYTES

    @property
    def cpu_seconds(self) -> int:
        return math.ceil(self.timeout_s)


def _run(
    script: str,
    arguments: Sequence[str],
    *,
    files: Mapping[str, bytes],
    name: str,
    reads: Sequence[str],
    limits: _Limits,
) -> ToolResult:
    for file_name in files:
        if Path(file_name).name != file_name:
            raise ValueError(f"{file_name!r} is not a plain file name")
    try:
        for _ in range(2):
            parent = parent_of(script)
            try:
                return _run_once(parent, arguments, files=files, name=name, reads=reads, limits=limits)
            except ParentEnded:  # since the last run; the next attempt starts another
                discard(script, parent)
    except OSError as error:
        raise ToolError(f"{name} cannot be run here ({error.strerror}); make room in memory and on disk") from error
    raise ToolError(f"the process that runs {name} ends again and again; make room in memory")


def _run_once(
    parent: ToolParent,
    arguments: Sequence[str],
    *,
    files: Mapping[str, bytes],
    name: str,
    reads: Sequence[str],
    limits: _Limits,
) -> ToolResult:
    if not parent.folder.is_dir():
        raise ParentEnded
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=parent.folder))
    try:
        for file_name, content in files.items():
            (directory / file_name).write_bytes(content)
        run = Run(
            arguments=list(arguments),
            directory=str(directory),
            environment=environment(directory),
            reads=list(reads),
            cpu_seconds=limits.cpu_seconds,
            memory_bytes=limits.memory_bytes,
            file_bytes=limits.file_bytes,
        )
        end = parent.run(run, timeout_s=limits.timeout_s, output_bytes=limits.output_bytes)
        if end.exit_status < 0:
            raise ToolError(_describe_signal(-end.exit_status, name=name, limits=limits))
        produced = _collect(directory, given=files, name=name)
    except TimeoutError:
        raise ToolError(f"{name} took longer than {limits.timeout_s:g} s and was stopped; shorten the tune") from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return ToolResult(exit_status=end.exit_status, stdout=end.stdout, stderr=end.stderr, files=produced)


def _describe_signal(number: int, *, name: str, limits: _Limits) -> str:
    if number == signal.SIGXCPU:
        return f"{name} used more than {limits.cpu_seconds} s of processor time and was stopped; shorten the tune"
    if number == signal.SIGXFSZ:
        return f"{name} wrote a file of more than {limits.file_bytes / 2**20:g} MiB and was stopped; shorten the tune"
    signal_name = signal.Signals(number).name
    # What a C++ or Rust program does where memory cannot be had.
    memory = (
        f", perhaps for want of memory beyond {limits.memory_bytes / 2**20:g} MiB" if number == signal.SIGABRT else ""
    )
    return f"{name} crashed on this tune ({signal_name}{memory}); simplify its notation or use another format"


def _collect(directory: Path, *, given: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    sizes = {
        Path(entry): status.st_size
        for entry in os.scandir(directory)
        if entry.name not in given and stat.S_ISREG((status := entry.stat(follow_symlinks=False)).st_mode)
    }
    if len(sizes) > FILES_PRODUCED:
        raise ToolError(f"{name} wrote {len(sizes)} files, more than {FILES_PRODUCED}; give it one tune at a time")
    if (total := sum(sizes.values())) > FILE_BYTES:
        raise ToolError(f"{name} wrote {total / 2**20:.0f} MiB, more than {FILE_BYTES / 2**20:g}; shorten the tune")
    return {path.name: path.read_bytes() for path in sorted(sizes)}
