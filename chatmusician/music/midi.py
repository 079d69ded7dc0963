"""ABC to MIDI by abc2midi, the reference converter (repeats, endings, chord symbols as accompaniment, grace notes).

The binary is the one that symusic's wheel carries, so that every machine makes the same bytes of the same tune; an
installed ``abc2midi`` serves only where the wheel has none for the platform. Without symusic being imported, and in
the sandbox: a conversion takes about 30 ms, most of it the start of the child.
"""

import importlib.util
import re
import shutil
import sys
from functools import cache
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.music.sandbox import ToolError, last_line, run_tool
from chatmusician.music.sanitising import sanitise


def package_directory(package: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {package} is not installed in {sys.prefix}; reinstall chatmusician with pip")
    return Path(spec.origin).parent


@cache
def find_abc2midi() -> Path:
    """The abc2midi to run: the one in symusic's wheel, else the one on PATH.

    Raises:
        UserError: there is neither.
    """
    return _find("abc2midi")


@cache
def find_midi2abc() -> Path:
    """The midi2abc to run: the one in symusic's wheel, else the one on PATH.

    Raises:
        UserError: there is neither.
    """
    return _find("midi2abc")


def _find(program: str) -> Path:
    bundled = package_directory("symusic") / "bin" / program
    found = str(bundled) if bundled.is_file() else shutil.which(program)
    if found is None:
        raise UserError(f"no {program} at {bundled} nor on PATH; install the package abcmidi of your system")
    return Path(found)


def abc_to_midi(abc: str) -> bytes:
    """The first tune of ``abc`` as a Standard MIDI File, type 1.

    The text is sanitised first. abc2midi is lenient: it plays what it can read of a faulty tune and complains on its
    standard output, so success says little about the notation (`chatmusician.music.checks` judges that).

    Raises:
        ToolError: abc2midi made no MIDI of it, with its first complaint, or crashed or ran out of its limits.
    """
    text = sanitise(abc).abc.encode()
    result = run_tool([str(find_abc2midi()), "tune.abc", "-o", "tune.mid"], files={"tune.abc": text})
    midi = result.files.get("tune.mid", b"")
    if not midi.startswith(b"MThd"):
        complaint = re.search(rb"^.*\berror\b.*$", result.stdout, re.IGNORECASE | re.MULTILINE)
        reason = last_line(complaint.group() if complaint else result.stdout + b"\n" + result.stderr)
        raise ToolError(f"abc2midi made no MIDI of this tune ({reason}); check that it has X: and K: lines and notes")
    return midi
