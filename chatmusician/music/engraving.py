"""A tune to pictures of its score: one of the whole, and pages of A4 for print.

    abcm2ps, where it is on PATH     the picture; it knows most of ABC, and it is quick
    else verovio                     the picture, from the MusicXML of `chatmusician.music.notation`; always the pages

Where one fails the other is tried, and `Engraving.notes` says so: nothing falls back in silence. The default
installation has no abcm2ps and needs no system library: PNG is drawn by resvg with the fonts in matplotlib, PDF by
typst with the same. Each tool runs in the sandbox. verovio's own reader of ABC is not used: it crashes on real tunes
and loses endings, changes of key and voices without a word.
"""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.music.midi import package_directory
from chatmusician.music.notation.reading import first_tune
from chatmusician.music.notation.score import Event, KeyChange, Measure, Score
from chatmusician.music.notation.writing import notate
from chatmusician.music.sandbox import OUTPUT_BYTES, ToolError, last_line, run_child, run_tool
from chatmusician.music.sanitising import sanitise
from chatmusician.music.tunes import Meter

PNG_ZOOM = 2.0
"""PNG pixels a CSS pixel of the SVG: a score 840 wide becomes 1680 wide."""


@dataclass(frozen=True, kw_only=True)
class Engraving:
    """A score as SVG: one picture, pages, or both."""

    svg: str
    """The picture; empty if none was asked for."""
    pages: tuple[str, ...]
    """Sheets of A4, 210 mm by 297 mm; none if none were asked for, or by `pages_fault`."""
    pages_fault: str = ""
    """Why pages that were asked for could not be made where the picture could."""
    title: str = ""
    engraver: str
    """Of the picture, or of the pages where there is no picture: ``abcm2ps`` or ``verovio``."""
    notes: tuple[str, ...]
    """What is not as it should be, one line each."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A score as the bytes of a PNG or PDF file."""

    content: bytes
    notes: tuple[str, ...]
    """What it lacks, one line each."""


def engrave(abc: str, *, picture: bool = True, paper: bool = False) -> Engraving:
    """Engrave the first tune of ``abc``, sanitised first.

    Raises:
        UserError: there is no tune in it, or no engraver could draw it, with what each had to say.
    """
    text = first_tune(sanitise(abc).abc)
    notes: list[str] = []
    svg = ""
    if picture and shutil.which("abcm2ps"):
        try:
            svg = _by_abcm2ps(text)
        except ToolError as error:
            notes.append(str(error))
    if svg and not paper:
        return Engraving(svg=svg, pages=(), engraver="abcm2ps", notes=())
    try:
        drawn = _by_verovio(text, picture=picture and not svg, paper=paper)
    except UserError as error:
        if not svg:
            raise ToolError("; ".join([*notes, str(error)])) from error
        return Engraving(svg=svg, pages=(), pages_fault=str(error), engraver="abcm2ps", notes=())
    if svg:
        return replace(drawn, svg=svg, engraver="abcm2ps")
    return replace(drawn, notes=(*notes, *drawn.notes))


def _by_abcm2ps(abc: str) -> str:
    # By its path: the child's own PATH holds the system's folders only.
    argv = [str(Path(str(shutil.which("abcm2ps"))).absolute()), "-q", "-g", "-O", "score", "tune.abc"]
    result = run_tool(argv, files={"tune.abc": abc.encode()})
    pictures = [content for name, content in sorted(result.files.items()) if name.endswith(".svg")]
    if not pictures:
        raise ToolError(f"abcm2ps drew nothing ({last_line(result.stderr)}); check the notation")
    return re.sub(r"<!--.*?-->\n?", "", pictures[0].decode(errors="replace"))  # they hold the date and the bare title


def _by_verovio(abc: str, *, picture: bool, paper: bool) -> Engraving:
    notated = notate(abc)
    heading = {"titles": notated.score.titles, "composer": notated.score.composer}
    wanted = ["picture"] * picture + ["paper"] * paper
    files = {"tune.musicxml": notated.content, "heading.json": json.dumps(heading).encode()}
    result = run_child("verovio_engraver", *wanted, files=files, name="the engraver (verovio)")
    report = json.loads(last_line(result.stdout))
    notes = [*notated.score.notes, *misplaced(notated.score)]
    if report["sheets"] > 1:
        notes.append(f"the picture shows the first of {report['sheets']} parts; the PDF has all, or split the tune")
    pages = tuple(content.decode() for name, content in sorted(result.files.items()) if name.startswith("page-"))
    if len(pages) < report["pages"]:
        notes.append(f"the PDF has the first {len(pages)} of {report['pages']} pages; split the tune to see the rest")
    svg = result.files.get("score.svg", b"").decode()
    title = next(iter(notated.score.titles), "")
    return Engraving(svg=svg, pages=pages, title=title, engraver="verovio", notes=tuple(notes))


def misplaced(score: Score) -> list[str]:
    """What verovio draws in another place: it takes changes of key and meter from the first part, and before a bar."""
    first = score.parts[0].measures
    notes = []
    if any(isinstance(item, KeyChange | Meter) for measure in first for item in _inside(measure)):
        notes.append("a change of key or meter inside a bar is drawn at its start")
    others = [zip(first, part.measures, strict=True) for part in score.parts[1:]]
    if any(change not in _changes(ours) for part in others for ours, theirs in part for change in _changes(theirs)):
        notes.append("a change of key or meter that is not in the first voice is not drawn")
    return notes


def _changes(measure: Measure) -> list[KeyChange | Meter]:
    return [item for layer in measure.layers for item in layer if isinstance(item, KeyChange | Meter)]


def _inside(measure: Measure) -> list[object]:
    """What comes after the first note or rest of a layer."""
    return [item for layer in measure.layers for item in dropwhile(lambda item: not isinstance(item, Event), layer)]


def rasterise(svg: str) -> Drawing:
    """The SVG as PNG, on white at `PNG_ZOOM`, with the STIX and DejaVu fonts that matplotlib ships: alike everywhere.

    Only a text with characters that they lack, such as Chinese, is drawn again with the system's fonts beside them.

    Raises:
        ToolError: it is no SVG, or needs more than the sandbox allows.
    """
    missing: list[str] = []
    fonts = str(bundled_fonts())
    for which in ("bundled", "system"):
        files = {"score.svg": svg.encode()}
        result = run_child(
            "svg_rasteriser", fonts, str(PNG_ZOOM), which, files=files, name="the PNG writer (resvg)", reads=[fonts]
        )
        missing = re.findall(r"No fonts with a (\S+)/U\+", result.stdout.decode("utf-8", "replace"))
        if not missing:
            break
    return Drawing(content=result.files["score.png"], notes=_lacking("PNG", missing))


def write_pdf(pages: Sequence[str], *, title: str) -> Drawing:
    """Pages of A4, as `engrave` makes them, as one PDF that can be searched, with the fonts of `rasterise`.

    Raises:
        ToolError: a page is no SVG, or they need more than the sandbox allows.
    """
    fonts = str(bundled_fonts())
    files = {f"page-{number:03d}.svg": page.encode() for number, page in enumerate(pages, start=1)}
    result = run_child("pdf_writer", fonts, title, files=files, name="the PDF writer (typst)", reads=[fonts])
    missing = json.loads(last_line(result.stdout, characters=OUTPUT_BYTES))
    return Drawing(content=result.files["score.pdf"], notes=_lacking("PDF", missing))


def bundled_fonts() -> Path:
    """The folder of the fonts that matplotlib ships."""
    return package_directory("matplotlib") / "mpl-data" / "fonts" / "ttf"


def _lacking(kind: str, missing: Iterable[str]) -> tuple[str, ...]:
    characters = "".join(sorted(set(missing)))
    return (f"the {kind} lacks the characters {characters!r}; install a font that has them",) if characters else ()
