import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from chatmusician.evaluation.plots import Bar, bars, histograms
from chatmusician.evaluation.report import (
    Picture,
    Section,
    Table,
    TuneExhibit,
    format_cell,
    render_html,
    render_markdown,
)

PNG = bars({"parse rate": {"mine": Bar(value=0.97, low=0.94, high=0.99)}}, title="Tunes", unit="share")
SECTIONS = [
    Section(
        title="Tunes & bars",
        text="What was measured.\n\nAnd how.",
        tables=(
            Table(columns=("figure", "mine", "real <tunes>"), rows=(("parse | rate", 0.97, None),), note="Of 200."),
        ),
        pictures=(Picture(name="rates", png=PNG, alt='The "rates"'),),
    ),
    Section(
        title="Gallery",
        tunes=(TuneExhibit(title="jig, best", question="A <jig>?", abc="X:1\nK:G\nG|]", png=PNG, mp3=b"\xff\xfb"),),
    ),
]


@pytest.mark.parametrize(
    ("cell", "text"),
    [("reel", "reel"), (12345, "12,345"), (0.97, "0.970"), (88.35123, "88.4"), (1234.5, "1,234"), (None, "-")],
)
def test_numbers_have_as_many_digits_as_they_deserve(cell: str | float | int | None, text: str) -> None:
    assert format_cell(cell) == text


def test_markdown() -> None:
    assert render_markdown("Evaluation", SECTIONS) == (
        "# Evaluation\n\n## Tunes & bars\n\nWhat was measured.\n\nAnd how.\n\n"
        "| figure | mine | real <tunes> |\n|---|---:|---:|\n| parse \\| rate | 0.970 | - |\n\nOf 200.\n\n"
        '![The "rates"](rates.png)\n\n## Gallery\n\n### jig, best\n\n```abc\nX:1\nK:G\nG|]\n```\n'
    )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_well_formed_and_loads_nothing_from_elsewhere() -> None:
    reader = _Reader()
    reader.feed(render_html("Evaluation <1>", SECTIONS))
    assert reader.open == []
    assert all(
        source.startswith(("data:image/png;base64,", "data:audio/mpeg;base64,", "#")) for source in reader.sources
    )
    assert sum(source.startswith("data:") for source in reader.sources) == 3
    for text in ("Evaluation <1>", "Tunes & bars", "real <tunes>", "A <jig>?", "0.970", "Of 200."):
        assert text in reader.text


def test_plots_are_pictures() -> None:
    two = {"mine": Bar(value=0.5, low=0.4, high=0.6), "theirs": Bar(value=0.7, low=0.7, high=0.7)}
    plots = [
        bars({"a": two, "b": two}, title="Two models", unit="share"),
        histograms({"mine": [0.25, 0.75], "real": [0.5, 0.5]}, ["-1", "+1"], title="Steps", unit="semitones"),
    ]
    for plot in plots:
        with Image.open(io.BytesIO(plot)) as image:
            assert image.format == "PNG"
            assert image.width > 500
            assert len(image.convert("RGB").getcolors(10**6) or ()) > 10
