"""The report of a look at prepared data: from what was found to tables, plots and excerpts."""

from collections.abc import Iterable, Mapping

import numpy as np

from chatmusician.data.inspection.document_sections import documents_section, repetition_section
from chatmusician.data.inspection.figures import quantile, shares_by_bin
from chatmusician.data.inspection.folder import PackedDocument
from chatmusician.data.inspection.look import Look
from chatmusician.data.inspection.source_section import percent, source_section
from chatmusician.data.inspection.token_text import visible_line
from chatmusician.reporting.plots import histograms
from chatmusician.reporting.report import Cell, Picture, Section, Table

BINS = 64
"""Most bins in the plot of lengths."""

FATES = {
    "split": "longer than a row: in several pieces",
    "truncate": "longer than a row: only the beginning is there",
    "drop": "longer than a row: not there",
    "empty": "without a token: not there",
}
"""What became of documents that did not go into a row as they were."""


def sections_of(look: Look, examples: Iterable[PackedDocument]) -> list[Section]:
    """All sections in the order of the report, the ``examples`` at its end."""
    sections = [_totals(look), _lengths(look), source_section(look), _fill(look), _left_out(look)]
    return [*sections, repetition_section(look), *documents_section(look, examples)]


def totals_table(look: Look) -> Table:
    """The figures that say most, a split a column."""
    summary = {split: look.summary[split] for split in look.figures}
    lines: dict[str, Mapping[str, Cell]] = {
        "documents of the corpus": {split: total["documents"] for split, total in summary.items()},
        "documents in rows": {split: found.documents for split, found in look.figures.items()},
        "rows": {split: total["rows"] for split, total in summary.items()},
        "tokens": {split: total["tokens"] for split, total in summary.items()},
        "trained tokens": {split: total["trained_tokens"] for split, total in summary.items()},
        "trained, %": {split: percent(total["trained_tokens"], total["tokens"]) for split, total in summary.items()},
        "bytes a trained token": {
            split: total["trained_bytes"] / total["trained_tokens"] if total["trained_tokens"] else None
            for split, total in summary.items()
        },
        "fill, %": {split: 100 * total["fill"] for split, total in summary.items()},
        "copies of earlier documents": {split: repeats.repeated for split, repeats in look.repeats.items()},
        "in train too": {split: leaks.documents for split, leaks in look.leaks.items()},
    }
    rows = tuple((name, *(cells.get(split) for split in look.figures)) for name, cells in lines.items())
    note = (
        "Documents in rows: an overlong one that was split counts once a piece. Copies, and held-out documents that "
        "are in train too, are those whose token ids are the same."
    )
    return Table(columns=("", *look.figures), rows=rows, note=note)


def _totals(look: Look) -> Section:
    settings = {key: str(value) for key, value in look.folder.manifest.settings.items() if not isinstance(value, dict)}
    vocabulary = {"vocabulary": str(look.folder.tokenizer.get_vocab_size())}
    told = Table(columns=("setting", "value"), rows=tuple({**settings, **vocabulary}.items()))
    return Section(title="Totals", tables=(totals_table(look), told))


def _lengths(look: Look) -> Section:
    seq_len = look.folder.seq_len
    width = -(-seq_len // BINS)
    edges = list(range(1, seq_len + width + 1, width))
    rows = tuple(
        (
            split,
            found.documents,
            int(np.flatnonzero(found.lengths)[0]),
            quantile(found.lengths, 0.5),
            float(np.arange(seq_len + 1) @ found.lengths / found.documents),
            quantile(found.lengths, 0.9),
            int(np.flatnonzero(found.lengths)[-1]),
            percent(int(found.lengths[seq_len]), found.documents),
        )
        for split, found in look.figures.items()
    )
    columns = ("", "documents", "shortest", "median", "mean", "90%", "longest", "as long as a row, %")
    shares = {split: shares_by_bin(found.lengths, edges) for split, found in look.figures.items()}
    plot = histograms(shares, edges, title="Lengths of documents", unit="tokens")
    return Section(
        title="Lengths",
        text="Tokens of the documents as they lie in the rows, those added at their ends included.",
        tables=(Table(columns=columns, rows=rows),),
        pictures=(Picture(name="lengths", png=plot, alt="Shares of documents by their number of tokens"),),
    )


def _fill(look: Look) -> Section:
    seq_len = look.folder.seq_len
    rows = []
    for split, found in look.figures.items():
        count, tokens = int(found.fill.sum()), int(np.arange(seq_len + 1) @ found.fill)
        full, emptiest = int(found.fill[seq_len]), int(np.flatnonzero(found.fill)[0])
        padding, space = count * seq_len - tokens, count * seq_len
        rows.append((split, count, percent(tokens, space), padding, percent(full, count), percent(emptiest, seq_len)))
    columns = ("", "rows", "fill, %", "padding, tokens", "rows without padding, %", "emptiest row, %")
    percents = range(0, 101, 5)
    edges = [-(-seq_len * part // 100) for part in percents]
    shares = {split: shares_by_bin(found.fill, edges) for split, found in look.figures.items()}
    plot = histograms(shares, percents, title="Fill of rows", unit="% of a row that is not padding")
    return Section(
        title="Fill",
        text="How much of the rows is not padding.",
        tables=(Table(columns=columns, rows=tuple(rows)),),
        pictures=(Picture(name="fill", png=plot, alt="Shares of rows by how much of them is not padding"),),
    )


def _left_out(look: Look) -> Section:
    fates = sorted({fate for total in look.summary.values() for fate in total["overlong_or_empty"]})
    counts = tuple(
        (FATES.get(fate, fate), *(total["overlong_or_empty"].get(fate, 0) for total in look.summary.values()))
        for fate in fates
    )
    reasons = tuple((visible_line(kind.reason), kind.parts, visible_line(kind.first)) for kind in look.rejected)
    tables = (
        Table(columns=("documents", *look.summary), rows=counts),
        Table(
            columns=("rejected because", "parts", "the first"),
            rows=reasons,
            note="Reasons that differ only in names of files, quotations and numbers are one here.",
        ),
    )
    return Section(
        title="Cut and left out",
        text=f"{left_out_line(look)}.".capitalize(),
        tables=tuple(table for table in tables if table.rows),
    )


def left_out_line(look: Look) -> str:
    """What is not in the rows as the corpus has it, in one line."""
    parts, kinds = sum(kind.parts for kind in look.rejected), len(look.rejected)
    rejected = f"rejected parts of the corpus: {parts:,}{f', of {kinds} kinds' if kinds > 1 else ''}"
    fates: dict[str, int] = {}
    for total in look.summary.values():
        for fate, count in total["overlong_or_empty"].items():
            fates[fate] = fates.get(fate, 0) + count
    cut = ", ".join(f"{count:,} {fate}" for fate, count in sorted(fates.items())) or "none"
    return f"{rejected}; overlong or empty documents: {cut}"
