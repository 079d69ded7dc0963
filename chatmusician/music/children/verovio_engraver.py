"""Child: engrave ``tune.musicxml`` with verovio, by way of MEI that is mended here.

Writes ``score.svg``, one picture as high as it needs to be, and, if asked, ``page-001.svg``, ``page-002.svg``, ...: the
same on A4 paper. The heading is in ``heading.json`` (`chatmusician.music.engraving` writes it), since verovio places
the titles of MusicXML off the page. Prints a JSON object: ``sheets``, how many pictures of the greatest height the
tune would take (the first is drawn), and ``pages``.
"""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import verovio

MEI = "{http://www.music-encoding.org/ns/mei}"
TEXT_OF_GLYPHS = {
    "\ueca2": "1/1",
    "\ueca3": "1/2",
    "\ueca5": "♩",
    "\ueca7": "♪",
    "\ueca9": "1/16",
    " \uecb7": ".",  # a dot
    "\uea64": "♭",
    "\uea65": "♮",
    "\uea66": "♯",
}
"""Signs of the music font that verovio puts into texts, and which no text font has, as text."""
MUSIC_TEXT = re.compile(r'font-family="Leipzig" font-size="(\d+)px">([^<]*)</tspan>')
MUSIC_TO_TEXT = 0.5625
"""Size of text beside that of the signs in it, 405 to 720."""
MUSIC_FONT = re.compile(r"\s*<style[^>]*>@font-face.*?</style>", re.DOTALL)
COMMON = {
    "breaks": "smart",
    "footer": "none",
    "header": "encoded",
    "pageWidth": 2100,
    "scale": 40,
    "xmlIdSeed": 1,  # element names are random otherwise, and no two pictures of a tune the same
}
PICTURE = {
    "adjustPageHeight": True,
    "pageHeight": 60000,
    "pageMarginBottom": 60,
    "pageMarginLeft": 60,
    "pageMarginRight": 60,
    "pageMarginTop": 60,
}
PAPER = {
    "adjustPageHeight": False,
    "pageHeight": 2970,
    "pageMarginBottom": 150,
    "pageMarginLeft": 130,
    "pageMarginRight": 130,
    "pageMarginTop": 130,
}
"""Lengths of pages are in tenths of a millimetre."""
PAGES_MOST = 60


def plain(text: str) -> str:
    """A text without the signs of the music font."""
    for glyph, sign in TEXT_OF_GLYPHS.items():
        text = text.replace(glyph, sign)
    return text


def picture_of(toolkit: verovio.toolkit, page: int) -> str:
    """A page as SVG that needs no music font: what verovio sets in it is text, and all else drawn."""
    svg = MUSIC_FONT.sub("", toolkit.renderToSVG(page))

    def as_text(match: re.Match[str]) -> str:
        return f'font-size="{round(MUSIC_TO_TEXT * int(match[1]))}px">{plain(match[2])}</tspan>'

    return MUSIC_TEXT.sub(as_text, svg)


def set_tempos(music: ElementTree.Element) -> None:
    """Write tempos in plain text, upright and light."""
    for tempo in list(music.iter(MEI + "tempo")):
        text = " ".join(plain("".join(tempo.itertext())).split())
        for part in list(tempo):
            tempo.remove(part)
        tempo.text = None
        # The bold cut of the text font has no note signs.
        ElementTree.SubElement(tempo, MEI + "rend", {"fontweight": "normal"}).text = text


def set_heading(definition: ElementTree.Element, titles: list[str], composer: str) -> None:
    """Replace what heads the page by the titles, the first large, and the composer at the right."""
    for old in definition.findall(MEI + "pgHead"):
        definition.remove(old)
    head = ElementTree.Element(MEI + "pgHead", {"func": "first"})
    if titles:
        centre = ElementTree.SubElement(head, MEI + "rend", {"halign": "center", "valign": "middle"})
        for place, title in enumerate(titles):
            if place:
                ElementTree.SubElement(centre, MEI + "lb")
            size = "small" if place else "x-large"
            ElementTree.SubElement(centre, MEI + "rend", {"fontsize": size}).text = title
    if composer:
        right = ElementTree.SubElement(head, MEI + "rend", {"halign": "right", "valign": "bottom"})
        right.text = composer
    definition.insert(0, head)


def mend(mei: str, heading: dict) -> str:
    """The MEI with tempos and heading in place."""
    ElementTree.register_namespace("", MEI.strip("{}"))
    root = ElementTree.fromstring(mei)
    set_tempos(root)
    set_heading(next(root.iter(MEI + "scoreDef")), heading["titles"], heading["composer"])
    return ElementTree.tostring(root, encoding="unicode")


def main(*wanted: str) -> None:
    """Engrave it: ``picture``, ``paper``, or both are wanted."""
    toolkit = verovio.toolkit()
    toolkit.setOptions({**COMMON, **PICTURE})
    toolkit.setInputFrom("xml")
    if not toolkit.loadData(Path("tune.musicxml").read_text(encoding="utf-8")):
        raise SystemExit("the engraver (verovio) cannot read this tune; simplify its notation")
    heading = json.loads(Path("heading.json").read_text(encoding="utf-8"))
    mei = mend(toolkit.getMEI(), heading)
    report = {"sheets": 0, "pages": 0}
    toolkit.setInputFrom("mei")
    for kind in wanted:
        toolkit.setOptions(PICTURE if kind == "picture" else PAPER)
        if not toolkit.loadData(mei):
            raise SystemExit("the engraver (verovio) cannot lay out this tune; simplify its notation")
        if kind == "picture":
            report["sheets"] = toolkit.getPageCount()
            Path("score.svg").write_text(picture_of(toolkit, 1), encoding="utf-8")
        else:
            report["pages"] = toolkit.getPageCount()
            for page in range(1, min(report["pages"], PAGES_MOST) + 1):
                Path(f"page-{page:03d}.svg").write_text(picture_of(toolkit, page), encoding="utf-8")
    print(json.dumps(report))
