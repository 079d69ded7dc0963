"""What was measured as something one wants to read: Markdown for a repository, one HTML file for everybody else.

Evaluations and looks at prepared data give `Section`s of tables, pictures, tunes and excerpts; what is written here
knows nothing of metrics. The HTML file holds everything, pictures and sound included, so that it can be sent by mail
and opened anywhere.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

Cell = str | float | int | None
"""A text, a number, or None for what was not measured."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns. The first column names the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file with words for those who cannot see it."""

    name: str
    """A file name without its ending."""
    png: bytes
    alt: str


@dataclass(frozen=True, kw_only=True)
class TuneExhibit:
    """A tune to look at and to hear."""

    title: str
    question: str
    abc: str
    remarks: tuple[str, ...] = ()
    """What is wrong with it, and what could not be drawn or played."""
    png: bytes | None = None
    mp3: bytes | None = None


FAINT = ("⟦", "⟧")
"""What stands around faint text where there are no colours."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of an excerpt, set in one way."""

    text: str
    faint: bool = False
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A text to read, parts of which are set apart."""

    title: str
    spans: tuple[Span, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report."""

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tunes: tuple[TuneExhibit, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()


def report_files(title: str, sections: Sequence[Section]) -> dict[str, bytes]:
    """The files of a report by their names: ``report.md`` with its pictures, and ``report.html``."""
    pictures = {f"{picture.name}.png": picture.png for section in sections for picture in section.pictures}
    markdown, page = render_markdown(title, sections), render_html(title, sections)
    return {**pictures, "report.md": markdown.encode(), "report.html": page.encode()}


def format_cell(cell: Cell) -> str:
    """A number with as many digits as it deserves, a dash for nothing.

    >>> [format_cell(cell) for cell in ("reel", 12345, 0.97, 88.35123, 1234.5, None)]
    ['reel', '12,345', '0.970', '88.4', '1,234', '-']
    """
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    magnitude = abs(cell)
    return f"{cell:.3f}" if magnitude < 10 else f"{cell:.1f}" if magnitude < 1000 else f"{cell:,.0f}"


def render_text(table: Table) -> str:
    """A table for the terminal, without its note.

    >>> print(render_text(Table(columns=("", "train"), rows=(("rows", 1234), ("fill", 0.5)))))
          train
    rows  1,234
    fill  0.500
    """
    lines = [table.columns, *([format_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )


def render_markdown(title: str, sections: Sequence[Section]) -> str:
    """The report as Markdown; pictures are referred to as ``NAME.png`` beside it, and tunes stand as ABC."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [section.text] if section.text else []
        for table in section.tables:
            parts += [_markdown_table(table), table.note] if table.note else [_markdown_table(table)]
        parts += [f"![{picture.alt}]({picture.name}.png)" for picture in section.pictures]
        for tune in section.tunes:
            parts += [f"### {tune.title}", *(f"- {remark}" for remark in tune.remarks), _fenced(tune.abc, "abc")]
        for excerpt in section.excerpts:
            parts += [f"### {_markdown_text(excerpt.title)}"]
            parts += [_markdown_text(excerpt.note)] if excerpt.note else []
            parts.append(_fenced(_marked(excerpt.spans), "text"))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_markdown_text(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "|".join(["", "---", *["---:"] * (len(table.columns) - 1), ""])
    return "\n".join([line(table.columns), rule, *(line([format_cell(cell) for cell in row]) for row in table.rows)])


def _markdown_text(text: str) -> str:
    """A text of the data on one line, of which nothing becomes HTML, a link or a picture."""
    return text.replace("\n", " ").replace("<", "\\<").replace("](", "]\\(")


def _marked(spans: Sequence[Span]) -> str:
    """Excerpts without colours: faint text, however many spans of it, stands in one pair of `FAINT`."""
    text = ""
    for faint, group in groupby(spans, key=lambda span: span.faint):
        before, after = FAINT if faint else ("", "")
        text += before + "".join(span.text for span in group) + after
    return text


def _fenced(text: str, language: str) -> str:
    """A text as it is; the fence is longer than any run of back-quotes in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def render_html(title: str, sections: Sequence[Section]) -> str:
    """The report as one HTML file that loads nothing from elsewhere."""
    links = "".join(
        f'<a href="#{_anchor(number)}">{html.escape(section.title)}</a>' for number, section in enumerate(sections)
    )
    body = "".join(_html_section(number, section) for number, section in enumerate(sections))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><header><h1>{html.escape(title)}</h1><nav>{links}</nav></header>\n<main>{body}</main></body></html>\n"
    )


def _anchor(number: int) -> str:
    return f"section-{number}"


def _html_section(number: int, section: Section) -> str:
    text = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in section.text.split("\n\n") if paragraph)
    tables = "".join(_html_table(table) for table in section.tables)
    pictures = "".join(
        f'<figure><img alt="{html.escape(picture.alt)}" src="{_data_url(picture.png, "image/png")}"></figure>'
        for picture in section.pictures
    )
    tunes = "".join(_html_tune(tune) for tune in section.tunes)
    gallery = f'<div class="gallery">{tunes}</div>' if tunes else ""
    excerpts = "".join(_html_excerpt(excerpt) for excerpt in section.excerpts)
    heading = html.escape(section.title)
    content = f"<h2>{heading}</h2>{text}{tables}{pictures}{gallery}{excerpts}"
    return f'<section id="{_anchor(number)}">{content}</section>\n'


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(format_cell(cell))}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}'


def _html_tune(tune: TuneExhibit) -> str:
    score = f'<img alt="The score" src="{_data_url(tune.png, "image/png")}">' if tune.png else ""
    sound = f'<audio controls preload="none" src="{_data_url(tune.mp3, "audio/mpeg")}"></audio>' if tune.mp3 else ""
    remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in tune.remarks)
    listed = f"<ul>{remarks}</ul>" if remarks else ""
    return (
        f"<article><h3>{html.escape(tune.title)}</h3>{score}{sound}{listed}"
        f"<details><summary>Question and ABC</summary><pre>{html.escape(tune.question)}</pre>"
        f"<pre>{html.escape(tune.abc)}</pre></details></article>"
    )


def _html_excerpt(excerpt: Excerpt) -> str:
    spans = "".join(
        f'<span class="{"faint" if span.faint else "full"}{" strong" if span.strong else ""}">'
        f"{html.escape(span.text)}</span>"
        for span in excerpt.spans
    )
    note = f'<p class="note">{html.escape(excerpt.note)}</p>' if excerpt.note else ""
    return f'<h3>{html.escape(excerpt.title)}</h3>{note}<pre class="excerpt">{spans}</pre>'


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --full: #0b6b35; --faint: #9a4a00; }
@media (prefers-color-scheme: dark) { :root { --full: #6fdc9b; --faint: #f0a35e; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
nav a { margin-right: 1rem; }
.wide { margin-bottom: 1rem; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { background: #fff; max-width: 100%; }
audio { display: block; margin: .5rem 0; width: 100%; }
pre { background: var(--soft); overflow-x: auto; padding: .5rem; white-space: pre-wrap; }
.note { font-size: .9rem; opacity: .8; }
.gallery { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); }
.excerpt { max-height: 24rem; overflow-y: auto; }
.full { color: var(--full); }
.faint { background: #f0a35e33; color: var(--faint); }
.strong { border: 1px solid; border-radius: .2rem; font-weight: bold; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; }
"""
