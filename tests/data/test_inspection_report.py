"""The report of a look: its figures by hand, and that data are only shown in it."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from prepared_folders import prepare_documents

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.inspection.command import inspect
from chatmusician.data.units import Rejection

NASTY = '</pre><script src="https://example.org/x.js"></script>![i](https://example.org/i.png)```\x1b[2J'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 16 tokens: ``abcdefghijklmnop``, twice ``abcdefgh``, once masked up to its ``d``, and ``xy``."""
    train = [
        plain_document("abcdefghijklmnop", source="reels"),
        plain_document("abcdefgh", source="jigs"),
        Document(text="abcdefgh", trained=((4, 8),), source="reels"),
        plain_document("xy", source="$ba_r$s|<b>"),
    ]
    held_out = [plain_document(text, source="jigs") for text in ("abcdefgh", "xy", "zz")]
    folder = prepare_documents(
        tmp_path_factory.mktemp("prepared"),
        {"train": train, "validation": held_out[:2], "test": held_out[2:]},
        seq_len=16,
        rejected=[Rejection(file="a<b>.abc", line=1, reason=f"'{number}' is | no note") for number in range(3)],
    )
    output = tmp_path_factory.mktemp("report") / "new"
    inspect(directory=folder, split=None, first_row=1, rows=1, output=output)
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
        "| tokens | 34 | 10 | 2 |",
        "| trained tokens | 27 | 8 | 1 |",
        "| trained, % | 79.4 | 80.0 | 50.0 |",
        "| bytes a trained token | 1.111 | 1.250 | 2.000 |",  # 16 + 8 + 4 + 2 bytes in train
        "| fill, % | 70.8 | 62.5 | 12.5 |",
        "| copies of earlier documents | 1 | 0 | 0 |",
        "| in train too | - | 1 | 0 |",
        "| overlong | split |",
        "| vocabulary | 259 |",
        # documents, shortest, median, mean, 90%, longest, as long as a row
        "| train | 4 | 2 | 8 | 8.500 | 16 | 16 | 25.0 |",
        "| reels | 2 | 50.0 | 24 | 70.6 | 19 | 70.4 |",
        "| jigs | 1 | 25.0 | 8 | 23.5 | 7 | 25.9 |",
        "| $ba_r$s\\|\\<b> | 1 | 25.0 | 2 | 5.882 | 1 | 3.704 |",
        # rows, fill, padding, rows without padding, emptiest row
        "| train | 3 | 70.8 | 14 | 66.7 | 12.5 |",
        "| '…' is \\| no note | 3 | a\\<b>.abc:1 |",
        # documents, different, copies, tokens in them, most of one, in train too
        "| train | 3 | 2 | 1 | 33.3 | 8 | 2 | - | - |",
        "| train, under 8 tokens | 1 | 1 | 0 | 0.000 | 0 | 1 | - | - |",
        "| validation | 1 | 1 | 0 | 0.000 | 0 | 1 | 1 | 100.0 |",
        "| validation, under 8 tokens | 1 | 1 | 0 | 0.000 | 0 | 1 | 1 | 100.0 |",
        "| test, under 8 tokens | 1 | 1 | 0 | 0.000 | 0 | 1 | 0 | 0.000 |",
        "### 2 times in train, first in train row 1, document 1 of 2",
        "### validation row 0, document 1 of 2 is train row 1, document 1 of 2",
        "### train row 1, document 2 of 2",
        "⟦abcd⟧efgh",
    ],
)
def test_figures(report: Path, line: str) -> None:
    assert line in (report / "report.md").read_text().splitlines()


def test_a_split_without_documents_to_compare_has_no_line(report: Path) -> None:
    duplicates = (report / "report.md").read_text().split("## Duplicates")[1]
    assert "| test |" not in duplicates


def test_a_folder_without_a_training_split(tmp_path: Path) -> None:
    documents = [plain_document("abcdefgh", source=source) for source in ("reels", "jigs")]
    folder = prepare_documents(tmp_path / "prepared", {"test": documents}, only=("validation", "test"))
    inspect(directory=folder, split=None, first_row=0, rows=1, output=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| test | 2 | 1 | 1 | 50.0 | 8 | 2 | - | - |" in text
    assert "### test row 0, document 2 of 2" in text


def test_many_sources_are_summed(tmp_path: Path) -> None:
    """26 sources of 1 to 26 tokens: the 24 largest, and the smallest two, whose 1 + 2 tokens are 0.855% of 351."""
    documents = [plain_document("a" * (number + 1), source=f"s{number:02}") for number in range(26)]
    folder = prepare_documents(tmp_path / "prepared", {"train": documents}, seq_len=26)
    inspect(directory=folder, split="train", first_row=0, rows=0, output=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| s02 | 1 | 3.846 | 3 | 0.855 |" in text
    assert "| 2 others | 2 | 7.692 | 3 | 0.855 |" in text
    assert "| s01 |" not in text


def test_many_reasons_are_summed(tmp_path: Path) -> None:
    """26 reasons, one of them there twice: the 24 most frequent, and the two that come last."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    rejected = [Rejection(file="", line=1, reason=f"no {letter}") for letter in "z" + letters]
    folder = prepare_documents(tmp_path / "p", {"train": [plain_document("ab", source="a")]}, rejected=rejected)
    inspect(directory=folder, split=None, first_row=0, rows=0, output=tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Rejected parts of the corpus: 27, of 26 kinds; overlong or empty documents: none." in text
    assert "| no z | 2 | :1 |" in text
    assert "| no w | 1 | :1 |\n| 2 other reasons | 2 |  |" in text


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
