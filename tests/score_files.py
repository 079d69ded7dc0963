"""Files of other formats for tests: MusicXML, plain and compressed, and MIDI, written here."""

import io
import zipfile
from collections.abc import Sequence

import mido

TICKS = 480
"""Of a quarter note, in the MIDI files."""


def note(step: str, octave: int, duration: int, *, alter: int = 0, inside: str = "") -> str:
    """A note of MusicXML; ``inside`` goes before its pitch (``<chord/>``) or, if it is a tie, behind its duration."""
    before, after = ("", inside) if inside.startswith("<tie") else (inside, "")
    altered = f"<alter>{alter}</alter>" if alter else ""
    pitch = f"<pitch><step>{step}</step>{altered}<octave>{octave}</octave></pitch>"
    return f"<note>{before}{pitch}<duration>{duration}</duration>{after}</note>"


def rest(duration: int) -> str:
    return f"<note><rest/><duration>{duration}</duration></note>"


def attributes(*, fifths: int = 0, mode: str = "major", beats: str = "4", unit: str = "4", divisions: int = 2) -> str:
    """The attributes of a first measure."""
    mode = f"<mode>{mode}</mode>" if mode else ""
    return (
        f"<attributes><divisions>{divisions}</divisions><key><fifths>{fifths}</fifths>{mode}</key>"
        f"<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time></attributes>"
    )


def musicxml(*parts: Sequence[str], names: Sequence[str] = ()) -> bytes:
    """A score of parts, each a sequence of measures without their tags."""
    names = names or [f"Part {number}" for number in range(1, len(parts) + 1)]
    entries = "".join(
        f'<score-part id="P{number}"><part-name>{name}</part-name></score-part>'
        for number, name in enumerate(names, start=1)
    )
    music = "".join(
        f'<part id="P{number}">'
        + "".join(f'<measure number="{at}">{measure}</measure>' for at, measure in enumerate(measures, start=1))
        + "</part>"
        for number, measures in enumerate(parts, start=1)
    )
    return f'<score-partwise version="4.0"><part-list>{entries}</part-list>{music}</score-partwise>'.encode()


def mxl(content: bytes, *, name: str = "score.xml", container: str | None = None) -> bytes:
    """A compressed score."""
    rootfile = f'<container><rootfiles><rootfile full-path="{name}"/></rootfiles></container>'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", rootfile if container is None else container)
        archive.writestr(name, content)
    return packed.getvalue()


def midi(
    *voices: Sequence[tuple[int, float, float]],
    meters: Sequence[tuple[float, int, int]] = ((0, 4, 4),),
    key: str | None = "C",
    names: Sequence[str] = (),
    channels: Sequence[int] = (),
) -> bytes:
    """A MIDI file of voices: pitches, beginnings and lengths, in quarter notes."""
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    conductor = mido.MidiTrack()
    time = 0
    for start, beats, unit in meters:
        conductor.append(
            mido.MetaMessage("time_signature", numerator=beats, denominator=unit, time=round(start * TICKS) - time)
        )
        time = round(start * TICKS)
    if key is not None:
        conductor.insert(0, mido.MetaMessage("key_signature", key=key, time=0))
    file.tracks.append(conductor)
    for number, voice in enumerate(voices):
        track = mido.MidiTrack()
        track.append(mido.MetaMessage("track_name", name=names[number] if names else "", time=0))
        channel = channels[number] if channels else number
        events = [(round(start * TICKS), 1, pitch) for pitch, start, _ in voice]
        events += [(round((start + length) * TICKS), 0, pitch) for pitch, start, length in voice]
        time = 0
        for at, on, pitch in sorted(events):
            message = mido.Message("note_on", note=pitch, velocity=80 * on, channel=channel, time=at - time)
            track.append(message)
            time = at
        file.tracks.append(track)
    packed = io.BytesIO()
    file.save(file=packed)
    return packed.getvalue()
