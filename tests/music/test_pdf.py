import re
import shutil
import zlib
from pathlib import Path

import pytest

from chatmusician.music.children import pdf_paths
from chatmusician.music.children.pdf_fonts import Fonts
from chatmusician.music.engraving import bundled_fonts, engrave, write_pdf

TITLE = "The Test Reel (“Ж”)"


class Pdf:
    """As much of a PDF as the tests look at."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.objects = dict(re.findall(rb"(?s)\n(\d+) 0 obj\n(.*?)\nendobj", content))

    def stream(self, number: bytes) -> str:
        return zlib.decompress(self.objects[number].partition(b"stream\n")[2].removesuffix(b"\nendstream")).decode()

    def pages(self) -> list[str]:
        """The content of each page."""
        leaves = [text for text in self.objects.values() if b"/Type /Page " in text]
        return [self.stream(re.search(rb"/Contents (\d+) 0 R", leaf)[1]) for leaf in leaves]

    def words(self, page: str) -> list[str]:
        """The texts of a page as a reader finds them, by the tables from codes to characters."""
        fonts = [text for text in self.objects.values() if b"/Type3" in text]
        tables = []
        for font in fonts:
            entries = re.findall(r"<(..)> <(\w{4,})>", self.stream(re.search(rb"/ToUnicode (\d+) 0 R", font)[1]))
            tables.append({code: bytes.fromhex(text).decode("utf-16-be") for code, text in entries})
        shown = re.findall(r"/T(\d+) .*? <(\w*)> Tj", page)
        return ["".join(tables[int(font)][code] for code in re.findall("..", codes)) for font, codes in shown]


@pytest.fixture(scope="module")
def pdf() -> Pdf:
    header = f"X:1\nT:{TITLE}\nC:Trad.\nM:4/4\nL:1/8\nQ:1/4=120\nK:G\n"
    abc = header + "GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\n" * 30
    drawing = write_pdf(engrave(abc, picture=False, paper=True).pages, title=TITLE)
    assert drawing.notes == ()
    return Pdf(drawing.content)


def test_a_pdf_has_the_pages_and_can_be_searched(pdf: Pdf) -> None:
    first, second, third = pdf.pages()
    assert TITLE in pdf.words(first)
    assert {"Trad.", "♩ = 120"} <= set(pdf.words(first))
    assert pdf.words(second)[0] == pdf.words(second)[0].strip() and pdf.words(second)[0].isdigit()  # a bar's number
    heads = [page.count("/E0A4 Do") for page in (first, second, third)]  # E0A4 is a black note head
    assert sum(heads) == 30 * 27
    assert f"/Title <feff{TITLE.encode('utf-16-be').hex()}>".encode() in pdf.content


def test_a_pdf_says_where_its_objects_are(pdf: Pdf) -> None:
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", pdf.content)[1])
    head, *lines = pdf.content[start:].split(b"trailer")[0].split(b"\n")[1:-1]
    assert head == b"0 %d" % (len(pdf.objects) + 1) == b"0 %d" % len(lines)
    for number, line in enumerate(lines[1:], start=1):
        assert pdf.content[int(line[:10]) :].startswith(b"%d 0 obj\n" % number)


def test_a_page_is_drawn_as_in_svg() -> None:
    page = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="840px">
        <defs><g id="E000-x"><path transform="scale(1,-1)" d="M1 2h3l1 1z"/></g></defs>
        <svg viewBox="0 0 2100 2970">
            <g transform="translate(5, 6)" class="x"><path d="M0 0 L10 0" stroke-width="13"/></g>
            <g class="placeholder"><ellipse rx="9" ry="9"/></g>
            <use xlink:href="#E000-x" transform="translate(7, 8)"/>
            <rect x="1" y="2" width="3" height="4" fill-opacity="0"/>
            <blink/>
            <g class="tempo"><text x="10" y="20" text-anchor="end" font-size="0px">
                <tspan font-size="400px">A</tspan>
            </text></g>
        </svg>
    </svg>"""
    drawing = write_pdf([page], title="")
    assert drawing.notes == ("the PDF lacks what the score has as blink; look at the PNG",)
    document = Pdf(drawing.content)
    lines = document.pages()[0].split("\n")
    assert lines == [
        "0.2835 0 0 -0.2835 0 841.8898 cm",  # 595.2756 / 2100, and y goes down
        "q",
        "1 0 0 1 5 6 cm",
        "q 13 w 0 J 0 j 0 0 m 10 0 l B Q",
        "Q",
        "q 1 0 0 1 7 8 cm /E000 Do Q",
        "q 1 w 0 J 0 j 1 2 3 4 re S Q",
        lines[-1],
    ]
    assert re.fullmatch(r"BT /T0 400 Tf 1 0 0 -1 -2\d\d\.\d+ 20 Tm <00> Tj ET", lines[-1])  # ends at 10
    signs = [
        Pdf(drawing.content).stream(number) for number, text in Pdf(drawing.content).objects.items() if b"/Form" in text
    ]
    assert signs == ["q 1 0 0 -1 0 0 cm 1 2 m 4 2 l 5 3 l h f Q"]


def test_characters_that_a_pdf_lacks_are_named() -> None:
    pages = engrave("X:1\nT:Tune \ue9a1\nL:1/4\nK:C\nC|\n", picture=False, paper=True).pages
    assert write_pdf(pages, title="").notes == ("the PDF lacks the characters '\\ue9a1'; install a font that has them",)


def test_a_character_is_looked_for_in_other_fonts(tmp_path: Path) -> None:
    shutil.copyfile(bundled_fonts() / "STIXNonUni.ttf", tmp_path / "some.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    private = "\ue003"  # of the bundled fonts, only STIXNonUni has it
    without, beside = Fonts(bundled_fonts(), others=()), Fonts(bundled_fonts(), others=(str(tmp_path),))
    assert without.glyphs(private, bold=False, italic=False) == []
    assert without.missing == {private}
    assert len(beside.glyphs(private, bold=True, italic=False)) == 1
    assert beside.missing == set()


def test_a_font_of_a_pdf_has_255_glyphs_at_most() -> None:
    fonts = Fonts(bundled_fonts(), others=())
    glyphs = fonts.glyphs("".join(map(chr, range(0x400, 0x500))) + "AB", bold=False, italic=False)
    assert [len(table.codes) for table in fonts.tables] == [255, len(glyphs) - 255]
    assert fonts.glyphs("A", bold=False, italic=False)[0] == glyphs[-2]


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ("M1 2 3 4L5 6z", "1 2 m 3 4 l 5 6 l h"),
        ("m1 2 3 4h-1v.5H9V8", "1 2 m 4 6 l 3 6 l 3 6.5 l 9 6.5 l 9 8 l"),
        ("M0 0c1 1 2 2 3 0s2 2 3 0", "0 0 m 1 1 2 2 3 0 c 4 -2 5 2 6 0 c"),
        ("M0 0S1 1 2 0", "0 0 m 0 0 1 1 2 0 c"),
        ("M0 0Q3 3 6 0t6 0", "0 0 m 2 2 4 2 6 0 c 8 -2 10 -2 12 0 c"),
        ("M1 1zm2 2l1e1-1", "1 1 m h 3 3 m 13 2 l"),
    ],
)
def test_paths_become_operators(data: str, shape: str) -> None:
    assert pdf_paths.path(data) == shape


def test_a_path_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'A'"):
        pdf_paths.path("M0 0A1 1 0 0 0 2 2")


def test_transformations_are_read_in_order() -> None:
    found = list(pdf_paths.transformations("translate(1, 2) scale(3) rotate(90 1 1) matrix(1 2 3 4 5 6)"))
    assert found[:2] == [(1, 0, 0, 1, 1, 2), (3, 0, 0, 3, 0, 0)]
    assert found[2] == pytest.approx((0, 1, -1, 0, 2, 0))
    assert found[3] == (1, 2, 3, 4, 5, 6)
