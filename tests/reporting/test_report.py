import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from chatmusician.reporting.plots import Bar, bars, histograms
from chatmusician.reporting.report import (
    Excerpt,
    Picture,
    Section,
    Span,
    Table,
    TuneExhibit,
    format_cell,
    render_html,
    render_markdown,
    render_text,
    report_files,
)

PNG = bars({"parse rate": {"mine": Bar(value=0.97, low=0.94, high=0.99)}}, title="Tunes", unit="share")
SECTIONS = [
    Section(
        title="Tunes & bars",
        text="What was measured.\n\nAnd how.",
        tables=(
            Table(
                columns=("figure", "mine", "real <tunes>"), rows=(("![parse](x) | rate", 0.97, None),), note="Of 200."
            ),
        ),
        pictures=(Picture(name="rates", png=PNG, alt='The "rates"'),),
    ),
    Section(
        title="Gallery",
        tunes=(TuneExhibit(title="jig, best", question="A <jig>?", abc="X:1\nK:G\nG|]", png=PNG, mp3=b"\xff\xfb"),),
    ),
    Section(
        title="Texts",
        excerpts=(
            Excerpt(
                title="of <b>",
                note="Two & two.",
                spans=(
                    Span(text="Play <it>``` ", faint=True),
                    Span(text="</s>", faint=True, strong=True),
                    Span(text="G|]", strong=True),
                ),
            ),
        ),
    ),
]


@pytest.mark.parametrize(
    ("cell", "text"),
    [("reel", "reel"), (12345, "12,345"), (0.97, "0.970"), (88.35123, "88.4"), (1234.5, "1,234"), (None, "-")],
)
def test_numbers_have_as_many_digits_as_they_deserve(cell: str | float | int | None, text: str) -> None:
    assert format_cell(cell) == text


def test_markdown() -> None:
    """Data can be no HTML, picture or link, and no end of the block that holds them."""
    assert render_markdown("Evaluation", SECTIONS) == (
        "# Evaluation\n\n## Tunes & bars\n\nWhat was measured.\n\nAnd how.\n\n"
        "| figure | mine | real \\<tunes> |\n|---|---:|---:|\n| ![parse]\\(x) \\| rate | 0.970 | - |\n\nOf 200.\n\n"
        '![The "rates"](rates.png)\n\n## Gallery\n\n### jig, best\n\n```abc\nX:1\nK:G\nG|]\n```\n\n'
        "## Texts\n\n### of \\<b>\n\nTwo & two.\n\n````text\n⟦Play <it>``` </s>⟧G|]\n````\n"
    )


def test_a_table_in_a_terminal_has_its_columns_aligned() -> None:
    table = Table(columns=("", "train", "test"), rows=(("rows", 1234, 5), ("fill", 0.5, None)))
    assert render_text(table) == "      train  test\nrows  1,234     5\nfill  0.500     -"


def test_the_files_of_a_report() -> None:
    files = report_files("Evaluation", SECTIONS)
    assert sorted(files) == ["rates.png", "report.html", "report.md"]
    assert files["rates.png"] == PNG
    assert files["report.md"].decode() == render_markdown("Evaluation", SECTIONS)
    assert files["report.html"].decode() == render_html("Evaluation", SECTIONS)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.spans: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "span":
            self.spans.append((dict(attrs)["class"] or "", ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open[-1:] == ["span"]:
            kind, text = self.spans.pop()
            self.spans.append((kind, text + data))


def test_html_is_well_formed_and_loads_nothing_from_elsewhere() -> None:
    reader = _Reader()
    reader.feed(render_html("Evaluation <1>", SECTIONS))
    assert reader.open == []
    assert all(
        source.startswith(("data:image/png;base64,", "data:audio/mpeg;base64,", "#")) for source in reader.sources
    )
    assert sum(source.startswith("data:") for source in reader.sources) == 3
    for text in (
        "Evaluation <1>",
        "Tunes & bars",
        "real <tunes>",
        "A <jig>?",
        "0.970",
        "Of 200.",
        "of <b>",
        "Two & two",
    ):
        assert text in reader.text
    assert reader.spans == [("faint", "Play <it>``` "), ("faint strong", "</s>"), ("full strong", "G|]")]


def colours(png: bytes) -> set[tuple[int, int, int]]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.width > 500
        return {colour for _, colour in image.convert("RGB").getcolors(10**6) or ()}


TWO = {"mine": Bar(value=0.5, low=0.4, high=0.6), "theirs": Bar(value=0.7, low=0.7, high=0.7)}


@pytest.mark.parametrize(
    "plot",
    [
        bars({"a": TWO, "b": TWO}, title="Two models", unit="share"),
        bars({"$a_": {"mine": Bar(value=2, low=2, high=2)}}, title="A name that is no formula", unit="tunes"),
        histograms({"mine": [0.25, 0.75], "real": [0.5, 0.5]}, [-1, 0, 12], title="Steps", unit="semitones"),
        histograms({"mine": [1.0]}, [0, 100], title="One bin", unit="percent"),
    ],
)
def test_plots_are_pictures(plot: bytes) -> None:
    assert len(colours(plot)) > 10


def test_bars_have_whiskers_only_where_there_are_intervals() -> None:
    def draw(*, low: float, high: float) -> bytes:
        return bars({"a": {"mine": Bar(value=0.5, low=low, high=high)}}, title="One", unit="share")

    assert draw(low=0.5, high=0.5) != draw(low=0.4999, high=0.5001)
