"""Files of tunes: folders searched in depth, and the tunes of files in ABC, MusicXML and MIDI.

Flow: the name of a collection -> `read_collection` -> `TuneFile`s -> `tunes_of` -> the ABC of tunes -> ``folk``, which
checks and lays them out. MusicXML and MIDI become ABC of one voice here (`chatmusician.music.musicxml`,
``midi_melodies``); what cannot is refused with a reason, and so are files of other kinds, so that nothing in a user's
folder goes missing unsaid. Files are untrusted: their sizes are bounded, XML declares no entities, archives are not
believed, and MIDI is read by a program in the sandbox (25 ms a file; MusicXML takes 5 to 15, ABC a fraction of one).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.music.midi_melodies import read_melody as read_midi_melody
from chatmusician.music.musicxml import read_melody as read_musicxml_melody
from chatmusician.music.sanitising import TEXT_CHARACTERS
from chatmusician.music.scores import ConversionError, write_tune
from chatmusician.music.tunes import TuneText, split_tunes

COLLECTIONS = ("ryansMammoth", "oneills1850", "airdsAirs", "miscFolk")
"""The folk tunes that music21 ships: folders of its corpus."""

FILE_BYTES = 64 * 1024**2
"""Size of a file; formats have smaller limits of their own."""

ABC, MUSICXML, MIDI = (".abc",), (".musicxml", ".xml", ".mxl"), (".mid", ".midi")
"""Endings of the formats, in small letters."""


@dataclass(frozen=True, kw_only=True)
class TuneFile:
    """A file of a collection."""

    collection: str
    """As it was asked for."""
    place: str
    """The collection and the file's path in it, for messages."""
    name: str
    """Without its folders."""
    content: bytes
    fault: str = ""
    """Why it has not been read; empty if it has."""


def read_collection(collection: str) -> list[TuneFile]:
    """The files of a collection, in the order of their paths: a folder of music21's corpus, or a folder or file.

    Raises:
        UserError: it is not there, has no file of tunes, or one cannot be read.
    """
    path = Path(collection)
    if not path.exists() and len(path.parts) == 1:
        path = music21_corpus() / collection
    paths = [path] if path.is_file() else sorted(_files(path))
    first_format = _first_formats(paths)
    files = []
    for found in paths:
        place = collection if found == path else f"{collection}/{found.relative_to(path).as_posix()}"
        fault = "" if found == path else _fault(found, first_format)  # a file that is asked for by name is read
        try:
            content = b"" if fault else found.read_bytes()
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror}); use files that can be") from error
        files.append(TuneFile(collection=collection, place=place, name=found.name, content=content, fault=fault))
    if all(file.fault for file in files):
        raise UserError(
            f"no ABC file in the collection {collection!r}, nor MusicXML or MIDI; use a folder of such files or one of "
            f"{', '.join(COLLECTIONS)}"
        )
    return files


def music21_corpus() -> Path:
    """The folder of the corpus in the installed package music21, which is not imported (that takes seconds).

    Raises:
        UserError: it is not installed.
    """
    spec = find_spec("music21")
    if spec is None or spec.origin is None:
        raise UserError("the folk tunes come with music21, which is not installed; run `pip install music21`")
    return Path(spec.origin).parent / "corpus"


def tunes_of(file: TuneFile) -> list[TuneText]:
    """The ABC of the tunes in a file: those of an ABC file as they are, the melody of MusicXML and MIDI converted.

    Raises:
        ConversionError: the file has no tune, or none that can be written in one voice.
    """
    if file.fault:
        raise ConversionError(file.fault)
    suffix = Path(file.name).suffix.lower()
    if suffix in MUSICXML:
        return [TuneText(text=write_tune(read_musicxml_melody(file.content)), source=file.name)]
    if suffix in MIDI:
        return [TuneText(text=write_tune(read_midi_melody(file.content)), source=file.name)]
    tunes = split_tunes(decode(file.content), source=file.name)  # files of other endings too, if asked for by name
    if not tunes:
        raise ConversionError("the file has no tune; one begins at a line X:1")
    return tunes


def too_long(tune: TuneText) -> str:
    """Why a tune's text is too long to be one; empty if it is not."""
    if len(tune.text) <= TEXT_CHARACTERS:
        return ""
    return f"the tune has {len(tune.text)} characters; the most is {TEXT_CHARACTERS}"


def decode(content: bytes) -> str:
    """UTF-8 or UTF-16 where it is, else Latin-1, in which the older transcriptions are."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and in the folders inside it, hidden ones left out."""
    for directory, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".")]
        yield from (Path(directory, name) for name in names if not name.startswith("."))


def _first_formats(paths: Sequence[Path]) -> dict[Path, Path]:
    """Of files that differ in their endings alone the one that says most: ABC, then MusicXML, then MIDI.

    A player exports one tune in several formats; MIDI writes repeats out, so that the melodies would differ.
    """
    formats = (*ABC, *MUSICXML, *MIDI)
    tunes = [path for path in paths if path.suffix.lower() in formats]
    ranked = sorted(tunes, key=lambda path: formats.index(path.suffix.lower()), reverse=True)
    return {path.with_suffix(""): path for path in ranked}


def _fault(path: Path, first_format: Mapping[Path, Path]) -> str:
    """Why a file is not read; empty if it is."""
    if path.suffix.lower() not in (*ABC, *MUSICXML, *MIDI):
        return f"no file of tunes; {', '.join((*ABC, *MUSICXML, *MIDI))} are read"
    if (other := first_format[path.with_suffix("")]) != path:
        return f"by its name {other.name} in another format"
    if path.exists() and not path.is_file():
        return "neither a file nor a folder"
    if path.exists() and (size := path.stat().st_size) > FILE_BYTES:
        return f"the file has {size / 2**20:.0f} MiB, more than {FILE_BYTES / 2**20:g}; split it"
    return ""
