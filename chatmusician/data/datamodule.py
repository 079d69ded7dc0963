"""The LightningDataModule over prepared shards: prepares what is missing, then serves micro-batches.

A batch is a dict of tensors (B rows of T tokens):

- ``input_ids`` [B, T] and ``position_ids`` [B, T], which restart with each document, so that the attention is
  block-diagonal;
- ``targets`` [B, T], the next token where it bears loss, else -100;
- ``step_tokens`` [], the trained tokens of the whole optimizer step (all ranks and accumulation steps), by which the
  loss is normalised; known without communication, since the order of rows is a pure function of the position;
- ``trained_bytes`` [], the bytes of text behind the trained tokens of this micro-batch.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from chatmusician.data.packing import positions, targets
from chatmusician.data.preparation import (
    TOKENIZER,
    PackingSettings,
    TokenizerSource,
    prepare,
    prepared_tokenizer,
)
from chatmusician.data.sampler import BatchPlan, EvaluationOrder, MicroBatch, RowOrder, TrainingOrder
from chatmusician.data.shards import Manifest, PackedRows, load_manifest
from chatmusician.data.units import Corpus
from chatmusician.errors import UserError


class MicroBatches(Dataset[dict[str, torch.Tensor]]):
    """Maps a `MicroBatch` (which rows) to its tensors."""

    def __init__(self, rows: PackedRows, *, seq_len: int) -> None:
        self.rows = rows
        self.seq_len = seq_len

    def __getitem__(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        rows = [self.rows[int(row)] for row in batch.rows]
        shape = (len(rows), self.seq_len)
        ids = np.array([row[0] for row in rows], dtype=np.int64).reshape(shape)  # [B, T]
        masks = np.array([row[1] for row in rows], dtype=np.bool_).reshape(shape)  # [B, T]
        restarts = np.array([positions(row[2], seq_len=self.seq_len) for row in rows], dtype=np.int64).reshape(shape)
        return {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(restarts),
            "targets": torch.from_numpy(targets(ids, masks)),
            "step_tokens": torch.tensor(int(self.rows.trained_tokens[batch.step_rows].sum())),
            "trained_bytes": torch.tensor(int(self.rows.trained_bytes[batch.rows].sum())),
        }


class PackedDataModule(L.LightningDataModule):
    """Packed documents of a corpus.

    Args:
        corpus: where documents come from.
        tokenizer: where the tokenizer comes from.
        directory: where shards are kept; made by `prepare_data` if they are not there.
        seq_len: tokens in a row.
        global_batch: rows in an optimizer step, over all ranks and accumulation steps.
        micro_batch: rows that one rank computes at once.
        seed: of the order of rows.
        overlong, bos, eos, window: see `chatmusician.data.preparation.PackingSettings`.
        prepare_workers: processes that tokenise and pack.
        loader_workers: processes that read rows while training; 0 reads them in the training process.
        overwrite: prepare anew what was prepared with other settings; otherwise it is refused.

    Raises:
        UserError: the global batch is not a multiple of micro-batch x ranks.
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
        prepare_workers: int = 1,
        loader_workers: int = 0,
        overwrite: bool = False,
    ) -> None:
        super().__init__()
        if micro_batch < 1 or global_batch < 1:
            raise UserError(f"data.micro_batch={micro_batch}, data.global_batch={global_batch}: use at least 1 row")
        self.corpus = corpus
        self.tokenizer_source = tokenizer
        self.directory = Path(directory)
        self.settings = PackingSettings(seq_len=seq_len, overlong=overlong, bos=bos, eos=eos, window=window)
        self.global_batch = global_batch
        self.micro_batch = micro_batch
        self.seed = seed
        self.prepare_workers = prepare_workers
        self.loader_workers = loader_workers
        self.overwrite = overwrite
        self.tokenizer: Any = None
        self._manifest: Manifest | None = None
        self._first_epoch = 0
        self._first_step = 0

    def accumulation(self, ranks: int) -> int:
        """Micro-batches in an optimizer step on each of ``ranks`` ranks."""
        steps, rest = divmod(self.global_batch, self.micro_batch * ranks)
        if rest or not steps:
            raise UserError(
                f"data.global_batch={self.global_batch} is not a multiple of data.micro_batch={self.micro_batch} x "
                f"{ranks} ranks; change one of them"
            )
        return steps

    def prepare_data(self) -> None:
        """Make the shards that are missing. Lightning calls this on one rank of each node."""
        prepare(
            corpus=self.corpus,
            tokenizer=self.tokenizer_source,
            settings=self.settings,
            directory=self.directory,
            workers=self.prepare_workers,
            overwrite=self.overwrite,
        )

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 -- Lightning's signature
        """Open the prepared folder. Needs no more than `prepare_data` to have run somewhere before."""
        self._manifest = load_manifest(self.directory)
        if self._manifest is None:
            raise UserError(f"{self.directory} holds no prepared data; run `python -m chatmusician.prepare` first")
        self.tokenizer = prepared_tokenizer(self.directory)

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer lies that the data were prepared with."""
        return self.directory / TOKENIZER

    def manifest(self) -> dict[str, Any]:
        """What the data are: settings and totals of each split, as the model card and the dashboards show them."""
        assert self._manifest is not None, "setup() opens the manifest"
        return {"settings": self._manifest.settings, "summary": self._manifest.summary()}

    def training_rows(self) -> int:
        """Rows in the training split."""
        assert self._manifest is not None, "setup() opens the manifest"
        return self._manifest.splits["train"].total("rows")

    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training rows."""
        return self.training_rows() // self.global_batch

    def train_dataloader(self) -> Iterable[dict[str, torch.Tensor]]:
        """This rank's micro-batches of the current epoch, from the position that a checkpoint left."""
        assert self.trainer is not None
        rows = self._rows("train")
        ranks = self.trainer.world_size
        if len(rows) < self.global_batch:
            raise UserError(
                f"{self.directory}: {len(rows)} training rows do not fill data.global_batch={self.global_batch}"
            )
        order = TrainingOrder(
            order=RowOrder(rows=len(rows), seed=self.seed),
            plan=BatchPlan(micro_batch=self.micro_batch, accumulate=self.accumulation(ranks), ranks=ranks),
            rank=self.trainer.global_rank,
            epoch=self._first_epoch,
            first_step=self._first_step,
        )
        return self._loader(rows, order)

    def val_dataloader(self) -> Iterable[dict[str, torch.Tensor]]:
        """All validation rows, dealt to the ranks."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> Iterable[dict[str, torch.Tensor]]:
        """All test rows, dealt to the ranks."""
        return self._evaluation_loader("test")

    def state_dict(self) -> dict[str, Any]:
        """Where training is, in optimizer steps: the next run may have other ranks and micro-batches."""
        assert self.trainer is not None
        accumulation = self.trainer.accumulate_grad_batches
        steps = min(self.steps_per_epoch(), -(-self.trainer.num_training_batches // accumulation))  # may be limited
        epoch, step = divmod(self.trainer.global_step, max(1, int(steps)))
        return {"epoch": epoch, "step_in_epoch": step, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was.

        Raises:
            UserError: the order of rows is another, since the seed is.
        """
        if state_dict["seed"] != self.seed:
            raise UserError(f"the checkpoint was made with data.seed={state_dict['seed']}, not {self.seed}; use that")
        # Lightning warns of a loader that does not save its state; the order of rows needs no more than this.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")
        self._first_epoch, self._first_step = state_dict["epoch"], state_dict["step_in_epoch"]

    def _rows(self, split: str) -> PackedRows:
        assert self._manifest is not None, "setup() opens the manifest"
        return PackedRows(
            self.directory / split, self._manifest.splits[split], seq_len=self._manifest.settings["seq_len"]
        )

    def _evaluation_loader(self, split: str) -> Iterable[dict[str, torch.Tensor]]:
        assert self.trainer is not None
        rows = self._rows(split)
        order = EvaluationOrder(
            rows=len(rows),
            micro_batch=self.micro_batch,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
        )
        return self._loader(rows, order)

    def _loader(self, rows: PackedRows, order: TrainingOrder | EvaluationOrder) -> DataLoader[dict[str, torch.Tensor]]:
        return DataLoader(
            MicroBatches(rows, seq_len=self.settings.seq_len),
            batch_size=None,
            sampler=order,
            num_workers=self.loader_workers,
        )
