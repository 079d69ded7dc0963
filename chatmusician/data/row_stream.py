"""Packed rows made while the corpus is read, for ever, each with the place behind it.

A corpus is dealt to S streams (ranks times loader processes) by its units: stream s reads the units u with
``u mod S = s``, packs each and gives its rows in an order that is a function of seed, pass and unit. So three numbers
say where a stream is, and going on needs no more than packing that one unit again::

    unit       0    1    2    3    4
    2 streams  s0   s1   s0   s1   s0      then pass 1, from unit 0
    place of s0 after 5 rows of unit 2 in pass 0:  StreamPlace(passed=0, unit=2, row=5)
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np

from chatmusician.data.packing import PackedWindow, pack
from chatmusician.data.sampler import RowOrder
from chatmusician.data.tokenizing import DocumentTokenizer
from chatmusician.data.units import Corpus, Reading, Unit, UnitCorpus, one_by_one, units_of
from chatmusician.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StreamPlace:
    """Where a stream is: how often it has passed the whole corpus, the unit, and how many rows of it are given."""

    passed: int = 0
    unit: int = 0
    row: int = 0


@dataclass(frozen=True, kw_only=True)
class StreamedRow:
    """Row ``row`` of a packed window, and the place behind it."""

    window: PackedWindow
    row: int
    place: StreamPlace


@dataclass(frozen=True, kw_only=True)
class RowStream:
    """One of the streams of a corpus.

    Args:
        corpus: read in units, or as windows of ``window`` documents.
        tokenize: how documents become tokens.
        seed: of the order of rows in a unit.
        stream, streams: which of how many.
        rejected: the file to which what is rejected is added, a line each.
    """

    corpus: Corpus
    tokenize: DocumentTokenizer
    window: int
    seed: int
    stream: int
    streams: int
    rejected: Path

    def rows(self, place: StreamPlace) -> Iterator[StreamedRow]:
        """The rows from a place on; they do not end.

        Raises:
            UserError: a whole pass over the corpus gave the stream no row, or too much was rejected.
        """
        for passed in count(place.passed):
            given = passed == place.passed and place != StreamPlace(passed=passed)
            for number, unit in enumerate(units_of(self.corpus, window=self.window, run=one_by_one)):
                if number % self.streams != self.stream or number < place.unit:
                    continue
                first = place.row if number == place.unit else 0
                for row in self._unit_rows(unit, number, passed, first):
                    given = True
                    yield row
            if not given:
                raise UserError(
                    f"stream {self.stream + 1} of {self.streams} (ranks x data.loader_workers) has no training rows, "
                    "since the corpus has too few units; use fewer streams, or a smaller unit_bytes of the corpus"
                )
            place = StreamPlace(passed=passed + 1)

    def _unit_rows(self, unit: Unit, number: int, passed: int, first: int) -> Iterator[StreamedRow]:
        reading = unit.read()
        if passed == first == 0:
            self._keep_rejections(reading)
        tokens, _ = self.tokenize([document for split, document in reading.documents if split == "train"])
        window = pack(tokens, seq_len=self.tokenize.seq_len, pad_id=self.tokenize.pad_id)
        order = RowOrder(rows=len(window), seed=self.seed + number)
        for position, row in enumerate(order(np.arange(len(window)), epoch=passed).tolist()[first:], start=first + 1):
            yield StreamedRow(window=window, row=row, place=StreamPlace(passed=passed, unit=number, row=position))

    def _keep_rejections(self, reading: Reading) -> None:
        found = reading.rejections
        if not found:
            return
        self.rejected.parent.mkdir(parents=True, exist_ok=True)
        with self.rejected.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(rejection), ensure_ascii=False) + "\n" for rejection in found)
        message = (
            f"{len(found)} of {reading.rows} rows were rejected, the first in {found[0].file}, line {found[0].line}: "
            f"{found[0].reason}; see {self.rejected}"
        )
        most = self.corpus.max_rejected if isinstance(self.corpus, UnitCorpus) else 1.0
        if len(found) > max(1, most * reading.rows):
            raise UserError(f"{message}, or raise data.corpus.max_rejected={most}")
        log.warning(message)
