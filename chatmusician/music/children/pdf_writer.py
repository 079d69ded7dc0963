"""Child: write the pages ``page-001.svg``, ``page-002.svg``, ... as ``score.pdf``, A4, shapes and text kept as such.

Arguments: the folder of matplotlib's fonts, and the title. Prints a JSON object: ``missing``, the characters that no
font has, and ``skipped``, the kinds of elements that were not read.
"""

import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

from chatmusician.music.children.pdf_fonts import EM, Fonts, TableFont
from chatmusician.music.children.pdf_pages import PageWriter
from chatmusician.music.children.pdf_paths import number

WIDTH, HEIGHT = 210 / 25.4 * 72, 297 / 25.4 * 72
"""Of A4 in points."""
SYSTEM_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts")


class Document:
    """The objects of a PDF file, numbered from 1."""

    def __init__(self) -> None:
        self._objects: list[bytes] = []

    def reserve(self) -> int:
        """A number for an object that is written later."""
        self._objects.append(b"")
        return len(self._objects)

    def add(self, content: str, *, at: int | None = None) -> int:
        """Write an object; its number."""
        place = at or self.reserve()
        self._objects[place - 1] = content.encode("ascii")
        return place

    def stream(self, content: str, *, entries: str = "") -> int:
        """Write a compressed stream; its number."""
        data = zlib.compress(content.encode("ascii"))
        head = f"<< /Length {len(data)} /Filter /FlateDecode {entries}>>\nstream\n"
        self._objects.append(head.encode("ascii") + data + b"\nendstream")
        return len(self._objects)

    def file(self, *, root: int, info: int) -> bytes:
        """The whole file, with its table of where each object begins."""
        out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        places = []
        for place, content in enumerate(self._objects, start=1):
            places.append(len(out))
            out += f"{place} 0 obj\n".encode() + content + b"\nendobj\n"
        table = len(out)
        out += f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n".encode()
        out += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
        trailer = (
            f"trailer\n<< /Size {len(places) + 1} /Root {root} 0 R /Info {info} 0 R >>\nstartxref\n{table}\n%%EOF\n"
        )
        return bytes(out) + trailer.encode()


def text_string(text: str) -> str:
    """A text as PDF has it in its descriptions: UTF-16 in hexadecimal digits."""
    return f"<feff{text.encode('utf-16-be', 'replace').hex()}>"


def add_font(document: Document, table: TableFont) -> int:
    """Write a font of type 3; its number."""
    drawings = [
        document.stream(f"{number(width)} 0 d0 {drawing}")
        for width, drawing in zip(table.widths, table.drawings, strict=True)
    ]
    last = len(drawings) - 1
    names = " ".join(f"/g{code}" for code in range(len(drawings)))
    procedures = " ".join(f"/g{code} {drawing} 0 R" for code, drawing in enumerate(drawings))
    widths = " ".join(number(width) for width in table.widths)
    return document.add(
        f"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 0 0] /FontMatrix [{1 / EM} 0 0 {1 / EM} 0 0] /Resources << >> "
        f"/FirstChar 0 /LastChar {last} /Widths [{widths}] /CharProcs << {procedures} >> "
        f"/Encoding << /Type /Encoding /Differences [0 {names}] >> "
        f"/ToUnicode {document.stream(character_map(table.characters))} 0 R >>"
    )


def character_map(characters: list[str]) -> str:
    """The table from codes back to characters, by which a reader searches and copies."""
    entries = [f"<{code:02x}> <{text.encode('utf-16-be').hex()}>" for code, text in enumerate(characters)]
    blocks = [entries[start : start + 100] for start in range(0, len(entries), 100)]  # no block may have more
    mapped = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CMapName /Characters def\n/CMapType 2 def\n"
        f"1 begincodespacerange\n<00> <ff>\nendcodespacerange\n{mapped}\nendcmap\n"
        "CMapName currentdict /CMap defineresource pop\nend\nend"
    )


def write(pages: list[str], *, writer: PageWriter, title: str) -> bytes:
    """The PDF of pages in SVG."""
    document = Document()
    contents = [
        document.stream(writer.page(ElementTree.fromstring(page), width=WIDTH, height=HEIGHT)) for page in pages
    ]
    box = f"/BBox [-{10 * EM} -{10 * EM} {10 * EM} {10 * EM}]"
    signs = {
        name: document.stream(drawing, entries=f"/Type /XObject /Subtype /Form {box} /Resources << >> ")
        for name, drawing in writer.signs.items()
    }
    fonts = {f"T{place}": add_font(document, table) for place, table in enumerate(writer.fonts.tables) if table.codes}
    resources = document.add(f"<< /XObject << {_references(signs)} >> /Font << {_references(fonts)} >> >>")
    tree = document.reserve()
    box = f"/MediaBox [0 0 {number(WIDTH)} {number(HEIGHT)}]"
    leaves = [
        document.add(f"<< /Type /Page /Parent {tree} 0 R {box} /Resources {resources} 0 R /Contents {content} 0 R >>")
        for content in contents
    ]
    kids = " ".join(f"{leaf} 0 R" for leaf in leaves)
    document.add(f"<< /Type /Pages /Count {len(leaves)} /Kids [{kids}] >>", at=tree)
    root = document.add(f"<< /Type /Catalog /Pages {tree} 0 R >>")
    info = document.add(f"<< /Title {text_string(title)} /Producer (chatmusician) >>")
    return document.file(root=root, info=info)


def _references(numbers: dict[str, int]) -> str:
    return " ".join(f"/{name} {place} 0 R" for name, place in numbers.items())


def main(font_folder: str, title: str) -> None:
    """Write it."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(Path().glob("page-*.svg"))]
    writer = PageWriter(Fonts(Path(font_folder), others=SYSTEM_FOLDERS))
    Path("score.pdf").write_bytes(write(pages, writer=writer, title=title))
    print(json.dumps({"missing": sorted(writer.fonts.missing), "skipped": sorted(writer.skipped)}))
