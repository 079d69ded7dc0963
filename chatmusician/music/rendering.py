"""One tune to files: the ABC itself, its score as SVG, PNG, PDF and MusicXML, its sound as MIDI and WAV.

The end of the flow for generated music: ``chatmusician.generate``, the model card's picture, the report's gallery and
the web demo call `render`. A format that cannot be made becomes a line in `Rendering.problems` and does not stop the
others. What does not need another's result is made side by side.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.music.audio import midi_to_wav
from chatmusician.music.engraving import Drawing, Engraving, engrave, rasterise, write_pdf
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.notation.writing import notate
from chatmusician.music.sandbox import ToolError
from chatmusician.music.sanitising import sanitise

FORMATS = ("svg", "png", "pdf", "musicxml", "mid", "wav")
"""What can be rendered, and the files' suffixes."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The files of one tune."""

    paths: Mapping[str, Path]
    """Suffix to file, ``abc`` first, then the formats that could be made, in the order asked for."""
    problems: tuple[str, ...]
    """What was taken out of the tune, is missing in a picture, or could not be made: one line each."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The formats of one tune, not yet files."""

    contents: Mapping[str, bytes]
    """Suffix to bytes, of the formats that could be made, in the order asked for."""
    problems: tuple[str, ...]
    """As in `Rendering`."""


def render(abc: str, directory: Path | str, *, stem: str = "tune", formats: Sequence[str] = FORMATS) -> Rendering:
    """Write ``directory/stem.abc`` (the text as given) and a file of each format (of the text sanitised).

    Files are replaced whole or not at all. The directory is made where it is missing.

    Raises:
        UserError: a format is unknown, ``stem`` is not a plain file name, or a file cannot be written.
    """
    if not stem or Path(stem).name != stem:
        raise UserError(f"the stem {stem!r} is not a plain file name; give the folder as the directory")
    _check(formats)
    # A lone surrogate, which a tokenizer may yield, has no UTF-8.
    paths = {"abc": _write(Path(directory) / f"{stem}.abc", abc.encode("utf-8", "replace"))}
    rendered = render_bytes(abc, formats=formats)
    for suffix, content in rendered.contents.items():
        paths[suffix] = _write(Path(directory) / f"{stem}.{suffix}", content)
    return Rendering(paths=paths, problems=rendered.problems)


def render_bytes(abc: str, *, formats: Sequence[str] = FORMATS) -> Rendered:
    """Each format of the first tune of a text, sanitised first.

    Raises:
        UserError: a format is unknown.
    """
    _check(formats)
    sanitised = sanitise(abc)
    problems = [f"taken out, {what}" for what in sanitised.removed]
    contents: dict[str, bytes] = {}
    faults: dict[str, list[str]] = {}  # by reason: the formats that could not be made for it
    wanted = frozenset(formats)
    with ThreadPoolExecutor(max_workers=len(FORMATS) + 2) as pool:  # threads that wait, most for child processes
        score: Future[Engraving] = Future()
        sound: Future[bytes] = Future()
        if wanted & {"svg", "png", "pdf"}:
            picture, paper = bool(wanted & {"svg", "png"}), "pdf" in wanted
            score = pool.submit(engrave, sanitised.abc, picture=picture, paper=paper)
        if wanted & {"mid", "wav"}:
            sound = pool.submit(abc_to_midi, sanitised.abc)
        makers: dict[str, Callable[[], Drawing]] = {
            "svg": lambda: Drawing(content=score.result().svg.encode(), notes=_notes(score.result().notes)),
            "png": lambda: _png(score.result()),
            "pdf": lambda: _pdf(score.result()),
            "musicxml": lambda: _musicxml(sanitised.abc),
            "mid": lambda: Drawing(content=sound.result(), notes=()),
            "wav": lambda: Drawing(content=midi_to_wav(sound.result()), notes=()),
        }
        making = {suffix: pool.submit(makers[suffix]) for suffix in dict.fromkeys(formats)}
    for suffix, made in making.items():
        try:
            drawing = made.result()
        except UserError as error:
            faults.setdefault(str(error), []).append(suffix)
        else:
            contents[suffix] = drawing.content
            problems += drawing.notes
    problems += [f"{_listed(suffixes)}: {reason}" for reason, suffixes in faults.items()]
    return Rendered(contents=contents, problems=tuple(dict.fromkeys(problems)))


def _check(formats: Sequence[str]) -> None:
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(f"unknown format {unknown[0]!r}; choose from {', '.join(FORMATS)}")


def _listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _notes(notes: Sequence[str], *, about: str = "score") -> tuple[str, ...]:
    return tuple(f"{about}: {note}" for note in notes)


def _png(engraving: Engraving) -> Drawing:
    drawing = rasterise(engraving.svg)
    return Drawing(content=drawing.content, notes=_notes(engraving.notes) + _notes(drawing.notes, about="png"))


def _pdf(engraving: Engraving) -> Drawing:
    if not engraving.pages:
        raise ToolError(engraving.pages_fault)
    drawing = write_pdf(engraving.pages, title=engraving.title)
    return Drawing(content=drawing.content, notes=_notes(engraving.notes) + _notes(drawing.notes, about="pdf"))


def _musicxml(abc: str) -> Drawing:
    notated = notate(abc)
    return Drawing(content=notated.content, notes=_notes(notated.score.notes))


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
