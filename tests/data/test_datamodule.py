from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from file_server import serve
from tiny_corpus import Texts

from chatmusician.data.datamodule import PackedDataModule
from chatmusician.data.documents import Document
from chatmusician.data.packing import IGNORED
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.errors import UserError

TEXTS = Texts(
    {
        "train": [text * 2 for text in ("abc", "de", "fghi", "jklm", "nop", "qrs", "tu", "vw", "xyz", "ABCD", "EF")],
        "validation": ["GHIJKL", "MNOPQR", "STUVWX", "YZ"],
        "test": ["0123"],
    }
)


def make(directory: Path, *, trainer: bool = True, **options: int | str) -> PackedDataModule:
    """A data module on its own: rows of 8 tokens, a byte each, and a trainer that is not run."""
    defaults = {"global_batch": 4, "micro_batch": 2, "seed": 3}
    datamodule = PackedDataModule(
        corpus=TEXTS,
        tokenizer=TrainedTokenizer(vocab_size=259),
        directory=str(directory),
        seq_len=8,
        **{**defaults, **options},  # type: ignore[arg-type]  # of the types that the names ask for
    )
    if trainer:
        datamodule.prepare_data()
        datamodule.setup()
        datamodule.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        datamodule.trainer.accumulate_grad_batches = datamodule.accumulation(1)
    return datamodule


def texts_of(datamodule: PackedDataModule, batches: Iterable[dict[str, torch.Tensor]]) -> list[str]:
    """The rows read, as text without padding."""
    return [
        datamodule.tokenizer.decode(row.tolist()).replace("<pad>", "")
        for batch in batches
        for row in batch["input_ids"]
    ]


def test_a_batch_is_what_its_rows_say(tmp_path: Path) -> None:
    datamodule = make(tmp_path)
    (batch,) = datamodule.test_dataloader()
    ids = datamodule.tokenizer("0123").input_ids
    pad = datamodule.tokenizer.pad_token_id
    assert batch["input_ids"].tolist() == [[*ids, pad, pad, pad, pad]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert batch["targets"].tolist() == [[*ids[1:], *[IGNORED] * 5]]
    assert (batch["step_tokens"].item(), batch["trained_bytes"].item()) == (3, 4)


def test_what_is_evaluated_is_told_apart_by_source(tmp_path: Path) -> None:
    datamodule = make(tmp_path)
    (batch,) = datamodule.test_dataloader()
    assert datamodule.sources("test") == ("texts",)
    assert (batch["sources"].tolist(), batch["source_bytes"].tolist()) == ([[0] * 8], [4])
    assert "sources" not in next(iter(datamodule.train_dataloader()))


def test_documents_are_read_back_as_texts(tmp_path: Path) -> None:
    assert sorted(make(tmp_path).texts("validation")) == ["GHIJKL", "MNOPQR", "STUVWX", "YZ"]


def test_all_micro_batches_of_a_step_know_the_tokens_of_the_step(tmp_path: Path) -> None:
    datamodule = make(tmp_path)
    batches = list(datamodule.train_dataloader())
    assert len(batches) == 2 * datamodule.steps_per_epoch() >= 2
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        trained = sum(int((batch["targets"] != IGNORED).sum()) for batch in (first, second))
        assert first["step_tokens"] == second["step_tokens"] == trained


def test_an_epoch_reads_every_row_once_and_the_next_in_another_order(tmp_path: Path) -> None:
    datamodule = make(tmp_path, global_batch=1, micro_batch=1)
    loader = datamodule.train_dataloader()
    first = texts_of(datamodule, loader)
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]  # as Lightning does
    second = texts_of(datamodule, loader)
    assert len(first) == datamodule.training_rows()
    assert sorted(first) == sorted(second)
    assert first != second


def test_validation_reads_every_row_once(tmp_path: Path) -> None:
    datamodule = make(tmp_path, global_batch=3, micro_batch=3)
    texts = texts_of(datamodule, datamodule.val_dataloader())
    assert sorted("".join(sorted("".join(texts)))) == sorted("GHIJKLMNOPQRSTUVWXYZ")
    assert sum(len(batch["input_ids"]) for batch in datamodule.val_dataloader()) == len(texts) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_read_the_same(tmp_path: Path, workers: int) -> None:
    expected = texts_of(make(tmp_path), make(tmp_path).train_dataloader())
    datamodule = make(tmp_path, loader_workers=workers)
    assert texts_of(datamodule, datamodule.train_dataloader()) == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_a_saved_position_is_gone_on_from(tmp_path: Path, workers: int) -> None:
    """Stopped in the second epoch; loader processes read ahead before Lightning has named the epoch."""
    datamodule = make(tmp_path, global_batch=1, micro_batch=1)
    loader = datamodule.train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]  # as Lightning does
    whole = texts_of(datamodule, loader)
    resumed = make(tmp_path, global_batch=1, micro_batch=1, loader_workers=workers)
    resumed.load_state_dict({"epoch": 1, "step_in_epoch": 2, "seed": 3})
    assert texts_of(resumed, resumed.train_dataloader()) == whole[2:]


def test_a_checkpoint_of_another_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the checkpoint was made with data.seed=4, not 3; use that"):
        make(tmp_path, trainer=False).load_state_dict({"epoch": 0, "step_in_epoch": 1, "seed": 4})


@pytest.mark.parametrize(
    ("global_batch", "micro_batch", "ranks", "steps"), [(8, 1, 1, 8), (8, 8, 1, 1), (8, 1, 2, 4), (64, 4, 8, 2)]
)
def test_accumulation_by_hand(tmp_path: Path, global_batch: int, micro_batch: int, ranks: int, steps: int) -> None:
    datamodule = make(tmp_path, trainer=False, global_batch=global_batch, micro_batch=micro_batch)
    assert datamodule.accumulation(ranks) == steps


@pytest.mark.parametrize(("global_batch", "micro_batch", "ranks"), [(8, 3, 1), (8, 4, 3), (2, 4, 1)])
def test_a_batch_that_cannot_be_shared_out_is_refused(
    tmp_path: Path, global_batch: int, micro_batch: int, ranks: int
) -> None:
    datamodule = make(tmp_path, trainer=False, global_batch=global_batch, micro_batch=micro_batch)
    message = f"data.global_batch={global_batch} is not a multiple of data.micro_batch={micro_batch} x {ranks} ranks"
    with pytest.raises(UserError, match=message):
        datamodule.accumulation(ranks)


def test_no_rows_in_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.micro_batch=0, data.global_batch=4: use at least 1 row"):
        make(tmp_path, trainer=False, micro_batch=0)


def test_too_few_rows_for_one_step_are_refused(tmp_path: Path) -> None:
    datamodule = make(tmp_path, global_batch=64, micro_batch=64)
    with pytest.raises(UserError, match=r"\d training rows do not fill data.global_batch=64"):
        datamodule.train_dataloader()


def test_a_folder_that_is_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no prepared data; run `python -m chatmusician.prepare` first"):
        make(tmp_path, trainer=False).setup()


class Unread(Texts):
    """A corpus that nothing may be read of."""

    def describe(self) -> dict[str, Any]:
        raise AssertionError("the corpus was asked for")

    def documents(self, split: str) -> Iterator[Document]:
        raise AssertionError(f"the {split} split was asked for")


def test_prepared_data_at_a_url_are_trained_on_without_their_corpus(tmp_path: Path) -> None:
    expected = make(tmp_path / "prepared")
    with serve(tmp_path / "prepared") as site:
        datamodule = PackedDataModule(
            corpus=Unread({}),
            tokenizer=TrainedTokenizer(vocab_size=259),
            directory=site.url,
            mirror=str(tmp_path / "copy"),
            seq_len=8,
            global_batch=4,
            micro_batch=2,
            seed=3,
        )
        datamodule.prepare_data()
    datamodule.setup()
    datamodule.trainer = expected.trainer
    assert texts_of(datamodule, datamodule.train_dataloader()) == texts_of(expected, expected.train_dataloader())
    assert datamodule.manifest() == expected.manifest()
    assert datamodule.tokenizer_folder == tmp_path / "copy" / "tokenizer"
    for shard in (tmp_path / "copy" / "test").iterdir():
        shard.write_bytes(b"")
    with pytest.raises(UserError, match=r"copy/test/00000.arrow cannot be read .*; remove the file to fetch it again$"):
        list(datamodule.test_dataloader())


def test_a_mirror_of_no_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.mirror=there, but data.directory=\S+ is no URL; leave one of them out"):
        make(tmp_path, trainer=False, mirror="there")


def test_the_manifest_is_for_model_cards(tmp_path: Path) -> None:
    manifest = make(tmp_path).manifest()
    assert manifest["settings"]["seq_len"] == 8
    assert manifest["summary"]["test"]["trained_bytes"] == 4
