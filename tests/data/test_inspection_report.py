"""The report of a look: its figures by hand, and that data are only shown in it."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from prepared_folders import prepare_documents, rewrite_shard, with_sources, without_sources

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.inspection.command import inspect
from chatmusician.data.units import Rejection

NASTY = '</pre><script src="https://example.org/x.js"></script>![i](https://example.org/i.png)```\x1b[2J'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 8 tokens: ``abcdefgh``, twice ``abcd`` with ``ABcd`` masked at its beginning, and ``xy``."""
    train = [
        plain_document("abcdefgh", source="reels"),
        plain_document("abcd", source="jigs"),
        Document(text="abcd", trained=((2, 4),), source="reels"),
        plain_document("xy", source="$ba_r$s|<b>"),
    ]
    held_out = [plain_document("xy", source="jigs"), plain_document("zz", source="jigs")]
    folder = prepare_documents(
        tmp_path_factory.mktemp("prepared"),
        {"train": train, "validation": held_out, "test": held_out[1:]},
        seq_len=8,
        rejected=[Rejection(file="a<b>.abc", line=1, reason=f"'{number}' is | no note") for number in range(3)],
    )
    rewrite_shard(folder, "train", with_sources([2], [1, 2], [0]))
    output = tmp_path_factory.mktemp("report") / "new"
    inspect(directory=folder, split="train", first_row=1, rows=1, output=output)
    return output


def test_the_files(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == [
        "fill.png",
        "lengths.png",
        "report.html",
        "report.md",
        "sources.png",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "| documents of the corpus | 4 | 2 | 1 |",
        "| documents in rows | 4 | 2 | 1 |",
        "| rows | 3 | 1 | 1 |",
        "| tokens | 18 | 4 | 2 |",
        "| trained tokens | 13 | 2 | 1 |",
        "| trained, % | 72.2 | 50.0 | 50.0 |",
        "| bytes a trained token | 1.231 | 2.000 | 2.000 |",  # 8 + 4 + 2 + 2 bytes in train
        "| fill, % | 75.0 | 50.0 | 25.0 |",
        "| copies of earlier documents | 1 | 0 | 0 |",
        "| in train too | - | 1 | 0 |",
        "| overlong | split |",
        "| vocabulary | 259 |",
        # documents, shortest, median, mean, 90%, longest, as long as a row
        "| train | 4 | 2 | 4 | 4.500 | 8 | 8 | 25.0 |",
        "| reels | 2 | 50.0 | 12 | 66.7 | 9 | 69.2 |",
        "| jigs | 1 | 25.0 | 4 | 22.2 | 3 | 23.1 |",
        "| $ba_r$s\\|\\<b> | 1 | 25.0 | 2 | 11.1 | 1 | 7.692 |",
        # rows, fill, padding, rows without padding, emptiest row
        "| train | 3 | 75.0 | 6 | 66.7 | 25.0 |",
        "| '…' is \\| no note | 3 | a\\<b>.abc:1 |",
        # documents, different, copies, tokens in them, most of one, in train too
        "| train | 4 | 3 | 1 | 25.0 | 4 | 2 | - | - |",
        "| validation | 2 | 2 | 0 | 0.000 | 0 | 1 | 1 | 50.0 |",
        "### 2 times in train, first in train row 1, document 1 of 2",
        "### validation row 0, document 1 of 2 is train row 2, document 1 of 1",
        "### train row 1, document 2 of 2",
        "⟦ab⟧cd",
        "⟦x⟧y",
    ],
)
def test_figures(report: Path, line: str) -> None:
    assert line in (report / "report.md").read_text().splitlines()


def test_sources_that_shards_do_not_tell_apart_have_no_trained_tokens(tmp_path: Path) -> None:
    documents = [plain_document("abc", source=source) for source in ("reels", "jigs", "jigs")]
    folder = prepare_documents(tmp_path / "prepared", {"train": documents}, seq_len=8)
    rewrite_shard(folder, "train", without_sources)
    inspect(directory=folder, split="train", first_row=0, rows=0, output=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| jigs | 2 | 66.7 | 6 | 66.7 | - | - |\n| reels | 1 | 33.3 | 3 | 33.3 | - | - |" in text
    assert "## Documents" not in text


def test_many_sources_are_summed(tmp_path: Path) -> None:
    """26 sources of 1 to 26 tokens: the 24 largest, and the smallest two, whose 1 + 2 tokens are 0.855% of 351."""
    documents = [plain_document("a" * (number + 1), source=f"s{number:02}") for number in range(26)]
    folder = prepare_documents(tmp_path / "prepared", {"train": documents}, seq_len=26)
    inspect(directory=folder, split="train", first_row=0, rows=0, output=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| s02 | 1 | 3.846 | 3 | 0.855 |" in text
    assert "| 2 others | 2 | 7.692 | 3 | 0.855 |" in text
    assert "| s01 |" not in text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""
        self.classes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        self.classes += [value or "" for name, value in attrs if name == "class" and tag == "span"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_data_are_only_shown(tmp_path: Path) -> None:
    documents = [plain_document(NASTY, source=NASTY), plain_document(NASTY, source=NASTY)]
    rejected = [Rejection(file=NASTY, line=1, reason=f"{NASTY} twice")]
    folder = prepare_documents(
        tmp_path / "prepared", {"train": documents, "test": documents[:1]}, seq_len=256, rejected=rejected
    )
    inspect(directory=folder, split="train", first_row=0, rows=1, output=tmp_path)
    page = _Reader()
    page.feed((tmp_path / "report.html").read_text())
    assert not page.tags & {"script", "b"}
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.loaded)
    shown = NASTY.replace("\x1b", "␛")
    assert page.text.count(shown[1:]) >= 6  # twice an example, repeated, leaked, a source and the place of a rejection
    assert set(page.classes) == {"faint", "full"}
    markdown = (tmp_path / "report.md").read_text()
    assert "\x1b" not in markdown
    outside = "".join(part for index, part in enumerate(markdown.split("````")) if index % 2 == 0)
    assert "\\<script" in outside
    assert "<script" not in outside.replace("\\<script", "")
    assert "](https" not in outside
