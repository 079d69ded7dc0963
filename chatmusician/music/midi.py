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

_COMPLAINT = re.compile(r"^Error in line-char (\d+)-\d+ : (.*\S)", re.MULTILINE)


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
    text = sanitise(abc).abc
    argv = [str(find_abc2midi()), "tune.abc", "-o", "tune.mid"]
    result = run_tool(argv, files={"tune.abc": text.encode()}, name="the MIDI converter (abc2midi)")
    midi = result.files.get("tune.mid", b"")
    if not midi.startswith(b"MThd"):
        raise ToolError(_why_none(text, result.stdout + b"\n" + result.stderr))
    if fault := midi_fault(midi):
        remedy = "write lengths by halves, as C/2 or C/4, and notes nearer to the staff"
        raise ToolError(f"abc2midi made a broken MIDI file of this tune ({fault}); {remedy}")
    return midi


def _why_none(text: str, output: bytes) -> str:
    """Why there is no MIDI of a text, from what abc2midi printed."""
    for field, example in (("X:", "X:1 first of all"), ("K:", "one such as K:C before the music")):
        if re.search(f"^{field}", text, re.MULTILINE) is None:
            return f"the tune has no {field} line; write {example}"
    complaint = _COMPLAINT.search(output.decode("utf-8", "replace"))
    if complaint is None:
        return f"abc2midi made no MIDI of this tune ({last_line(output)}); check its notation"
    if complaint[2].startswith("No valid K:"):
        return "the tune has no valid K: line at the end of its header; write one such as K:C before the music"
    line = (text.split("\n")[int(complaint[1]) - 1 :] or [""])[0]
    return f"abc2midi cannot read {line[:60]!r} ({complaint[2]}); mend that line"


def midi_fault(midi: bytes) -> str:
    """What is wrong with a Standard MIDI File where abc2midi is known to go wrong; empty if nothing is.

    It writes numbers above 127 for notes that are too high or too low.
    """
    place = 14
    while place < len(midi):
        name, length = midi[place : place + 4], int.from_bytes(midi[place + 4 : place + 8])
        track = midi[place + 8 : place + 8 + length]
        if name != b"MTrk" or len(track) < length:
            return f"no whole track at byte {place}"
        if fault := _track_fault(track):
            return fault
        place += 8 + length
    return ""


def _track_fault(track: bytes) -> str:
    """What is wrong with the events of a track."""
    place, status = 0, 0
    try:
        while place < len(track):
            _, place = _variable(track, place)  # the time since the event before
            if track[place] & 0x80:
                status = track[place]
                place += 1
            if status in (0xFF, 0xF0, 0xF7):  # a text or the like, with its length
                length, place = _variable(track, place + (status == 0xFF))
                place += length
                continue
            data = track[place : place + (1 if status & 0xE0 == 0xC0 else 2)]
            if max(data) > 127:
                return f"the number {max(data)} where 127 is the most"
            place += len(data)
    except (IndexError, ValueError):
        return "a track ends inside an event"
    return ""


def _variable(track: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the last below 128, and where it ends."""
    value = 0
    while track[place] & 0x80:
        value = value << 7 | track[place] & 0x7F
        place += 1
    return value << 7 | track[place], place + 1
