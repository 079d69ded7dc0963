"""The recipes carry the numbers of the paper and of the released code, and each discrepancy is one option."""

import functools
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from chatmusician.config.composition import compose

composed = functools.cache(lambda *overrides: compose("train", overrides))
RECIPES = {
    "pretrain": ("+experiment=pretrain",),
    "sft_78k": ("+experiment=sft_78k",),
    "sft_1m": ("+experiment=sft_1m",),
    "continuation": ("+experiment=continuation", "model.backbone.path=outputs/pretrain/model"),
}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EVERYWHERE: dict[str, Any] = {
    "model.lora.r": 64,
    "model.lora.alpha": 16,
    "model.lora.dropout": 0.1,
    "model.lora.target_modules": ALL,
    "model.lora.modules_to_save": ["embed_tokens", "lm_head"],
    "model.optimizer._target_": "chatmusician.modeling.optimizers.AdamWSettings",
    "model.optimizer.lr": 1e-4,
    "model.optimizer.betas": [0.9, 0.95],
    "model.optimizer.eps": 1e-8,
    "model.optimizer.weight_decay": 0.1,
    "model.schedule.shape": "cosine",
    "model.schedule.warmup": 0.05,
    "model.schedule.final": 0.0,
    "model.backbone.gradient_checkpointing": True,
    "model.backbone.dtype": "bfloat16",
    "trainer.gradient_clip_val": 1.0,
    "trainer.precision": "bf16-mixed",
    "trainer.devices": 8,
    "trainer.strategy.stage": 2,
    "trainer.max_steps": -1,
    "data.seq_len": 2048,
    "data.micro_batch": 1,
    "seed": 1234,
    "data.seed": 1234,
    "data.corpus.seed": 1234,
}
OF_RECIPES: dict[str, dict[str, Any]] = {
    "pretrain": {
        "model.backbone.path": "meta-llama/Llama-2-7b-hf",
        "data.global_batch": 16,
        "trainer.num_nodes": 2,
        "trainer.max_epochs": 1,
        "data.corpus.sources.musicpile.path": "m-a-p/MusicPile",
    },
    "sft_78k": {
        "model.backbone.path": "m-a-p/ChatMusician-Base",
        "data.global_batch": 8,
        "trainer.num_nodes": 1,
        "trainer.max_epochs": 10,
        "data.corpus.mixture.rows": 78_000,
        "data.corpus.mixture.shares": {"verbal": 2, "score": 1},
    },
    "sft_1m": {
        "model.backbone.path": "m-a-p/ChatMusician-Base",
        "data.global_batch": 8,
        "trainer.max_epochs": 2,
        "data.corpus.mixture.rows": 1_100_000,
        "data.corpus.mixture.shares": {"verbal": 2, "score": 1},
    },
    "continuation": {
        "model.backbone.path": "outputs/pretrain/model",
        "data.tokenizer.path": "outputs/pretrain/model",
        "trainer.max_epochs": 10,
    },
}


def values(cfg: DictConfig, keys: Any) -> dict[str, Any]:
    found = {key: OmegaConf.select(cfg, key) for key in keys}
    return {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in found.items()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_numbers_of_the_paper(recipe: str) -> None:
    expected = {**EVERYWHERE, **OF_RECIPES[recipe]}
    assert values(composed(*RECIPES[recipe]), expected) == expected


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("optim=released", {"schedule.shape": "linear", "schedule.warmup": 0.1, "schedule.final": 0.1}),
        ("lora=released", {"lora.modules_to_save": []}),
        ("lora=dora", {"lora.modules_to_save": [], "lora.use_dora": True}),
        ("lora=rslora", {"lora.modules_to_save": [], "lora.use_rslora": True}),
    ],
)
def test_a_discrepancy_is_one_option_that_changes_nothing_else(option: str, changed: dict[str, Any]) -> None:
    papers, theirs = composed(*RECIPES["sft_78k"]), composed(*RECIPES["sft_78k"], option)
    wanted = OmegaConf.to_container(papers.model)
    for key, value in changed.items():
        part, _, name = key.partition(".")
        wanted[part][name] = value  # type: ignore[index,call-overload]  # a dict of dicts
    assert OmegaConf.to_container(theirs.model) == wanted
    assert theirs.trainer == papers.trainer


@pytest.mark.parametrize(
    ("recipe", "micro_batch", "ranks", "accumulation"),
    [
        ("sft_78k", 1, 8, 1),
        ("sft_78k", 1, 4, 2),
        ("sft_78k", 2, 4, 1),
        ("sft_78k", 1, 1, 8),
        ("sft_78k", 4, 1, 2),
        ("pretrain", 1, 16, 1),
        ("pretrain", 1, 8, 2),
        ("pretrain", 4, 1, 4),
    ],
)
def test_the_global_batch_stays_on_any_number_of_gpus(
    recipe: str, micro_batch: int, ranks: int, accumulation: int
) -> None:
    cfg = composed(*RECIPES[recipe])
    data = instantiate({**cfg.data, "micro_batch": micro_batch, "corpus": None, "tokenizer": None})
    assert data.accumulation(ranks) == accumulation
    assert micro_batch * ranks * accumulation == cfg.data.global_batch


@pytest.mark.parametrize(
    ("trainer", "strategy", "offloads"),
    [
        ("gpu", None, []),
        ("ddp", "DDPStrategy", []),
        ("zero2", "Zero", []),
        ("zero3", "Zero", []),
        ("zero2_offload", "Zero", ["offload_optimizer"]),
        ("zero3_offload", "Zero", ["offload_optimizer", "offload_parameters"]),
    ],
)
def test_strategies_are_options_with_the_same_numbers(trainer: str, strategy: str | None, offloads: list[str]) -> None:
    cfg = composed(*RECIPES["sft_78k"], f"trainer={trainer}").trainer
    same = ("accelerator", "precision", "gradient_clip_val", "max_epochs")
    assert values(cfg, same) == {"accelerator": "gpu", "precision": "bf16-mixed", **values(cfg, same[2:])}
    assert (cfg.gradient_clip_val, cfg.max_epochs, cfg.devices) == (1.0, 10, 1 if trainer == "gpu" else 8)
    if strategy is None:
        assert cfg.strategy == "auto"
        return
    assert cfg.strategy._target_.endswith(f".{strategy}")
    assert [key for key in cfg.strategy if str(key).startswith("offload")] == offloads
    assert cfg.strategy.get("stage") == (int(trainer[4]) if trainer.startswith("zero") else None)
