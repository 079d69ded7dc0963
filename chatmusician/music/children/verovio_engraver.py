"""Child: engrave ``tune.abc`` or ``tune.musicxml`` as ``score.svg`` with verovio, by way of MEI that is mended here.

verovio's ABC reader loses first and second endings and the tempo, and the titles that music21 writes are placed off
the page. The caller (`chatmusician.music.engraving`) puts a mark ``"volta:1"`` where an ending begins, which verovio
carries through as a chord symbol, and gives the heading in ``heading.json``; this script turns them into MEI's own
elements between reading and drawing. Prints a JSON object: ``note_count`` and ``endings``, ``pages`` laid
out (the first is drawn).
"""

import json
from pathlib import Path
from xml.etree import ElementTree

MEI = "{http://www.music-encoding.org/ns/mei}"
ENDING_MARK = "volta:"
CLOSING_BARS = frozenset({"rptend", "rptboth", "dbl", "end"})
"""Values of ``@right`` after which an ending is over (ABC 2.1, section 4.9)."""
TEMPO_GLYPHS = str.maketrans({"\ueca3": "1/2", "\ueca5": "♩", "\ueca7": "♪", "\uecb7": "."})
"""Metronome signs of the music font, which no text font has, to text."""
OPTIONS = {
    "adjustPageHeight": True,
    "breaks": "smart",
    "footer": "none",
    "header": "encoded",
    "pageHeight": 60000,
    "pageMarginBottom": 60,
    "pageMarginLeft": 60,
    "pageMarginRight": 60,
    "pageMarginTop": 60,
    "pageWidth": 2100,
    "scale": 40,
    "xmlIdSeed": 1,  # element names are random otherwise, and no two pictures of a tune the same
}


def wrap_endings(section: ElementTree.Element) -> int:
    """Move the measures of each marked ending into an ``<ending>``; how many endings there were.

    ``m1 m2[volta:1] m3(:|) m4[volta:2] m5(||) m6`` becomes ``m1 <1: m2 m3> <2: m4 m5> m6``: an ending runs to
    the next repeat sign, double bar, ending, or the close of the section.
    """
    ending: ElementTree.Element | None = None
    endings = 0
    for child in list(section):
        if child.tag == MEI + "measure":
            label = take_ending_mark(child)
            if label is not None:
                ending = ElementTree.Element(MEI + "ending", {"n": label})
                section.insert(list(section).index(child), ending)
                endings += 1
            elif child.get("left") == "rptstart":
                ending = None
        if ending is not None:
            section.remove(child)
            ending.append(child)
            if child.get("right") in CLOSING_BARS:
                ending = None
    return endings


def take_ending_mark(measure: ElementTree.Element) -> str | None:
    """Remove the mark of an ending from a measure and give its label, such as ``1`` or ``1,3``; None if unmarked."""
    for harmony in measure.findall(MEI + "harm"):
        text = "".join(harmony.itertext())
        if text.startswith(ENDING_MARK):
            measure.remove(harmony)
            return text.removeprefix(ENDING_MARK)
    return None


def set_tempos(music: ElementTree.Element, texts: list[str]) -> None:
    """Give the tempo marks that have no text theirs, in order, and write those of the music font in plain text."""
    waiting = iter(texts)
    for tempo in list(music.iter(MEI + "tempo")):
        text = "".join(tempo.itertext()).strip().translate(TEMPO_GLYPHS) or next(waiting, "")
        for part in list(tempo):
            tempo.remove(part)
        tempo.text = None
        # Upright and light: the bold cut of the text font has no note signs.
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


def mend(mei: str, heading: dict) -> tuple[str, int]:
    """The MEI with endings, tempo and heading in place, and the number of endings."""
    ElementTree.register_namespace("", MEI.strip("{}"))
    root = ElementTree.fromstring(mei)
    endings = sum(wrap_endings(section) for section in root.iter(MEI + "section"))
    set_tempos(root, heading["tempos"])
    definition = next(root.iter(MEI + "scoreDef"))
    set_heading(definition, heading["titles"], heading["composer"])
    return ElementTree.tostring(root, encoding="unicode"), endings


def main() -> None:
    """Read the files of the working directory and write ``score.svg``."""
    import verovio

    source = next(path for path in (Path("tune.musicxml"), Path("tune.abc")) if path.exists())
    toolkit = verovio.toolkit()
    toolkit.setInputFrom("abc" if source.suffix == ".abc" else "xml")
    toolkit.setOptions(OPTIONS)
    if not toolkit.loadData(source.read_text(encoding="utf-8")):
        raise SystemExit("verovio cannot read it")
    heading = json.loads(Path("heading.json").read_text(encoding="utf-8"))
    mei, endings = mend(toolkit.getMEI(), heading)
    toolkit.setInputFrom("mei")
    if not toolkit.loadData(mei):
        raise SystemExit("verovio cannot lay it out")
    Path("score.svg").write_text(toolkit.renderToSVG(1), encoding="utf-8")
    print(json.dumps({"note_count": mei.count("<note "), "endings": endings, "pages": toolkit.getPageCount()}))
