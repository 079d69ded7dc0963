"""Child: bind the pages ``page-001.svg``, ``page-002.svg``, ... as ``score.pdf``, A4, shapes and text kept as such.

typst does it, which is a typesetter in one package without system libraries: 0.1 s for three pages. Arguments: the
folder of matplotlib's fonts, and the title. Prints a JSON array of the characters that no font has.

Text is set in STIX, cut to the measures of Times, by which verovio sets it; DejaVu has what STIX lacks, and only for
what both lack are the system's fonts looked through.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import typst
from fontTools.ttLib import TTCollection, TTFont, TTLibError

FAMILIES = "STIXGeneral, DejaVu Serif, DejaVu Sans"
DOCUMENT = """#set document(title: sys.inputs.title, date: none)
#set page(width: 210mm, height: 297mm, margin: 0mm)
#for name in json(bytes(sys.inputs.pages)) { image(name, width: 100%, height: 100%) }
"""


def main(font_folder: str, title: str) -> None:
    """Write it."""
    pages = sorted(Path().glob("page-*.svg"))
    characters: set[str] = set()
    for page in pages:
        text = page.read_text(encoding="utf-8").replace('font-family="Times, serif"', f'font-family="{FAMILIES}"')
        page.write_text(text, encoding="utf-8")
        characters |= set("".join(ElementTree.fromstring(text).itertext()))
    fonts = find_fonts(Path(font_folder), system=False)
    if missing := lacking(characters, fonts):
        fonts = find_fonts(Path(font_folder), system=True)
        missing = lacking(missing, fonts)
    compiler = typst.Compiler(
        DOCUMENT.encode(),
        root=".",
        font_paths=fonts,
        sys_inputs={"title": title, "pages": json.dumps([page.name for page in pages])},
    )
    compiler.compile(output="score.pdf", format="pdf", pdf_tags=False)
    print(json.dumps(sorted(missing)))


def find_fonts(folder: Path, *, system: bool) -> typst.Fonts:
    """STIX and DejaVu out of matplotlib's folder, which also has one that draws each character as a box."""
    chosen = Path("fonts")
    chosen.mkdir(exist_ok=True)
    for name in ("STIXGeneral", "DejaVu"):
        for file in folder.glob(f"{name}*.ttf"):
            if not (chosen / file.name).exists():
                (chosen / file.name).symlink_to(file)
    return typst.Fonts(include_system_fonts=system, include_embedded_fonts=False, font_paths=[str(chosen)])


def lacking(characters: Iterable[str], fonts: typst.Fonts) -> set[str]:
    """The characters, spaces aside, that no font has a drawing of."""
    missing = {character for character in characters if not character.isspace()}
    for font in fonts.fonts():
        if missing and font.path is not None:
            missing -= set(map(chr, _drawn(Path(font.path), font.index)))
    return missing


def _drawn(file: Path, index: int) -> Iterable[int]:
    """Code points of a font; none where the glyphs are pictures, as in fonts of emoji, or where it is broken."""
    try:
        font = TTCollection(file, lazy=True).fonts[index] if file.suffix == ".ttc" else TTFont(file, lazy=True)
        return (font.getBestCmap() or {}) if "glyf" in font or "CFF " in font else ()
    except (TTLibError, OSError):
        return ()
