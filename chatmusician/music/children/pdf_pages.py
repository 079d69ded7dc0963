"""A page of SVG, as verovio writes it, as the content of a page of PDF.

Shapes stay shapes: sharp at any size, and smaller than a picture of the page. What verovio uses of SVG is read, and
what is not read is counted in `PageWriter.skipped`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from xml.etree.ElementTree import Element

from chatmusician.music.children import pdf_paths
from chatmusician.music.children.pdf_fonts import EM, Fonts
from chatmusician.music.children.pdf_paths import operator

BOLD = frozenset({"ending", "fing", "reh", "tempo"})
ITALIC = frozenset({"dir", "dynam", "mNum"})
"""Classes of groups whose text verovio's style sheet sets so."""
_CAPS = {"butt": 0, "round": 1, "square": 2}
_JOINS = {"miter": 0, "round": 1, "bevel": 2}
_HREF = "{http://www.w3.org/1999/xlink}href"
_SILENT = frozenset({"desc", "title", "style", "defs", "metadata"})


@dataclass(frozen=True, kw_only=True)
class Style:
    """How text is set."""

    size: float = 0.0
    bold: bool = False
    italic: bool = False
    anchor: str = "start"


@dataclass(kw_only=True)
class Line:
    """Pieces of text that stand together at a place."""

    x: float
    y: float
    anchor: str
    pieces: list[tuple[str, Style]]


class PageWriter:
    """Writes pages whose signs and fonts are shared."""

    def __init__(self, fonts: Fonts) -> None:
        self.fonts = fonts
        self.signs: dict[str, str] = {}
        """The music font's glyphs that were used, as drawings, by their names."""
        self.skipped: Counter[str] = Counter()
        """Elements that were not read."""
        self._definitions: dict[str, Element] = {}
        self._out: list[str] = []

    def page(self, svg: Element, *, width: float, height: float) -> str:
        """The content of a page of ``width`` by ``height`` points."""
        definitions = [element for element in svg if _tag(element) == "defs"]
        self._definitions = {element.get("id", ""): element for group in definitions for element in group}
        inner = next(element for element in svg if _tag(element) == "svg")
        view = [float(value) for value in inner.get("viewBox", "").split()]
        scale = width / view[2]
        self._out = [operator("cm", scale, 0, 0, -scale, 0, height)]  # y goes down, as in SVG
        for child in inner:
            self._element(child, Style())
        return "\n".join(self._out)

    def _element(self, element: Element, style: Style) -> None:
        tag, classes = _tag(element), set(element.get("class", "").split())
        if tag in _SILENT or "placeholder" in classes:
            return
        moves = [operator("cm", *matrix) for matrix in pdf_paths.transformations(element.get("transform", ""))]
        if tag == "text":
            self._text(element, _style(element, style, classes))
        elif tag in ("g", "svg"):
            self._out += ["q", *moves] if moves else []
            for child in element:
                self._element(child, _style(element, style, classes))
            self._out += ["Q"] if moves else []
        elif tag == "use":
            name = element.get(_HREF, "").removeprefix("#")
            self._out.append(" ".join(["q", *moves, f"/{self._sign(name)} Do", "Q"]))
        elif (shape := _shape(tag, element)) is not None:
            self._out.append(" ".join(["q", *moves, _pen(element), shape, _paint(tag, element), "Q"]))
        else:
            self.skipped[tag] += 1

    def _sign(self, name: str) -> str:
        """The name of a sign in the document; what stands behind the hyphen differs from page to page."""
        short = name.partition("-")[0]
        if short not in self.signs:
            parts = []
            for element in self._definitions[name].iter():
                shape = _shape(_tag(element), element)
                if shape is not None:
                    moves = [operator("cm", *move) for move in pdf_paths.transformations(element.get("transform", ""))]
                    parts.append(" ".join(["q", *moves, shape, "f", "Q"]))
            self.signs[short] = "\n".join(parts)
        return short

    def _text(self, element: Element, style: Style) -> None:
        lines: list[Line] = []
        for x, y, text, piece_style in _pieces(element, style):
            if x is not None or y is not None or not lines:
                before = lines[-1] if lines else Line(x=0, y=0, anchor="", pieces=[])
                here = before.x if x is None else x, before.y if y is None else y
                lines.append(Line(x=here[0], y=here[1], anchor=piece_style.anchor, pieces=[]))
            if text and piece_style.size:
                lines[-1].pieces.append((text, piece_style))
        for line in lines:
            self._line(line)

    def _line(self, line: Line) -> None:
        set_pieces = [
            (self.fonts.glyphs(text, bold=style.bold, italic=style.italic), style.size) for text, style in line.pieces
        ]
        width = sum(glyph.width * size / EM for glyphs, size in set_pieces for glyph in glyphs)
        x = line.x - width * {"middle": 0.5, "end": 1.0}.get(line.anchor, 0.0)
        for glyphs, size in set_pieces:
            for font, run in groupby(glyphs, key=lambda glyph: glyph.font):
                shown = list(run)
                codes = "".join(f"{glyph.code:02x}" for glyph in shown)
                place = operator("Tm", 1, 0, 0, -1, x, line.y)
                self._out.append(f"BT /T{font} {operator('Tf', size)} {place} <{codes}> Tj ET")
                x += sum(glyph.width for glyph in shown) * size / EM


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _style(element: Element, style: Style, classes: set[str] | frozenset[str] = frozenset()) -> Style:
    """The style of an element inside one of another style."""
    weight = element.get("font-weight") or ("bold" if classes & BOLD else "normal" if "label" in classes else None)
    slant = element.get("font-style") or ("italic" if classes & ITALIC else None)
    return replace(
        style,
        size=float(element.get("font-size", f"{style.size}").removesuffix("px")),
        bold=style.bold if weight is None else weight == "bold",
        italic=style.italic if slant is None else slant == "italic",
        anchor=element.get("text-anchor", style.anchor),
    )


def _pieces(element: Element, style: Style) -> Iterator[tuple[float | None, float | None, str, Style]]:
    """The texts inside an element with their styles, each with the place where a line begins, if one does."""
    x, y = (float(value) if (value := element.get(name)) else None for name in ("x", "y"))
    yield x, y, _blanks(element.text), style
    for child in element:
        yield from _pieces(child, _style(child, style))
        yield None, None, _blanks(child.tail), style


def _blanks(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "")


def _shape(tag: str, element: Element) -> str | None:
    """The shape of an element; None if it is none that is known."""

    def value(name: str) -> float:
        return float(element.get(name, "0"))

    if tag == "path":
        return pdf_paths.path(element.get("d", ""))
    if tag in ("polygon", "polyline"):
        return pdf_paths.polygon(element.get("points", ""), closed=tag == "polygon")
    if tag in ("ellipse", "circle"):
        radii = (value("rx"), value("ry")) if tag == "ellipse" else (value("r"), value("r"))
        return pdf_paths.ellipse(value("cx"), value("cy"), *radii)
    if tag == "rect":
        return operator("re", value("x"), value("y"), value("width"), value("height"))
    if tag == "line":
        return f"{operator('m', value('x1'), value('y1'))} {operator('l', value('x2'), value('y2'))}"
    return None


def _pen(element: Element) -> str:
    """The line that a shape is drawn with."""
    cap = _CAPS.get(element.get("stroke-linecap", ""), 0)
    join = _JOINS.get(element.get("stroke-linejoin", ""), 0)
    settings = [operator("w", float(element.get("stroke-width", "1"))), operator("J", cap), operator("j", join)]
    if dashes := element.get("stroke-dasharray"):
        settings.append(f"[{dashes.replace(',', ' ')}] 0 d")
    return " ".join(settings)


def _paint(tag: str, element: Element) -> str:
    """Draw its line and fill it, as verovio's style sheet has it for all shapes, unless it is to be left empty."""
    hollow = element.get("fill") in ("none", "transparent") or element.get("fill-opacity") == "0" or tag == "line"
    return "S" if hollow else "B"
