"""What is in a MIDI file: its voices with their notes, its meters and keys.

Flow: bytes of a file -> midi2abc in the sandbox -> its listing of events -> `read_midi` -> ``midi_melodies``.

midi2abc is asked for the events and not for ABC. Its ABC of 300 folk tunes that abc2midi had played has the right
pitches in 289, but it knows neither pickup nor mode: where a tune begins with a pickup, as three of four do, all its
bar lines are in the wrong place. As a reader of files from strangers it serves well: what is broken is said on its
standard error, and a crash is a message. A file takes about 25 ms, most of it the start of the child.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from chatmusician.music.midi import find_midi2abc
from chatmusician.music.sandbox import ToolError, last_line, run_tool
from chatmusician.music.scores import ConversionError

MIDI_BYTES = 1024**2
"""Size of a file; a melody of 1,000 notes has about 10 KB."""
LISTING_BYTES = 8 * 1024**2
"""Size of midi2abc's listing, which has about 70 bytes for each note."""

DRUMS = 10
"""The channel of percussion, counted from 1."""

_HEADER = re.compile(r"Header format=\d+ ntrks=\d+ division=(\d+)")
_TRACK = re.compile(r"Track (\d+) contains")
_NAME = re.compile(r"\s*\d+  Metatext \(Seqnce/Track Name\) (.*)")
_METER = re.compile(r"\s*(\d+)  Metatext time signature=(\d+)/(\d+)")
_KEY = re.compile(r"\s*(\d+)  Metatext key signature .*\((-?\d+)/(\d+)\)$")
_NOTE = re.compile(r"\s*(\d+)  Note (on|off)\s+(\d+) (\d+) .*?(\d+)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlayedNote:
    """A note of a MIDI file. Times are in quarter notes from the beginning."""

    start: Fraction
    end: Fraction
    pitch: int
    velocity: int
    """How hard it is struck, 1 to 127."""


@dataclass(frozen=True, kw_only=True)
class PlayedVoice:
    """The notes of one channel of one track, by their beginnings."""

    name: str
    """That of the track; often empty."""
    notes: tuple[PlayedNote, ...]


@dataclass(frozen=True, kw_only=True)
class MidiContent:
    """A MIDI file without its percussion. Times are in quarter notes from the beginning."""

    voices: tuple[PlayedVoice, ...]
    """Those that have notes."""
    meters: tuple[tuple[Fraction, int, int], ...]
    """When a meter begins, and its numbers, such as 6 and 8; one that repeats the last is left out."""
    keys: tuple[tuple[int, bool], ...]
    """Sharps (flats, if negative) and whether minor, in their order."""


def read_midi(content: bytes) -> MidiContent:
    """The content of a Standard MIDI File.

    Raises:
        ConversionError: the file is too large, broken, or counts its time in seconds.
    """
    if len(content) > MIDI_BYTES:
        raise ConversionError(f"the file has more than {MIDI_BYTES / 2**20:g} MiB; split it into tunes")
    try:
        program = [str(find_midi2abc()), "tune.mid", "-mftextpulses"]
        result = run_tool(program, files={"tune.mid": content}, output_bytes=LISTING_BYTES)
    except ToolError as error:
        raise ConversionError(str(error)) from error
    if len(result.stdout) >= LISTING_BYTES:
        raise ConversionError("it has too many events for a tune; export the melody alone")
    if result.stderr.strip() or not result.stdout.strip():
        raise ConversionError(f"midi2abc cannot read it ({last_line(result.stderr)}); export it again")
    return _Listing(result.stdout.decode("utf-8", "replace").splitlines()).content()


@dataclass(slots=True)
class _Track:
    """The notes of a track so far."""

    name: str = ""
    notes: dict[int, list[PlayedNote]] = field(default_factory=dict)
    """By channel."""
    sounding: dict[tuple[int, int], tuple[Fraction, int]] = field(default_factory=dict)
    """Channel and pitch of the notes that have not ended, with their beginnings and velocities."""


class _Listing:
    """Reads midi2abc's listing line by line."""

    def __init__(self, lines: Sequence[str]) -> None:
        header = next((match for line in lines if (match := _HEADER.match(line))), None)
        if header is None:
            raise ConversionError("midi2abc finds no header in it; export it again")
        self._ticks = int(header[1])
        if not 0 < self._ticks < 0x8000:
            raise ConversionError("it counts its time in seconds and not in beats; export it again")
        self._tracks: list[_Track] = []
        self._meters: list[tuple[Fraction, int, int]] = []
        self._keys: list[tuple[int, bool]] = []
        for line in lines:
            self._read(line)

    def content(self) -> MidiContent:
        """What has been read."""
        voices = [
            PlayedVoice(name=track.name, notes=tuple(sorted(notes, key=lambda note: (note.start, note.pitch))))
            for track in self._tracks
            for channel, notes in sorted(track.notes.items())
            if channel != DRUMS
        ]
        meters = sorted(self._meters, key=lambda meter: meter[0])
        return MidiContent(voices=tuple(voices), meters=tuple(_unrepeated(meters)), keys=tuple(self._keys))

    def _read(self, line: str) -> None:
        if match := _NOTE.match(line):
            velocity = int(match[5]) if match[2] == "on" else 0
            self._note(self._time(match[1]), int(match[3]), int(match[4]), velocity=velocity)
        elif _TRACK.match(line):
            self._tracks.append(_Track())
        elif (match := _NAME.match(line)) and self._tracks:
            self._tracks[-1].name = self._tracks[-1].name or match[1].strip()
        elif match := _METER.match(line):
            self._meters.append((self._time(match[1]), int(match[2]), int(match[3])))
        elif match := _KEY.match(line):
            self._keys.append((int(match[2]), match[3] == "1"))

    def _time(self, ticks: str) -> Fraction:
        return Fraction(int(ticks), self._ticks)

    def _note(self, time: Fraction, channel: int, pitch: int, *, velocity: int) -> None:
        """Begin a note, or with a velocity of 0 end it. A note that sounds already ends where it begins again."""
        if not self._tracks:
            return
        track = self._tracks[-1]
        start, struck = track.sounding.pop((channel, pitch), (time, 0))
        if start < time:
            played = PlayedNote(start=start, end=time, pitch=pitch, velocity=struck)
            track.notes.setdefault(channel, []).append(played)
        if velocity:
            track.sounding[channel, pitch] = time, velocity


def _unrepeated(meters: Iterable[tuple[Fraction, int, int]]) -> Iterator[tuple[Fraction, int, int]]:
    """Meters in their order without those that are in force already."""
    last: tuple[int, int] | None = None
    for start, beats, unit in meters:
        if (beats, unit) != last:
            yield start, beats, unit
        last = (beats, unit)
