"""The LightningDataModule over prepared shards: prepares what is missing, then serves micro-batches.

What a batch holds stands in `chatmusician.data.micro_batches`.
"""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from chatmusician.data.micro_batches import MicroBatches, MicroBatchLoader
from chatmusician.data.mirror import is_url, mirror_data, mirror_folder
from chatmusician.data.packed_rows import PackedRows
from chatmusician.data.preparation import (
    TOKENIZER,
    PackingSettings,
    TokenizerSource,
    prepare,
    prepared_tokenizer,
)
from chatmusician.data.sampler import BatchPlan, EvaluationOrder, RowOrder, TrainingOrder
from chatmusician.data.shards import Manifest, load_manifest
from chatmusician.data.units import Corpus
from chatmusician.errors import UserError


class PackedDataModule(L.LightningDataModule):
    """Packed documents of a corpus.

    Args:
        corpus: where documents come from.
        tokenizer: where the tokenizer comes from.
        directory: where shards are kept; made by `prepare_data` if they are not there. Or the URL of prepared data,
            which `prepare_data` copies to a folder of this node; nothing is prepared then, and the corpus not read.
        seq_len: tokens in a row.
        global_batch: rows in an optimizer step, over all ranks and accumulation steps.
        micro_batch: rows that one rank computes at once.
        seed: of the order of rows.
        overlong, bos, eos, window: see `chatmusician.data.preparation.PackingSettings`.
        prepare_workers: processes that tokenise and pack.
        engine: ``local`` for those processes, ``ray`` for a cluster; see `chatmusician.data.engines`.
        loader_workers: processes that read rows while training; 0 reads them in the training process.
        overwrite: prepare anew what was prepared with other settings, or fetch anew what has changed at a URL;
            otherwise either is refused.
        mirror: where a URL is copied to; None for a folder of ``outputs/mirror`` named after it.

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
        engine: str = "local",
        loader_workers: int = 0,
        overwrite: bool = False,
        mirror: str | None = None,
    ) -> None:
        super().__init__()
        if micro_batch < 1 or global_batch < 1:
            raise UserError(f"data.micro_batch={micro_batch}, data.global_batch={global_batch}: use at least 1 row")
        self.corpus = corpus
        self.tokenizer_source = tokenizer
        self.url = directory if is_url(directory) else None
        if self.url is None and mirror is not None:
            raise UserError(f"data.mirror={mirror}, but data.directory={directory} is no URL; leave one of them out")
        self.directory = Path(mirror or mirror_folder(self.url)) if self.url is not None else Path(directory)
        self.settings = PackingSettings(seq_len=seq_len, overlong=overlong, bos=bos, eos=eos, window=window)
        self.global_batch = global_batch
        self.micro_batch = micro_batch
        self.seed = seed
        self.prepare_workers = prepare_workers
        self.engine = engine
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
        """Make the shards that are missing, or fetch them. Lightning calls this on one rank of each node."""
        if self.url is not None:
            mirror_data(
                url=self.url,
                directory=self.directory,
                settings=self.settings,
                tokenizer=self.tokenizer_source,
                overwrite=self.overwrite,
            )
            return
        prepare(
            corpus=self.corpus,
            tokenizer=self.tokenizer_source,
            settings=self.settings,
            directory=self.directory,
            workers=self.prepare_workers,
            engine=self.engine,
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

    def sources(self, split: str) -> tuple[str, ...]:
        """The names of a split's sources, in the order of ``source_bytes`` in its batches."""
        return self._rows(split).sources

    def texts(self, split: str) -> Iterator[str]:
        """The documents of a split as text, special tokens spelled out, in the order of its rows."""
        rows = self._rows(split)
        for number in range(len(rows)):
            ids, _, lengths = rows[number]
            ends = np.cumsum(lengths).tolist()
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                yield self.tokenizer.decode(ids[start:end].tolist(), clean_up_tokenization_spaces=False)

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
        return MicroBatchLoader(MicroBatches(rows), order, workers=self.loader_workers)

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
            self.directory / split,
            self._manifest.splits[split],
            seq_len=self._manifest.settings["seq_len"],
            remedy=f"remove {'the folder to prepare it anew' if self.url is None else 'the file to fetch it again'}",
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
        return MicroBatchLoader(MicroBatches(rows, by_source=True), order, workers=self.loader_workers)
