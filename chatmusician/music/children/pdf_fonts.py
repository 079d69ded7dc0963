"""Text for PDF: the glyphs that are used, drawn as shapes, so that it looks the same everywhere and can be searched.

A font of PDF's type 3 is a table of small drawings, here made from the outlines in font files, and a table back to
characters. So no program needs to have the fonts, and a page of a tune grows by 5 KB. Letters stand one after the
other: no kerning, no ligatures, and scripts whose letters change shape by their neighbours, such as Arabic, do not.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTCollection, TTFont

from chatmusician.music.children.pdf_paths import operator

CODES = 255
"""Most glyphs of a font of type 3."""
EM = 1000
"""Units of all glyphs: so many are the size of the text."""
_STIX = {(False, False): "", (True, False): "Bol", (False, True): "Italic", (True, True): "BolIta"}
_DEJAVU = {(False, False): "", (True, False): "-Bold", (False, True): "-Italic", (True, True): "-BoldItalic"}


class Glyph(NamedTuple):
    """A drawn character: which font of the document has it, under which code, and how wide it is in units."""

    font: int
    code: int
    width: float


class TableFont:
    """A font of type 3 in the making."""

    def __init__(self) -> None:
        self.codes: dict[tuple[int, str], int] = {}
        self.widths: list[float] = []
        self.drawings: list[str] = []
        self.characters: list[str] = []


class OutlinePen(BasePen):
    """Writes an outline as PDF does; fontTools turns quadratic curves into cubic ones."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.operators: list[str] = []

    def _moveTo(self, pt: tuple[float, float]) -> None:
        self.operators.append(operator("m", *pt))

    def _lineTo(self, pt: tuple[float, float]) -> None:
        self.operators.append(operator("l", *pt))

    def _curveToOne(self, pt1: tuple[float, float], pt2: tuple[float, float], pt3: tuple[float, float]) -> None:
        self.operators.append(operator("c", *pt1, *pt2, *pt3))

    def _closePath(self) -> None:
        self.operators.append("h")


class Typeface:
    """An opened font file."""

    def __init__(self, font: TTFont) -> None:
        self._font = font
        self._scale = EM / font["head"].unitsPerEm

    @cached_property
    def characters(self) -> dict[int, str]:
        """Code points to names of glyphs; none where the glyphs are pictures, as in fonts of emoji."""
        return self._font.getBestCmap() or {} if "glyf" in self._font or "CFF " in self._font else {}

    @cached_property
    def _glyphs(self) -> Any:
        return self._font.getGlyphSet()

    def width(self, name: str) -> float:
        """Of a glyph, in units."""
        return self._scale * self._glyphs[name].width

    def drawing(self, name: str) -> str:
        """A glyph, filled."""
        pen = OutlinePen(self._glyphs)
        self._glyphs[name].draw(pen)
        outline = " ".join(pen.operators)
        return f"{operator('cm', self._scale, 0, 0, self._scale, 0, 0)} {outline} f" if outline else ""


class Fonts:
    """The fonts of a document.

    Args:
        folder: of the STIX and DejaVu files. STIX is cut to the measures of Times, by which verovio sets text.
        others: folders where a character that they lack is looked for, with all folders inside.
    """

    def __init__(self, folder: Path, *, others: tuple[str, ...]) -> None:
        self._folder = folder
        self._others = others
        self._faces: dict[str, Typeface] = {}
        self._elsewhere: dict[str, Typeface | None] = {}  # by character
        self.tables: list[TableFont] = [TableFont()]
        self.missing: set[str] = set()

    def glyphs(self, text: str, *, bold: bool, italic: bool) -> list[Glyph]:
        """The glyphs of a text; a character that no font has is left out and put down as `missing`."""
        found = []
        for character in text:
            face = self._face_of(character, bold=bold, italic=italic)
            if face is None:
                self.missing.add(character)
            else:
                found.append(self._glyph(face, character))
        return found

    def _glyph(self, face: Typeface, character: str) -> Glyph:
        key = id(face), character
        for place, table in enumerate(self.tables):
            if key in table.codes:
                code = table.codes[key]
                return Glyph(place, code, table.widths[code])
        if len(self.tables[-1].codes) == CODES:
            self.tables.append(TableFont())
        table = self.tables[-1]
        name = face.characters[ord(character)]
        table.codes[key] = code = len(table.codes)
        table.widths.append(face.width(name))
        table.drawings.append(face.drawing(name))
        table.characters.append(character)
        return Glyph(len(self.tables) - 1, code, table.widths[code])

    def _face_of(self, character: str, *, bold: bool, italic: bool) -> Typeface | None:
        style = bold, italic
        names = [f"STIXGeneral{_STIX[style]}", f"DejaVuSerif{_DEJAVU[style]}", "STIXGeneral", "DejaVuSans"]
        for name in names:
            if ord(character) in self._bundled(name).characters:
                return self._bundled(name)
        if character not in self._elsewhere:
            here = (face for face in self._other_faces() if ord(character) in face.characters)
            self._elsewhere[character] = next(here, None)
        return self._elsewhere[character]

    def _bundled(self, name: str) -> Typeface:
        if name not in self._faces:
            self._faces[name] = Typeface(TTFont(self._folder / f"{name}.ttf", lazy=True))
        return self._faces[name]

    def _other_faces(self) -> Iterator[Typeface]:
        files = [file for folder in self._others for file in sorted(Path(folder).rglob("*.[to]t[fc]"))]
        for file in files:
            if str(file) not in self._faces:
                try:
                    font = TTCollection(file, lazy=True).fonts[0] if file.suffix == ".ttc" else TTFont(file, lazy=True)
                    self._faces[str(file)] = Typeface(font)
                except Exception:  # noqa: BLE001 -- whatever is wrong with a font, another may do
                    continue
            yield self._faces[str(file)]
