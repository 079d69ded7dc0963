"""Several corpora as one."""

from collections.abc import Iterator, Sequence
from typing import Any

from chatmusician.data.documents import Document
from chatmusician.data.units import Corpus, Rejection


class Interleaved:
    """The training documents of several corpora in turn, until each has given all of its own.

    Validation and test are those of the first corpus alone: figures stay comparable with and without the others.
    """

    def __init__(self, *, corpora: Sequence[Corpus]) -> None:
        self._corpora = tuple(corpora)

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.units.Corpus`."""
        return {"kind": "interleaved", "corpora": [corpus.describe() for corpus in self._corpora]}

    def rejections(self) -> Sequence[Rejection]:
        """What any of the corpora left out, once."""
        return tuple(dict.fromkeys(rejection for corpus in self._corpora for rejection in corpus.rejections()))

    def documents(self, split: str) -> Iterator[Document]:
        """See `chatmusician.data.units.Corpus`."""
        if split != "train":
            yield from self._corpora[0].documents(split)
            return
        streams = [corpus.documents(split) for corpus in self._corpora]
        while streams:
            for stream in list(streams):
                document = next(stream, None)
                if document is None:
                    streams.remove(stream)
                else:
                    yield document
