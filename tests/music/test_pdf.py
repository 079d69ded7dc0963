"""PDF files as a reader of PDF sees them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from chatmusician.music.children.pdf_writer import find_fonts, lacking
from chatmusician.music.engraving import bundled_fonts, engrave, rasterise, write_pdf
from chatmusician.music.sandbox import ToolError

TITLE = "The Test Reel (“Ж”)"
HEADER = f"X:1\nT:{TITLE}\nC:Trad.\nM:4/4\nL:1/8\nQ:1/4=120\nK:G\n"
A4 = (595.2756, 841.8898)
"""In points."""


def write(abc: str) -> pypdfium2.PdfDocument:
    drawing = write_pdf(engrave(abc, picture=False, paper=True).pages, title=TITLE)
    assert drawing.notes == ()
    return pypdfium2.PdfDocument(drawing.content)


def words(page: pypdfium2.PdfPage) -> list[str]:
    return page.get_textpage().get_text_range().split("\r\n")


def ink(page: pypdfium2.PdfPage) -> np.ndarray:
    """How dark a page is, from 0 to 1, in pixels of a quarter of a point; no line is drawn thinner than a pixel."""
    return 1 - np.asarray(page.render(scale=4, grayscale=True).to_pil()) / 255


def test_a_pdf_has_pages_of_a4_and_can_be_searched() -> None:
    pdf = write(HEADER + "GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\n" * 30)
    assert len(pdf) == 3
    assert pdf.get_metadata_dict()["Title"] == TITLE
    for page in pdf:
        assert page.get_size() == pytest.approx(A4, abs=0.01)
    assert {TITLE, "Trad.", "♩ = 120"} <= set(words(pdf[0]))
    assert all(word.isdigit() for word in words(pdf[1]))  # numbers of bars


def test_a_pdf_is_the_same_each_time() -> None:
    pages = engrave(HEADER + "GABc dedB|]\n", picture=False, paper=True).pages
    assert write_pdf(pages, title=TITLE).content == write_pdf(pages, title=TITLE).content


def test_a_title_is_no_markup() -> None:
    title = '#panic("x") \\ $a$ *b*'
    pages = engrave("X:1\nL:1/4\nK:C\nC|\n", picture=False, paper=True).pages
    assert pypdfium2.PdfDocument(write_pdf(pages, title=title).content).get_metadata_dict()["Title"] == title


def test_a_page_is_drawn_as_in_svg() -> None:
    page = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2100 2970" width="2100px" height="2970px">
        <rect x="210" y="297" width="420" height="594"/>
        <g transform="translate(1050, 1485) scale(2)"><path d="M0 0h210v297h-210z"/></g>
    </svg>"""
    dark = ink(pypdfium2.PdfDocument(write_pdf([page], title="").content)[0]) > 0.5
    rows, columns = np.indices(dark.shape)
    across, down = columns / dark.shape[1], rows / dark.shape[0]
    first = (across > 0.1) & (across < 0.3) & (down > 0.1) & (down < 0.3)
    second = (across > 0.5) & (across < 0.7) & (down > 0.5) & (down < 0.7)
    assert (dark != (first | second)).mean() < 0.005  # the edges


def test_pages_have_the_ink_of_their_pictures() -> None:
    """resvg and typst read SVG each in its own way."""
    (page,) = engrave(HEADER + "GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\n", picture=False, paper=True).pages
    dark = ink(pypdfium2.PdfDocument(write_pdf([page], title="").content)[0])
    picture = Image.open(BytesIO(rasterise(page).content)).convert("L").resize(dark.shape[::-1])
    drawn = 1 - np.asarray(picture) / 255
    for axis in (0, 1):  # where the ink begins and ends
        ours, theirs = (np.flatnonzero((part > 0.2).any(axis))[[0, -1]] for part in (dark, drawn))
        assert ours == pytest.approx(theirs, abs=8)
    assert dark.mean() == pytest.approx(drawn.mean(), rel=0.1)


def test_characters_that_a_pdf_lacks_are_named() -> None:
    pages = engrave("X:1\nT:Tune \U0010fffd\nL:1/4\nK:C\nC|\n", picture=False, paper=True).pages
    (note,) = write_pdf(pages, title="").notes
    assert note == "the PDF lacks the characters '\\U0010fffd'; install a font that has them"


def test_a_character_is_looked_for_in_every_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fonts = find_fonts(bundled_fonts(), system=False)
    assert sorted(fonts.families()) == [
        *("DejaVu Sans", "DejaVu Sans Display", "DejaVu Sans Mono", "DejaVu Serif", "DejaVu Serif Display"),
        "STIXGeneral",
    ]
    assert lacking("aЖ♩ \n\U0010fffd", fonts) == {"\U0010fffd"}


def test_a_page_that_is_no_svg_is_refused() -> None:
    with pytest.raises(ToolError, match=r"^the PDF writer \(typst\) could not process this tune"):
        write_pdf(["<svg"], title="")
