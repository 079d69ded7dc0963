"""One tune to files: the ABC itself, its score as SVG and PNG, its sound as MIDI and WAV.

The end of the flow for generated music: ``chatmusician.generate``, the sample callback and the web demo call `render`.
A format that cannot be made becomes a line in `Rendering.problems` and does not stop the others.
"""

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.music.audio import midi_to_wav
from chatmusician.music.engraving import engrave_svg, rasterise
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.sanitising import sanitise

FORMATS = ("svg", "png", "mid", "wav")
"""What can be rendered, and the files' suffixes."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The files of one tune."""

    paths: Mapping[str, Path]
    """Suffix to file, ``abc`` first, then the formats that could be made, in the order asked for."""
    problems: tuple[str, ...]
    """What was taken out of the tune, is missing in a picture, or could not be made: one line each."""


def render(abc: str, directory: Path | str, *, stem: str = "tune", formats: Sequence[str] = FORMATS) -> Rendering:
    """Write ``directory/stem.abc`` (the text as given) and a file of each format (of the text sanitised).

    Files are replaced whole or not at all. The directory is made where it is missing.

    Raises:
        UserError: a format is unknown, ``stem`` is not a plain file name, or a file cannot be written.
    """
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(f"unknown format {unknown[0]!r}; choose from {', '.join(FORMATS)}")
    if not stem or Path(stem).name != stem:
        raise UserError(f"the stem {stem!r} is not a plain file name; give the folder as the directory")
    sanitised = sanitise(abc)
    problems = [f"taken out, {what}" for what in sanitised.removed]
    # A lone surrogate, which a tokenizer may yield, has no UTF-8.
    paths = {"abc": _write(Path(directory) / f"{stem}.abc", abc.encode("utf-8", "replace"))}
    # Side by side: each waits in a thread of its own for the child processes that do the work.
    with ThreadPoolExecutor(max_workers=2) as pool:
        chains = [pool.submit(make, sanitised.abc, frozenset(formats)) for make in (_make_score, _make_sound)]
    contents: dict[str, bytes] = {}
    for chain in chains:
        made, troubles = chain.result()
        contents |= made
        problems += troubles
    for suffix in formats:
        if suffix in contents:
            paths[suffix] = _write(Path(directory) / f"{stem}.{suffix}", contents[suffix])
    return Rendering(paths=paths, problems=tuple(problems))


def _make_score(abc: str, formats: frozenset[str]) -> tuple[dict[str, bytes], list[str]]:
    """Of SVG and PNG those asked for, and what went wrong."""
    contents: dict[str, bytes] = {}
    wanted = [suffix for suffix in ("svg", "png") if suffix in formats]
    if not wanted:
        return contents, []
    try:
        engraving = engrave_svg(abc)
    except UserError as error:
        return contents, [f"{' and '.join(wanted)}: {error}"]
    problems = [f"score: {note}" for note in engraving.notes]
    if "svg" in formats:
        contents["svg"] = engraving.svg.encode()
    if "png" in formats:
        try:
            raster = rasterise(engraving.svg)
        except UserError as error:
            problems.append(f"png: {error}")
        else:
            contents["png"] = raster.png
            problems += [f"png: {note}" for note in raster.notes]
    return contents, problems


def _make_sound(abc: str, formats: frozenset[str]) -> tuple[dict[str, bytes], list[str]]:
    """Of MIDI and WAV those asked for, and what went wrong."""
    contents: dict[str, bytes] = {}
    wanted = [suffix for suffix in ("mid", "wav") if suffix in formats]
    if not wanted:
        return contents, []
    try:
        midi = abc_to_midi(abc)
    except UserError as error:
        return contents, [f"{' and '.join(wanted)}: {error}"]
    if "mid" in formats:
        contents["mid"] = midi
    if "wav" in formats:
        try:
            contents["wav"] = midi_to_wav(midi)
        except UserError as error:
            return contents, [f"wav: {error}"]
    return contents, []


def _write(path: Path, content: bytes) -> Path:
    """Put a file in its place at once, by way of a hidden name beside it, and give its path."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); choose a directory you can write to") from error
    return path
