"""ABC to a picture of the score, SVG or PNG, by the best engraver the machine has.

    abcm2ps, where it is on PATH                    endings, parts, voices, line breaks: all of ABC
    else verovio on ABC                             one voice in one key; 0.2 s
    else music21 to MusicXML, verovio on that       several voices, changes of key; 1 to 1.5 s

A tune that one way cannot read goes the next, and `Engraving.notes` says so: nothing falls back in silence. The default
installation has no abcm2ps and needs no system library: PNG is drawn by resvg with the fonts in matplotlib.
Each tool runs in the sandbox, since verovio's ABC reader can crash the process on real tunes.
"""

import json
import re
import shutil
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from chatmusician.music.children.verovio_engraver import ENDING_MARK
from chatmusician.music.midi import package_directory
from chatmusician.music.sandbox import ToolError, last_line, run_child, run_tool
from chatmusician.music.sanitising import sanitise

PNG_ZOOM = 2.0
"""PNG pixels a CSS pixel of the SVG: a score 840 wide becomes 1680 wide."""

FIELD = re.compile(r"(?![A-Ga-gxz]:[|:])([A-Za-z+]):\s*([^%]*)")  # "G:|" is music
ENDING_START = re.compile(r"(?:(?<=\|)|\[)(\d+(?:[,-]\d+)*)")
QUOTED_OR_COMMENT = re.compile(r'("[^"]*"|%.*)')
FIRST_TUNE = re.compile(r"^X:.*?(?=\n[ \t]*\n|\nX:|\Z)", re.MULTILINE | re.DOTALL)
"""From ``X:`` to an empty line (ABC 2.1, section 2.2.2): abc2midi stops there too."""
VOICE = re.compile(r"^V:[ \t]*(\S+)(.*)$", re.MULTILINE)
NOTE = re.compile(r"[_^=]*[A-Ga-g][,']*")
CHORD_LENGTH = re.compile(r"\[([^\]\d/:]*)\](\d+(?:/\d*)?|/+\d*)")
BEYOND_VEROVIO = re.compile(r"\(\d:|\[[A-Ga-g_^=,']*[\d/][^\]:|]*\][\d/]")
"""A tuplet with its parts spelt out, ``(3:2:2``, or a chord with lengths both inside and after it."""
INLINE_FIELD = re.compile(r"\[([KLMQV]):([^\]]*)\]")


@dataclass(frozen=True, kw_only=True)
class Engraving:
    """A score as one SVG image."""

    svg: str
    engraver: str
    """``abcm2ps``, ``verovio``, or ``music21 and verovio``."""
    notes: tuple[str, ...]
    """What the picture lacks or how it was come by, one line each; empty when all went as it should."""


@dataclass(frozen=True, kw_only=True)
class Raster:
    """A score as a PNG image."""

    png: bytes
    notes: tuple[str, ...]
    """What the picture lacks, one line each."""


def engrave_svg(abc: str) -> Engraving:
    """Engrave the first tune of ``abc``, sanitised first, as one image as high as it needs to be.

    Raises:
        ToolError: no engraver could make a picture of it, with what each had to say.
    """
    text = sanitise(abc).abc
    if tune := FIRST_TUNE.search(text):
        text = tune.group() + "\n"
    ways = [_by_verovio, _by_music21]
    if cause := needs_music21(text):
        ways.reverse()
    if shutil.which("abcm2ps"):
        ways.insert(0, _by_abcm2ps)
    failures: list[str] = []
    for way in ways:
        try:
            engraving = way(text)
        except ToolError as error:
            failures.append(str(error))
            continue
        if way is _by_verovio and cause:
            failures.append(f"verovio does not set {cause} rightly; do not trust that part of the picture")
        return Engraving(svg=engraving.svg, engraver=engraving.engraver, notes=(*failures, *engraving.notes))
    raise ToolError("; ".join(failures))


def svg_to_png(svg: str) -> bytes:
    """The PNG of `rasterise`, for those who need not know what it lacks."""
    return rasterise(svg).png


def rasterise(svg: str) -> Raster:
    """The SVG drawn on white at `PNG_ZOOM` with the STIX and DejaVu fonts that matplotlib ships: the same everywhere.

    Only a text with characters that they lack, such as Chinese, is drawn again with the system's fonts beside them.

    Raises:
        ToolError: it is no SVG, or needs more than the sandbox allows.
    """
    missing: list[str] = []
    for which in ("bundled", "system"):
        arguments = [str(package_directory("matplotlib") / "mpl-data" / "fonts" / "ttf"), str(PNG_ZOOM), which]
        files = {"score.svg": svg.encode()}
        result = run_child("svg_rasteriser", *arguments, files=files, name="resvg")
        missing = re.findall(r"No fonts with a (\S+)/U\+", result.stdout.decode("utf-8", "replace"))
        if not missing:
            break
    characters = "".join(sorted(set(missing)))
    notes = (f"the PNG lacks the characters {characters!r}; install a font that has them",) if missing else ()
    return Raster(png=result.files["score.png"], notes=notes)


def _by_abcm2ps(abc: str) -> Engraving:
    # By its path: the child's own PATH holds the system's folders only.
    argv = [str(Path(str(shutil.which("abcm2ps"))).absolute()), "-q", "-g", "-O", "score", "tune.abc"]
    result = run_tool(argv, files={"tune.abc": abc.encode()})
    pictures = [content for name, content in sorted(result.files.items()) if name.endswith(".svg")]
    if not pictures:
        raise ToolError(f"abcm2ps drew nothing ({last_line(result.stderr)}); check the notation")
    svg = re.sub(r"<!--.*?-->\n?", "", pictures[0].decode(errors="replace"))  # they hold the date and the bare title
    return Engraving(svg=svg, engraver="abcm2ps", notes=())


def _by_verovio(abc: str) -> Engraving:
    arranged, endings = arrange_for_verovio(abc)
    return _draw({"tune.abc": arranged.encode()}, abc=abc, engraver="verovio", endings=endings)


def _by_music21(abc: str) -> Engraving:
    files = {"tune.abc": arrange_for_music21(abc).encode()}
    musicxml = run_child("music21_converter", files=files, name="music21").files["tune.musicxml"]
    return _draw({"tune.musicxml": musicxml}, abc=abc, engraver="music21 and verovio", endings=0)


def _draw(source: dict[str, bytes], *, abc: str, engraver: str, endings: int) -> Engraving:
    """Engrave a file with verovio under the heading of ``abc``; ``endings`` are marked in it."""
    files = {**source, "heading.json": json.dumps(read_heading(abc)).encode()}
    result = run_child("verovio_engraver", files=files, name="verovio")
    report = json.loads(last_line(result.stdout))
    if report["note_count"] == 0:
        raise ToolError(f"{engraver} found no notes in this tune; check its notation")
    notes = []
    if report["pages"] > 1:
        notes.append(f"the picture shows the first of {report['pages']} pages; split the tune to see the rest")
    if report["endings"] < endings:
        notes.append(f"{endings - report['endings']} of {endings} endings lack their bracket in the picture")
    return Engraving(svg=result.files["score.svg"].decode(), engraver=engraver, notes=tuple(notes))


def needs_music21(abc: str) -> str:
    """What in a tune verovio's ABC reader gets wrong without a word and music21 right; empty if there is none."""
    _, _, body = _split_header(abc)
    inline = [value for letter, value in INLINE_FIELD.findall(body) if letter == "V"]
    voices = {value.split()[0] for value in [*re.findall(r"(?m)^V:(.*)$", abc), *inline] if value.strip()}
    if len(voices) > 1:
        return f"{len(voices)} voices"
    if re.search(r"(?m)^K:(?![|:])|\[K:", body):
        return "a change of key"
    music = "\n".join(QUOTED_OR_COMMENT.sub("", line) for line in body.split("\n") if not FIELD.match(line))
    return "tuplets or chords of mixed lengths" if BEYOND_VEROVIO.search(music) else ""


def _split_header(abc: str) -> tuple[str, str, str]:
    """The header with its closing ``K:`` left out, that key line, and the tune body."""
    match = re.search(r"^K:(?![|:]).*$", abc, re.MULTILINE)
    return (abc[: match.start()], match.group(), abc[match.end() :]) if match else (abc, "", "")


def read_heading(abc: str) -> dict[str, str | list[str]]:
    """What is written above the staves: ``titles`` and ``composer`` of the header, and all ``tempos`` in order."""
    header, _, _ = _split_header(abc)
    fields = [match.groups() for line in header.split("\n") if (match := FIELD.match(line))]
    texts = {letter: [plain_text(value) for name, value in fields if name == letter] for letter in "TC"}
    tempos = re.findall(r"(?:^|\[)Q:([^\]%\n]*)", abc, re.MULTILINE)
    return {
        "titles": [title for title in texts["T"] if title],
        "composer": ", ".join(texts["C"]),
        "tempos": [tempo_text(tempo) for tempo in tempos],
    }


def plain_text(value: str) -> str:
    r"""A text string of ABC with its accents composed: ``Caf\'e`` is ``Café`` (ABC 2.1, section 8.2).

    >>> plain_text(r" Caf\'e ")
    'Café'
    """
    accents = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "c": "\u0327"}
    composed = re.sub(r"\\(['`^\"~]|c(?=[cC]))([A-Za-z])", lambda match: match[2] + accents[match[1]], value)
    return unicodedata.normalize("NFC", composed).strip()


def tempo_text(value: str) -> str:
    """A tempo field's value as it is printed: ``"Allegro" 1/4=120`` is ``Allegro ♩ = 120``.

    >>> tempo_text("3/8=100"), tempo_text("120"), tempo_text("1/2=60")
    ('♩. = 100', '120', '1/2 = 60')
    """
    signs = {"1/4": "♩", "3/8": "♩.", "1/8": "♪"}  # those that text fonts have
    value = re.sub(r"\s*=\s*", " = ", value.replace('"', " "))
    return " ".join(signs.get(word, word) for word in value.split())


def arrange_for_verovio(abc: str) -> tuple[str, int]:
    r"""The tune as verovio's ABC reader needs it, and how many first, second, ... endings it has.

    The reader skips endings, so each is marked by a ``"volta:1"`` in place of ``|1`` or ``[1``; and it skips the length
    of a chord, which therefore moves to the notes: ``[CE]2`` becomes ``[C2E2]``.

    >>> arrange_for_verovio("K:C\n[CE]2|1 D4:|2 E4|]")
    ('K:C\n[C2E2]|"volta:1" D4:|"volta:2" E4|]', 2)
    """
    header, key, body = _split_header(abc)
    endings = 0
    lines = body.split("\n")
    for place, line in enumerate(lines):
        if FIELD.match(line) or line.startswith("%"):
            continue
        pieces = QUOTED_OR_COMMENT.split(line)  # quotations and comments are at the odd places
        for even in range(0, len(pieces), 2):
            music = CHORD_LENGTH.sub(_length_inside, pieces[even])
            pieces[even], found = ENDING_START.subn(rf'"{ENDING_MARK}\1"', music)
            endings += found
        lines[place] = "".join(pieces)
    return header + key + "\n".join(lines), endings


def _length_inside(chord: re.Match[str]) -> str:
    notes, length = chord.groups()
    return f"[{NOTE.sub(lambda note: note.group() + length, notes)}]"


def arrange_for_music21(abc: str) -> str:
    """The tune as music21 reads it: fields on lines of their own, each voice in one run under a number.

    music21 does not see inline fields such as ``[K:D]``, takes a voice that comes back for a new one, knows only
    voices whose name begins with a digit, defined where their music is, and shows a change of key only beside a
    meter: the meter is said again there (and not printed again: `chatmusician.music.children.music21_converter`).

    >>> arrange_for_music21("V:A clef=alto\\nK:C\\n[V:A]CD|\\n[V:B]EF|\\n[V:A]GA|\\n")
    'K:C\\nV:1 clef=alto\\nCD|\\nGA|\\nV:2\\nEF|\\n'
    """
    header, key, body = _split_header(abc)
    attributes = dict(VOICE.findall(header))
    header_meter = re.findall(r"(?m)^M:.*$", header)[-1:]
    name = ""
    voices: dict[str, list[str]] = {name: [key]}  # what comes before the first V: is everyone's
    meters: dict[str, list[str]] = {}
    for line in INLINE_FIELD.sub(r"\n\1:\2\n", body).split("\n"):
        if voice := VOICE.match(line):
            name = voice[1]
            if name not in voices:
                voices[name] = [f"V:{len(voices)}{voice[2] or attributes.get(name, '')}"]
        elif line.startswith("K:"):
            voices[name] += [*meters.get(name, header_meter), line]
        elif line.strip():
            voices[name].append(line)
        if line.startswith("M:"):
            meters[name] = [line]
    music = "\n".join(line for lines in voices.values() for line in lines)
    return re.sub(r"(?m)^V:.*\n?", "", header) + music + "\n"
