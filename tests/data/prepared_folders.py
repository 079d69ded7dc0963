"""Small prepared folders for the tests of this folder, of documents in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from chatmusician.data.documents import Document
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.data.units import SPLITS, Rejection

BYTES = TrainedTokenizer(vocab_size=259)
"""One token a byte, so that everything can be counted by hand."""


@dataclass(frozen=True)
class Documents:
    """A corpus of documents, by split."""

    splits: Mapping[str, Sequence[Document]]
    rejected: Sequence[Rejection] = field(default=())

    def describe(self) -> dict[str, Any]:
        return {"documents": {split: [repr(document) for document in these] for split, these in self.splits.items()}}

    def documents(self, split: str) -> Iterator[Document]:
        yield from self.splits.get(split, ())

    def rejections(self) -> Sequence[Rejection]:
        return self.rejected


def prepare_documents(
    directory: Path,
    splits: Mapping[str, Sequence[Document]],
    *,
    seq_len: int = 64,
    eos: bool = False,
    window: int = 4096,
    overlong: str = "split",
    rejected: Sequence[Rejection] = (),
    only: Sequence[str] = SPLITS,
) -> Path:
    """Prepare documents with a tokenizer of bytes, ``only`` those of some splits; the folder."""
    settings = PackingSettings(seq_len=seq_len, eos=eos, window=window, overlong=overlong)
    corpus = Documents(splits, rejected)
    prepare(corpus=corpus, tokenizer=BYTES, settings=settings, directory=directory, splits=only)
    return directory


def bytes_of(directory: Path) -> dict[str, str]:
    """The hash of every file but the lock."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest() for path in files}
