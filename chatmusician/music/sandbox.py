"""Runs the outside music tools (abc2midi, abcm2ps, verovio, music21, resvg, midirenderer) confined in child processes.

ABC that a model or a visitor wrote can crash a tool, hang it, or make it fill memory and disk; in a child none of that
reaches the training job or the web server. Each run gets an empty directory of its own that is removed afterwards, no
shell, no input, a minimal environment, a session of its own that is killed as a whole when time is up, and limits on
processor time, memory and file size that the child sets on itself (`chatmusician.music.children.launch` says why so).

It is no jail: a tool may still read what the user may read. That ABC cannot ask for it is the work of
`chatmusician.music.sanitising`. POSIX only (the ``resource`` module). The launcher adds about 20 ms to a run.
"""

import math
import os
import selectors
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatmusician.errors import UserError

TIMEOUT_S = 15.0
"""Wall-clock seconds a tool may take; an ordinary tune takes a tool well under one."""
MEMORY_BYTES = 2 * 1024**3
"""Address space of a tool, not resident memory: libraries and thread stacks count."""
FILE_BYTES = 128 * 1024**2
"""Size of each file a tool may write."""
OUTPUT_BYTES = 64 * 1024
"""How much of standard output, and of standard error, is kept unless more is asked for; the rest is dropped."""
FILES_PRODUCED = 64
"""How many files a tool may leave behind."""

CHILDREN = Path(__file__).parent / "children"
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # a cluster's Python may not start without them


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
    """Run a tool in a fresh directory that holds ``files`` and collect what it writes there.

    ``argv[0]`` is the absolute path of a program; ``files`` has plain file names. ``name`` is what messages call the
    tool (default: the program's file name).

    Raises:
        ToolError: the tool was ended by a signal (a crash, or its limit of processor time or file size), took longer
            than ``timeout_s`` seconds, or left more than `FILES_PRODUCED` files.
    """
    name = name or Path(argv[0]).name
    limits = (math.ceil(timeout_s), memory_bytes, file_bytes)
    launcher = [sys.executable, "-I", "-S", str(CHILDREN / "launch.py"), *map(str, limits)]
    with tempfile.TemporaryDirectory(prefix="chatmusician-") as folder:
        directory = Path(folder)
        for file_name, content in files.items():
            if Path(file_name).name != file_name:
                raise ValueError(f"{file_name!r} is not a plain file name")
            (directory / file_name).write_bytes(content)
        process = subprocess.Popen(
            [*launcher, *argv],
            cwd=directory,
            env=_environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stdout, stderr = _await_end(process, name=name, timeout_s=timeout_s, output_bytes=output_bytes)
        if process.returncode < 0:
            raise ToolError(_describe_signal(-process.returncode, name=name, limits=limits))
        produced = _collect(directory, given=files, name=name)
    return ToolResult(exit_status=process.returncode, stdout=stdout, stderr=stderr, files=produced)


def run_child(script: str, *arguments: str, files: Mapping[str, bytes], name: str) -> ToolResult:
    """Run a script of `chatmusician.music.children` by `run_tool`, with the default limits.

    Raises:
        ToolError: as `run_tool`; also when the script ends in an exception, whose last line is quoted.
    """
    # Isolated (-I) so that neither the user's environment nor our package shadows a tool's modules.
    argv = [sys.executable, "-I", "-B", str(CHILDREN / script), *arguments]
    result = run_tool(argv, files=files, name=name)
    if result.exit_status != 0:
        raise ToolError(f"{name} could not process this tune ({last_line(result.stderr)}); check its notation")
    return result


def last_line(output: bytes, *, characters: int = 200) -> str:
    """The last line of a tool's output that is not blank, cut to a length fit for a message."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:characters] if lines else "it gave no reason"


def _environment(directory: Path) -> dict[str, str]:
    kept = {key: os.environ[key] for key in INHERITED if key in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(directory), "TMPDIR": str(directory), **kept}


def _await_end(
    process: subprocess.Popen[bytes], *, name: str, timeout_s: float, output_bytes: int
) -> tuple[bytes, bytes]:
    """Standard output and error, bounded, once the process has ended; whatever goes wrong, its session is killed."""
    deadline = time.monotonic() + timeout_s
    try:
        output = _read_output(process, deadline=deadline, output_bytes=output_bytes)
        process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise ToolError(f"{name} took longer than {timeout_s:g} s and was stopped; shorten the tune") from None
    finally:
        if process.returncode is None:  # not yet reaped, so its id, its group's too, is still its own
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    return output


def _read_output(process: subprocess.Popen[bytes], *, deadline: float, output_bytes: int) -> tuple[bytes, bytes]:
    """Read both streams to their ends, keeping ``output_bytes`` of each; TimeoutError past the deadline.

    Not ``communicate``: it keeps everything, and a tool may print without end.
    """
    assert process.stdout is not None and process.stderr is not None
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for descriptor in kept:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            for key, _ in selector.select(remaining_s):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fd)
                kept[key.fd] += chunk[: output_bytes - len(kept[key.fd])]
    stdout, stderr = kept.values()
    return bytes(stdout), bytes(stderr)


def _describe_signal(number: int, *, name: str, limits: tuple[int, int, int]) -> str:
    cpu_seconds, memory_bytes, file_bytes = limits
    if number == signal.SIGXCPU:
        return f"{name} used more than {cpu_seconds} s of processor time and was stopped; shorten the tune"
    if number == signal.SIGXFSZ:
        return f"{name} wrote a file of more than {file_bytes / 2**20:g} MiB and was stopped; shorten the tune"
    signal_name = signal.Signals(number).name
    # What a C++ or Rust program does where memory cannot be had.
    memory = f", perhaps for want of memory beyond {memory_bytes / 2**20:g} MiB" if number == signal.SIGABRT else ""
    return f"{name} crashed on this tune ({signal_name}{memory}); simplify its notation or use another format"


def _collect(directory: Path, *, given: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    produced = sorted(
        Path(entry)
        for entry in os.scandir(directory)
        if entry.name not in given and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
    )
    if len(produced) > FILES_PRODUCED:
        raise ToolError(f"{name} wrote {len(produced)} files, more than {FILES_PRODUCED}; give it one tune at a time")
    return {path.name: path.read_bytes() for path in produced}
