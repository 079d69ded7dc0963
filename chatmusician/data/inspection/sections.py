"""The report of a look at prepared data: from what was found to tables, plots and excerpts."""

from collections.abc import Iterable, Iterator, Mapping
from textwrap import fill

import numpy as np

from chatmusician.data.inspection.document_text import describe, text_runs, visible_line
from chatmusician.data.inspection.figures import SHORT, Repetition, SourceFigures, quantile, shares_by_bin
from chatmusician.data.inspection.folder import PackedDocument
from chatmusician.data.inspection.look import SHOWN, Look
from chatmusician.reporting.plots import Bar, bars, histograms
from chatmusician.reporting.report import Cell, Excerpt, Picture, Section, Span, Table

BINS = 64
"""Most bins in the plot of lengths."""
LISTED = 24
"""Sources with a line and bars of their own, and reasons with a line; the others are summed."""
NAME_WIDTH = 40
"""Characters of a name on a line beside the bars."""

FATES = {
    "split": "longer than a row: in several pieces",
    "truncate": "longer than a row: only the beginning is there",
    "drop": "longer than a row: not there",
    "empty": "without a token: not there",
}
"""What became of documents that did not go into a row as they were."""


def sections_of(look: Look, examples: Iterable[PackedDocument]) -> list[Section]:
    """All sections in the order of the report, the ``examples`` at its end."""
    sections = [_totals(look), _lengths(look), _sources(look), _fill(look), _left_out(look), _duplicates(look)]
    return [*sections, *_documents(look, examples)]


def totals_table(look: Look) -> Table:
    """The figures that say most, a split a column."""
    summary = {split: look.summary[split] for split in look.figures}
    lines: dict[str, Mapping[str, Cell]] = {
        "documents of the corpus": {split: total["documents"] for split, total in summary.items()},
        "documents in rows": {split: found.documents for split, found in look.figures.items()},
        "rows": {split: total["rows"] for split, total in summary.items()},
        "tokens": {split: total["tokens"] for split, total in summary.items()},
        "trained tokens": {split: total["trained_tokens"] for split, total in summary.items()},
        "trained, %": {split: _percent(total["trained_tokens"], total["tokens"]) for split, total in summary.items()},
        "bytes a trained token": {
            split: total["trained_bytes"] / total["trained_tokens"] if total["trained_tokens"] else None
            for split, total in summary.items()
        },
        "fill, %": {split: 100 * total["fill"] for split, total in summary.items()},
        "copies of earlier documents": {split: found.repeated for split, found in look.repetition.items()},
        "in train too": {split: found.leaked for split, found in look.repetition.items()},
    }
    rows = tuple((name, *(cells[split] for split in look.figures)) for name, cells in lines.items())
    note = (
        "Documents in rows: an overlong one that was split counts once a piece. Copies, and held-out documents that "
        f"are in train too, are those whose token ids are the same; documents under {SHORT} tokens are not counted."
    )
    return Table(columns=("", *look.figures), rows=rows, note=note)


def left_out_line(look: Look) -> str:
    """What is not in the rows as the corpus has it, in one line."""
    rejected = "not recorded here"
    if look.rejected is not None:
        parts, kinds = sum(kind.parts for kind in look.rejected), len(look.rejected)
        rejected = f"{parts:,}{f', of {kinds} kinds' if kinds > 1 else ''}"
    fates: dict[str, int] = {}
    for total in look.summary.values():
        for fate, count in total["overlong_or_empty"].items():
            fates[fate] = fates.get(fate, 0) + count
    cut = ", ".join(f"{count:,} {fate}" for fate, count in sorted(fates.items())) or "none"
    return f"rejected parts of the corpus: {rejected}; overlong or empty documents: {cut}"


def _percent(part: float, whole: float) -> float | None:
    """A share in percent; None of nothing."""
    return 100 * part / whole if whole else None


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
            _percent(int(found.lengths[seq_len]), found.documents),
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


def _sources(look: Look) -> Section:
    shares = {split: _source_shares(found) for split, found in look.sources.items()}
    columns = ("documents", "%", "tokens", "%", "trained tokens", "%")
    first = next(iter(shares))
    groups = {
        fill(name, NAME_WIDTH): {
            of: Bar(value=share, low=share, high=share)
            for of, share in zip(columns[::2], cells[1::2], strict=True)
            if share is not None
        }
        for name, cells in shares[first].items()
    }
    plot = bars(groups, title=f"Sources in {first}", unit="%")
    return Section(
        title="Sources",
        text="Documents are those of the corpus of which something is in the rows; one in several pieces counts once.",
        tables=tuple(
            Table(columns=(split, *columns), rows=tuple((name, *cells) for name, cells in of_split.items()))
            for split, of_split in shares.items()
        ),
        pictures=(Picture(name="sources", png=plot, alt=f"Shares of the sources in {first}"),),
    )


def _source_shares(sources: Mapping[str, SourceFigures]) -> dict[str, tuple[float | None, ...]]:
    """By names that can be shown: documents, tokens and trained tokens, each followed by its percentage."""
    counts: list[tuple[str, tuple[int, ...]]] = [
        (visible_line(name), (of.documents, of.tokens, of.trained_tokens)) for name, of in sources.items()
    ]
    totals = [sum(column) for column in zip(*(of for _, of in counts), strict=True)]
    shown, others = counts[:LISTED], [of for _, of in counts[LISTED:]]
    if others:
        shown.append((f"{len(others)} others", tuple(map(sum, zip(*others, strict=True)))))
    return {
        name: tuple(cell for count, total in zip(of, totals, strict=True) for cell in (count, _percent(count, total)))
        for name, of in shown
    }


def _fill(look: Look) -> Section:
    seq_len = look.folder.seq_len
    rows = []
    for split, found in look.figures.items():
        count, tokens = int(found.fill.sum()), int(np.arange(seq_len + 1) @ found.fill)
        full, emptiest = int(found.fill[seq_len]), int(np.flatnonzero(found.fill)[0])
        padding, space = count * seq_len - tokens, count * seq_len
        rows.append(
            (split, count, _percent(tokens, space), padding, _percent(full, count), _percent(emptiest, seq_len))
        )
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
    rejected = look.rejected or ()
    reasons = [(visible_line(kind.reason), kind.parts, visible_line(kind.first)) for kind in rejected[:LISTED]]
    if others := rejected[LISTED:]:
        reasons.append((f"{len(others)} other reasons", sum(kind.parts for kind in others), ""))
    tables = (
        Table(columns=("documents", *look.summary), rows=counts),
        Table(
            columns=("rejected because", "parts", "the first"),
            rows=tuple(reasons),
            note="Reasons that differ only in names of files, quotations and numbers are one here.",
        ),
    )
    return Section(
        title="Cut and left out",
        text=f"{left_out_line(look)}.".capitalize(),
        tables=tuple(table for table in tables if table.rows),
    )


def _duplicates(look: Look) -> Section:
    """How much of each split repeats itself or the training split, with the documents that do so most."""
    compared = [
        (f"{split}{which}", found)
        for repetition, which in ((look.repetition, ""), (look.short_repetition, f", under {SHORT} tokens"))
        for split, found in repetition.items()
        if found.documents
    ]
    columns = ("", "documents", "different", "copies", "%", "tokens in copies", "most of one", "in train too", "%")
    return Section(
        title="Duplicates",
        text="Documents are the same where their token ids are. Copies are those of earlier documents of the split. "
        f"Those under {SHORT} tokens, mostly the ends of longer ones that were split, are apart. Shown are, in each "
        f"split, the {SHOWN} most repeated and the first {SHOWN} that are in train too.",
        tables=(Table(columns=columns, rows=tuple(_repetition_row(name, found) for name, found in compared)),),
        excerpts=(*_repeated(look), *_leaked(look)),
    )


def _repetition_row(name: str, found: Repetition) -> tuple[Cell, ...]:
    copies = (found.repeated, _percent(found.repeated, found.documents), found.tokens, found.most)
    leaked = None if found.leaked is None else _percent(found.leaked, found.documents)
    return (name, found.documents, found.distinct, *copies, found.leaked, leaked)


def _repeated(look: Look) -> Iterator[Excerpt]:
    for split, found in look.repetition.items():
        for repeated in found.repeats:
            document = look.document(split, repeated.document)
            yield _excerpt(look, document, f"{repeated.copies} times in {split}, first in {document.where}")


def _leaked(look: Look) -> Iterator[Excerpt]:
    for split, found in look.repetition.items():
        for number, in_training in found.leaks:
            document, other = look.document(split, number), look.document("train", in_training)
            yield _excerpt(look, document, f"{document.where} is {other.where}")


def _documents(look: Look, examples: Iterable[PackedDocument]) -> list[Section]:
    """Examples, as the model sees them; no section where there are none."""
    excerpts = tuple(_excerpt(look, document, document.where) for document in examples)
    text = (
        "Green is trained on; orange on a tinted ground (in Markdown: ⟦ ⟧) is masked and bears no loss; special tokens "
        "stand in boxes. A document's first token has nothing before it and is never trained on."
    )
    return [Section(title="Documents", text=text, excerpts=excerpts)] if excerpts else []


def _excerpt(look: Look, document: PackedDocument, title: str) -> Excerpt:
    runs = text_runs(look.folder.tokenizer, document.ids, document.loss_mask)
    spans = tuple(Span(text=run.text, faint=not run.trained, strong=run.special) for run in runs)
    return Excerpt(title=title, note=describe(document), spans=spans)
