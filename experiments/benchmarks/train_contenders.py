"""What `train.py` compares: data and model that all contenders share, and a run of each."""

import json
import random
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from random_llama import write_tokenizer

SEQ_LEN = 1024
BATCH = 8
WARM_UP = 2
"""Micro-batches that are not timed."""
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.1
RANK, ALPHA, DROPOUT = 64, 16, 0.1
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TASKS = (
    "text_to_score",
    "form_to_music",
    "letters_and_motif_to_music",
    "terms_and_motif_to_music",
    "motif_extraction",
    "form_extraction",
)
IGNORED = -100
Example = dict[str, list[int]]


class Clock:
    """Counts what is trained on after the first two micro-batches, which warm up."""

    def __init__(self) -> None:
        self.tokens = 0
        self.flops = 0
        self._micro_batches = 0
        self._started = self._stopped = 0.0

    def micro_batch_done(self) -> None:
        """A micro-batch has ended, and the optimizer step that it was the last of."""
        self._micro_batches += 1
        self._stopped = time.perf_counter()
        if self._micro_batches == WARM_UP:
            self.tokens = self.flops = 0
            self._started = self._stopped

    @property
    def seconds(self) -> float:
        """From the end of the warm-up to that of the last micro-batch."""
        return self._stopped - self._started


def make(folder: Path) -> None:
    """The tokenizer, the base model and the prepared data, where they are not there yet."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if (folder / "documents.json").exists():
        return
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True, exist_ok=True)
    write_tokenizer(tokenizer, pad_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        intermediate_size=1376,
        max_position_embeddings=2 * SEQ_LEN,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    data = data_module(folder)
    data.prepare_data()
    data.setup()
    examples = [example for row in range(data.training_rows()) for example in examples_of(data, row)]
    random.Random(0).shuffle(examples)
    (folder / "documents.json").write_text(json.dumps(examples))


def data_module(folder: Path) -> Any:
    """Our data: packed rows, one a micro-batch, eight a step."""
    from chatmusician.data.datamodule import PackedDataModule
    from chatmusician.data.folk import FolkTasks
    from chatmusician.data.tokenizers import PretrainedTokenizer

    return PackedDataModule(
        corpus=FolkTasks(tasks=TASKS, per_tune=1),
        tokenizer=PretrainedTokenizer(path=str(folder / "tokenizer")),
        directory=str(folder / "prepared"),
        seq_len=SEQ_LEN,
        global_batch=BATCH,
        micro_batch=1,
        overlong="drop",
    )


def row_of(data: Any, row: int) -> dict[str, torch.Tensor]:
    """A training row as a batch of one."""
    from chatmusician.data.micro_batches import tensors_of

    return tensors_of(data._rows("train").read([row]), step_tokens=1)


def examples_of(data: Any, row: int) -> Iterator[Example]:
    """The documents of a training row, with labels as Transformers takes them; padding has none, and is left out."""
    from chatmusician.modeling.document_attention import document_lengths

    batch = row_of(data, row)
    lengths = document_lengths(batch["position_ids"])
    for ids, targets in zip(batch["input_ids"][0].split(lengths), batch["targets"][0].split(lengths), strict=True):
        if (targets != IGNORED).any():
            yield {"input_ids": ids.tolist(), "labels": [IGNORED, *targets[:-1].tolist()]}


def examples(folder: Path) -> list[Example]:
    """All training documents, shuffled."""
    read: list[Example] = json.loads((folder / "documents.json").read_text())
    return read


def base_model(folder: Path) -> Any:
    """The base as Transformers loads it, for the other contenders."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)


def adapter_config() -> Any:
    """The adapter as PEFT takes it, for the other contenders."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=DROPOUT,
        target_modules=PROJECTIONS,
    )


def our_module(folder: Path) -> Any:
    """Our module, with the same base, adapter and optimizer."""
    from chatmusician.modeling.backbone import PretrainedLlama
    from chatmusician.modeling.language_model import CausalLanguageModel
    from chatmusician.modeling.lora import Lora
    from chatmusician.modeling.optimizers import AdamWSettings, Schedule

    return CausalLanguageModel(
        backbone=PretrainedLlama(path=str(folder / "base"), dtype="float32"),
        lora=Lora(r=RANK, alpha=ALPHA, dropout=DROPOUT, target_modules=PROJECTIONS),
        optimizer=AdamWSettings(lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        schedule=Schedule(),
    )


def train_here(folder: Path, *, steps: int) -> dict[str, float]:
    """This project, as its train command runs it."""
    from chatmusician.modeling.flops import matrix_product_peak

    clock = Clock()
    cpu = torch.device("cpu")
    before = matrix_product_peak(device=cpu, dtype=torch.float32)
    trainer, module, data = our_trainer(folder, clock, steps=steps)
    trainer.fit(module, datamodule=data)
    peak = max(before, matrix_product_peak(device=cpu, dtype=torch.float32))
    speed = clock.tokens / clock.seconds
    share = clock.flops / clock.seconds / peak
    return {"tokens_per_s": speed, "share_of_peak": share, "limit_tokens_per_s": speed / share, "peak": peak}


def our_trainer(folder: Path, clock: Clock, *, steps: int) -> tuple[Any, Any, Any]:
    """Lightning's trainer, with module and data."""
    import lightning as L

    from chatmusician.modeling.flops import matrix_weights, training_flops

    class Timing(L.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 -- Lightning's signature
            trained = int((batch["targets"] != IGNORED).sum())
            clock.tokens += useful_tokens(batch)
            clock.flops += training_flops(
                matrix_weights(pl_module.model),
                tokens=batch["input_ids"].numel(),
                trained_tokens=trained,
                attended_pairs=int((batch["position_ids"] + 1).sum()),
            )
            clock.micro_batch_done()

    L.seed_everything(1234, verbose=False)
    data = data_module(folder)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=data.accumulation(1),
        gradient_clip_val=1.0,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Timing()],
    )
    return trainer, our_module(folder), data


def useful_tokens(batch: dict[str, torch.Tensor]) -> int:
    """Tokens of documents, which bear loss somewhere, unlike padding."""
    from chatmusician.modeling.document_attention import document_lengths

    lengths = document_lengths(batch["position_ids"])
    return sum(len(part) for part in batch["targets"].flatten().split(lengths) if (part != IGNORED).any())


def train_with_trl(folder: Path, *, steps: int, checkpointing: bool) -> dict[str, float]:
    """TRL's trainer."""
    clock = Clock()
    trainer = trl_trainer(folder, clock, steps=steps, checkpointing=checkpointing)
    trainer.train()
    return {"tokens_per_s": clock.tokens / clock.seconds}


def trl_trainer(folder: Path, clock: Clock, *, steps: int, checkpointing: bool) -> Any:
    """SFTTrainer; it packs the documents itself."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Timing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 -- Transformers' signature
            clock.micro_batch_done()

        def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 -- Transformers' signature
            clock.micro_batch_done()

    class Counting(SFTTrainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            clock.tokens += inputs["input_ids"].numel()  # no padding among them
            return super().compute_loss(model, inputs, *args, **options)

    config = SFTConfig(
        output_dir=str(folder / "trl"),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=BATCH,
        packing=True,
        max_length=SEQ_LEN,
        gradient_checkpointing=checkpointing,
        bf16=False,
        use_cpu=True,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=1.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return Counting(
        model=base_model(folder),
        args=config,
        train_dataset=Dataset.from_list(examples(folder)),
        processing_class=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        peft_config=adapter_config(),
        callbacks=[Timing()],
    )


def train_as_the_original(folder: Path, *, steps: int) -> dict[str, float]:
    """The loop of the released code, on one device: padded batches, the model's own loss."""
    from peft import get_peft_model

    documents = examples(folder)
    base = base_model(folder)
    base.gradient_checkpointing_enable()
    base.enable_input_require_grads()
    model: Any = get_peft_model(base, adapter_config()).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY)
    clock = Clock()
    for step in range(steps):
        batch = padded(documents[step * BATCH : (step + 1) * BATCH])
        model(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tokens += int(batch["attention_mask"].sum())
        clock.micro_batch_done()
    return {"tokens_per_s": clock.tokens / clock.seconds}


def padded(documents: list[Example]) -> dict[str, torch.Tensor]:
    """Documents side by side, padded to the longest."""
    from torch.nn.utils.rnn import pad_sequence

    ids, labels = ([torch.tensor(document[name]) for document in documents] for name in ("input_ids", "labels"))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=2),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def losses(folder: Path) -> dict[str, float]:
    """The mean loss of an answer's token over the documents of the first row, without dropout, by each contender."""
    from peft import get_peft_model

    from chatmusician.modeling.loss import summed_loss

    clock = Clock()
    trainer, module, data = our_trainer(folder, clock, steps=0)
    trainer.fit(module, datamodule=data)  # builds the model
    documents = list(examples_of(data, 0))
    trl = trl_trainer(folder, clock, steps=1, checkpointing=False)
    original = get_peft_model(base_model(folder), adapter_config())
    for model in (module.model, trl.model, original):
        model.eval()
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.05)
    packed = {name: list(chain(*(document[name] for document in documents))) for name in ("input_ids", "labels")}
    joined = {**packed, "seq_lengths": [len(document["input_ids"]) for document in documents]}
    with torch.no_grad():
        nats, tokens = summed_loss(module.model, row_of(data, 0))
        return {
            "ours": nats.item() / tokens,
            "trl": trl.compute_loss(trl.model, trl.data_collator([joined])).item(),
            "original": original(**padded(documents), use_cache=False).loss.item(),
        }
