"""Documents in the report: those that are there more than once, and examples."""

from collections.abc import Iterable, Iterator

from chatmusician.data.inspection.folder import PackedDocument
from chatmusician.data.inspection.look import SHOWN, Look
from chatmusician.data.inspection.printing import describe
from chatmusician.data.inspection.source_section import percent
from chatmusician.data.inspection.token_text import text_runs
from chatmusician.reporting.report import Cell, Excerpt, Section, Span, Table


def repetition_section(look: Look) -> Section:
    """How much of each split repeats itself or the training split, with the documents that do so most."""
    rows: list[tuple[Cell, ...]] = []
    for split, repeats in look.repeats.items():
        documents, most = repeats.documents, repeats.most[0].copies if repeats.most else 1
        copies = (repeats.repeated, percent(repeats.repeated, documents), repeats.tokens)
        leaked = look.leaks[split].documents if split in look.leaks else None
        in_train = (leaked, None if leaked is None else percent(leaked, documents))
        rows.append((split, documents, repeats.distinct, *copies, most, *in_train))
    columns = ("", "documents", "different", "copies", "%", "tokens in copies", "most of one", "in train too", "%")
    return Section(
        title="Duplicates",
        text="Documents are the same where their token ids are. Copies are those of earlier documents of the split. "
        f"Shown are, in each split, the {SHOWN} most repeated and the first {SHOWN} that are in train too.",
        tables=(Table(columns=columns, rows=tuple(rows)),),
        excerpts=(*_repeated(look), *_leaked(look)),
    )


def documents_section(look: Look, examples: Iterable[PackedDocument]) -> list[Section]:
    """Examples, as the model sees them; no section where there are none."""
    excerpts = tuple(_excerpt(look, document, document.where) for document in examples)
    text = (
        "Green is trained on; orange on a tinted ground (in Markdown: ⟦ ⟧) is masked and bears no loss; special tokens "
        "stand in boxes. A document's first token has nothing before it and is never trained on."
    )
    return [Section(title="Documents", text=text, excerpts=excerpts)] if excerpts else []


def _repeated(look: Look) -> Iterator[Excerpt]:
    for split, repeats in look.repeats.items():
        for found in repeats.most:
            document = look.document(split, found.document)
            yield _excerpt(look, document, f"{found.copies} times in {split}, first in {document.where}")


def _leaked(look: Look) -> Iterator[Excerpt]:
    for split, leaks in look.leaks.items():
        for number, in_training in leaks.examples:
            document, other = look.document(split, number), look.document("train", in_training)
            yield _excerpt(look, document, f"{document.where} is {other.where}")


def _excerpt(look: Look, document: PackedDocument, title: str) -> Excerpt:
    runs = text_runs(look.folder.tokenizer, document.ids, document.loss_mask)
    spans = tuple(Span(text=run.text, faint=not run.trained, strong=run.special) for run in runs)
    return Excerpt(title=title, note=describe(document), spans=spans)
