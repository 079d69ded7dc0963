"""The LightningDataModule over a corpus that is not prepared: rows are made while it is read.

Flow: units of the corpus -> `RowStream`s, one for each loader process of each rank -> micro-batches -> `StreamLoader`.
The first batch waits for one unit (4 MB of text) to be read and packed. Every batch comes with the place behind it, so
that a checkpoint holds where the streams are after the batches that were trained on, however many were read ahead, and
a resumed run reads the very tokens that the uninterrupted one would have read.

What is held out is prepared before, from the first units, since a validation set cannot wait for the whole corpus.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from chatmusician.data.datamodule import PackedDataModule
from chatmusician.data.micro_batches import Batch, Waiting, on_one_line, tensors_of
from chatmusician.data.packed_rows import RowBatch
from chatmusician.data.packing import padded_lengths
from chatmusician.data.preparation import TokenizerSource, prepare
from chatmusician.data.row_stream import RowStream, StreamedRow, StreamPlace
from chatmusician.data.units import Corpus, FirstUnits, UnitCorpus
from chatmusician.errors import UserError

if TYPE_CHECKING:
    import lightning as L


class StreamingDataModule(PackedDataModule):
    """A corpus that is read while training. Its streams have no end: `trainer.max_steps` says when to stop.

    Args:
        held_out_units: how many units at the beginning of the corpus give validation and test their documents.
        prepare_workers, engine: the processes that read what is held out, before training.
        loader_workers: processes of each rank that read, tokenise and pack; 0 does it in the training process.
        directory: keeps the tokenizer and what is held out.
        corpus, tokenizer, seq_len, global_batch, micro_batch, seed, overlong, bos, eos, window, overwrite: see
            `chatmusician.data.datamodule.PackedDataModule`.

    Raises:
        UserError: the corpus is a mixture, which takes a look at all rows first.
    """

    def __init__(
        self,
        *,
        corpus: Corpus,
        tokenizer: TokenizerSource,
        directory: str,
        seq_len: int,
        global_batch: int,
        micro_batch: int,
        seed: int = 0,
        overlong: str = "split",
        bos: bool = False,
        eos: bool = False,
        window: int = 4096,
        held_out_units: int = 16,
        prepare_workers: int = 1,
        engine: str = "local",
        loader_workers: int = 1,
        overwrite: bool = False,
    ) -> None:
        super().__init__(
            corpus=corpus,
            tokenizer=tokenizer,
            directory=directory,
            seq_len=seq_len,
            global_batch=global_batch,
            micro_batch=micro_batch,
            seed=seed,
            overlong=overlong,
            bos=bos,
            eos=eos,
            window=window,
            prepare_workers=prepare_workers,
            engine=engine,
            loader_workers=loader_workers,
            overwrite=overwrite,
        )
        if held_out_units < 1:
            raise UserError(f"data.held_out_units={held_out_units}: use at least 1 unit")
        if isinstance(corpus, UnitCorpus) and corpus.is_drawn:
            raise UserError(
                "data=streaming takes rows as they come, and a mixture draws from all of them; use data=packed"
            )
        self.held_out_units = held_out_units
        self._places: list[list[StreamPlace]] | None = None
        self._consumed = 0
        self._loader_of_rows: StreamLoader | None = None

    def prepare_data(self) -> None:
        """Prepare what is held out, with the tokenizer. Lightning calls this on one rank of each node."""
        first = (
            FirstUnits(corpus=self.corpus, count=self.held_out_units) if isinstance(self.corpus, UnitCorpus) else None
        )
        prepare(
            corpus=first or self.corpus,
            tokenizer=self.tokenizer_source,
            settings=self.settings,
            directory=self.directory,
            workers=self.prepare_workers,
            engine=self.engine,
            overwrite=self.overwrite,
            splits=("validation", "test"),
        )

    def steps_per_epoch(self) -> int:
        """Of a stream, that cannot be known.

        Raises:
            UserError: always; whoever asks has no ``trainer.max_steps``.
        """
        raise UserError("data=streaming has no end: give trainer.max_steps")

    def train_dataloader(self) -> Iterable[Batch]:
        """This rank's micro-batches, from where a checkpoint left."""
        trainer = self.trainer
        assert trainer is not None
        if trainer.max_steps <= 0:
            self.steps_per_epoch()
        workers = max(1, self.loader_workers)
        fresh = [[StreamPlace()] * workers for _ in range(trainer.world_size)]
        places = self._places or fresh
        if [len(of_rank) for of_rank in places] != [workers] * trainer.world_size:
            raise UserError(
                f"the checkpoint was made with {len(places)} ranks and data.loader_workers={len(places[0])}, not "
                f"{trainer.world_size} and {workers}: a stream can only be gone on with as it was dealt out"
            )
        self._loader_of_rows = StreamLoader(
            batches=StreamedBatches(
                streams=self._streams(trainer.global_rank * workers, workers, trainer.world_size * workers),
                places=places[trainer.global_rank],
                consumed=self._consumed,
                micro_batch=self.micro_batch,
            ),
            workers=self.loader_workers,
            accumulation=self.accumulation(trainer.world_size),
            trainer=trainer,
        )
        return self._loader_of_rows

    def _streams(self, first: int, count: int, streams: int) -> list[RowStream]:
        """This rank's streams, ``count`` of all of them from ``first`` on."""
        tokenize = self.settings.tokenize_with(self.tokenizer)
        return [
            RowStream(
                corpus=self.corpus,
                tokenize=tokenize,
                window=self.settings.window,
                seed=self.seed,
                stream=number,
                streams=streams,
                rejected=self.directory / "rejected" / f"{number:05d}.jsonl",
            )
            for number in range(first, first + count)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Where the streams of all ranks are after the last optimizer step."""
        assert self.trainer is not None
        assert self._loader_of_rows is not None, "a checkpoint is made while training"
        consumed = self.trainer.global_step * self.trainer.accumulate_grad_batches
        own = [astuple(place) for place in self._loader_of_rows.places_after(consumed)]
        return {"places": _gathered(own), "consumed": consumed, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was.

        Raises:
            UserError: the order of rows is another, since the seed is.
        """
        if state_dict["seed"] != self.seed:
            raise UserError(f"the checkpoint was made with data.seed={state_dict['seed']}, not {self.seed}; use that")
        self._places = [
            [StreamPlace(passed=passed, unit=unit, row=row) for passed, unit, row in of_rank]
            for of_rank in state_dict["places"]
        ]
        self._consumed = state_dict["consumed"]


def _gathered(own: Any) -> list[Any]:
    """What each rank has, by rank."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, own)
    return found


@dataclass(frozen=True, kw_only=True)
class StreamedBatch:
    """Rows of one stream for a micro-batch, and its place behind them."""

    rows: RowBatch
    trained_tokens: int
    stream: int
    """Which of the rank's streams."""
    place: StreamPlace


class StreamedBatches(IterableDataset[StreamedBatch]):
    """The micro-batches of a rank's streams, read by the loader process whose turn it is.

    Loader processes take turns; so that the turns go on after ``consumed`` batches as they would have, process w reads
    stream ``(w + consumed) mod W``.
    """

    def __init__(
        self, *, streams: Sequence[RowStream], places: Sequence[StreamPlace], consumed: int, micro_batch: int
    ) -> None:
        self.streams = streams
        self.places = places
        self.consumed = consumed
        self.micro_batch = micro_batch

    def __iter__(self) -> Iterator[StreamedBatch]:
        process = get_worker_info()
        stream = ((process.id if process else 0) + self.consumed) % len(self.streams)
        rows = self.streams[stream].rows(self.places[stream])
        while batch := list(islice(rows, self.micro_batch)):
            yield StreamedBatch(
                rows=_joined(batch),
                trained_tokens=sum(int(row.window.trained_tokens[row.row]) for row in batch),
                stream=stream,
                place=batch[-1].place,
            )


def _joined(rows: Sequence[StreamedRow]) -> RowBatch:
    return RowBatch(
        ids=np.stack([row.window.ids[row.row] for row in rows]).astype(np.int64),
        loss_mask=np.stack([row.window.loss_mask[row.row] for row in rows]),
        lengths=np.concatenate([_lengths(row) for row in rows]),
        trained_bytes=sum(int(row.window.trained_bytes[row.row]) for row in rows),
    )


def _lengths(row: StreamedRow) -> Any:
    """Tokens of the documents of a row, and its padding."""
    window = row.window
    first = window.ends[row.row - 1] if row.row else 0
    lengths = window.lengths[first : window.ends[row.row]]
    return padded_lengths(lengths, np.array([0, len(lengths)]), seq_len=window.ids.shape[1])


class StreamLoader:
    """Iterates over the batches of a rank; each knows the trained tokens of its optimizer step over all ranks.

    Raises:
        UserError: one line, also where a loader process met it.
    """

    def __init__(self, *, batches: StreamedBatches, workers: int, accumulation: int, trainer: "L.Trainer") -> None:
        self._batches = batches
        self._workers = workers
        self._accumulation = accumulation
        self._trainer = trainer
        self._after = {batches.consumed: list(batches.places)}
        self.waiting = Waiting()

    def places_after(self, consumed: int) -> list[StreamPlace]:
        """Where the rank's streams are once so many micro-batches are trained on."""
        return self._after[consumed]

    def __iter__(self) -> Iterator[Batch]:
        loader = DataLoader(self._batches, batch_size=None, num_workers=self._workers)
        batches = self.waiting.over(on_one_line(iter(loader)))
        consumed = self._batches.consumed
        places = list(self._batches.places)
        while True:
            step = list(islice(batches, self._accumulation))
            tokens = self._over_ranks(sum(batch.trained_tokens for batch in step))
            for batch in step:
                consumed += 1
                places[batch.stream] = batch.place
                self._after[consumed] = list(places)
                self._after.pop(consumed - 4 * self._accumulation - 1, None)  # Lightning reads a batch or two ahead
                yield tensors_of(batch.rows, step_tokens=tokens)

    def _over_ranks(self, tokens: int) -> int:
        device = self._trainer.strategy.root_device
        total = self._trainer.strategy.reduce(torch.tensor(tokens, device=device), reduce_op="sum")
        return int(total)
