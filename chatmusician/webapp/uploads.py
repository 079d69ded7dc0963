"""A visitor's file as material: the tune in it, and what the task forms ask of a tune.

Flow: bytes of an ABC, MusicXML or MIDI file -> `read_upload` -> `Material` -> the fields of the page. The same code
reads it that makes training data of one's own files (`chatmusician.data.tune_files`), so a melody comes out in the
layout that the model was trained on. Uploads are untrusted: sizes are bounded, MIDI is read in the sandbox.
"""

from dataclasses import dataclass
from pathlib import Path

from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.data.tune_files import ABC, MIDI, MUSICXML, TuneFile, too_long, tunes_of
from chatmusician.errors import UserError
from chatmusician.generation.tune_output import faults
from chatmusician.music.chord_symbols import chord_names
from chatmusician.music.layout import lay_out, write_length
from chatmusician.music.tunes import AbcError, parse_tune

ENDINGS = (*ABC, *MUSICXML, *MIDI)
UPLOAD_BYTES = 2 * 1024**2
"""Size of a file; a symphony in compressed MusicXML has less."""
SHOWN = 40
"""Characters of a file's name that messages quote."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a tune gives to the task forms."""

    abc: str
    """The tune in the layout of training."""
    chords: str
    """Names of its chords, spaces between them; empty if it has none."""
    form: str
    """Its form in letters, ``AABA``."""
    motifs: tuple[str, ...]
    """The motif of each section; none where a section has none."""
    meter: str
    unit_note_length: str
    key: str
    rhythm: str
    """The kind of tune, in small letters; empty where the file does not say."""
    notes: tuple[str, ...]
    """What a visitor should know of the reading, one line each."""


def read_upload(name: str, content: bytes) -> Material:
    """The first tune of a file, by the ending of its name.

    Raises:
        UserError: the file is of another kind, too large, or has no tune of one voice; it begins with the file's name.
    """
    shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}..."
    if Path(name).suffix.lower() not in ENDINGS:
        raise UserError(f"{shown}: the file is none of {', '.join(ENDINGS)}; save the tune as one of these")
    if len(content) > UPLOAD_BYTES:
        size = f"{len(content) / 2**20:.1f} MiB"
        raise UserError(f"{shown}: the file has {size}, more than {UPLOAD_BYTES / 2**20:g}; take one tune out of it")
    try:
        tunes = tunes_of(TuneFile(collection=name, place=shown, name=name, content=content))
        if fault := too_long(tunes[0]):
            raise UserError(fault)
        tune = parse_tune(tunes[0])
        labelled = LabelledTune(lay_out(tune), rhythm=tune.rhythm)
    except AbcError as error:
        raise UserError(f"{shown}, line {error.line}: {error.reason}") from error
    except UserError as error:
        raise UserError(f"{shown}: {error}") from error
    notes = [f"{shown} has {len(tunes)} tunes: the first was taken"] if len(tunes) > 1 else []
    return Material(
        abc=labelled.abc,
        chords=" ".join(chord_names(labelled.tune)),
        form=labelled.letters,
        motifs=labelled.motifs,
        meter=labelled.tune.meter.text,
        unit_note_length=write_length(labelled.tune.unit_note_length),
        key=labelled.key,
        rhythm=" ".join((tune.rhythm or "").lower().split()),
        notes=(*notes, *faults(labelled.abc)),
    )
