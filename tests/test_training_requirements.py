"""What a run lacks is told at once; machines are given as values, so that any can be asked about."""

import copy
import functools
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from safetensors.torch import save_file

from chatmusician.config.composition import compose
from chatmusician.machine import Gpu, Machine, machine_without_torch, this_machine
from chatmusician.requirements import training_problems

H100 = Gpu(name="NVIDIA H100 80GB HBM3", capability=(9, 0))
A100 = Gpu(name="NVIDIA A100-SXM4-80GB", capability=(8, 0))
V100 = Gpu(name="Tesla V100-SXM2-32GB", capability=(7, 0))
LAPTOP = Machine(torch="2.13.0+cpu", packages=frozenset({"ninja"}))
NANO = ["+experiment=nano_pretrain"]
SFT = ["+experiment=sft_78k"]


def node(gpu: Gpu, count: int = 8, *packages: str) -> Machine:
    return Machine(gpus=(gpu,) * count, torch="2.13.0+cu128", torch_has_cuda=True, packages=frozenset(packages))


composed = functools.cache(lambda *choices: compose("train", choices))
"""Composing takes half a second."""


QUANTISING = node(H100, 8, "bitsandbytes")


def found(overrides: list[str], machine: Machine) -> list[str]:
    """Problems of a recipe with options of groups, composed once, and values, which are set in a copy."""
    choices = [override for override in overrides if "." not in override]
    cfg = copy.deepcopy(composed(*choices))
    for override in overrides:
        if override not in choices:
            key, _, value = override.removeprefix("+").partition("=")
            OmegaConf.update(cfg, key, yaml.safe_load(value), force_add=True)
    return [str(problem) for problem in training_problems(cfg, machine=machine)]


@pytest.mark.parametrize("machine", [node(H100), node(A100, 8)], ids=["H100", "A100"])
def test_the_papers_recipes_fit_the_machines_that_they_are_for(machine: Machine) -> None:
    assert found(SFT, machine) == []


def test_the_nano_recipe_fits_a_laptop() -> None:
    assert found(NANO, LAPTOP) == []


def test_no_gpu_is_told_with_what_to_do_instead() -> None:
    (line,) = found(SFT, LAPTOP)
    assert line.startswith("trainer.accelerator=gpu: torch 2.13.0+cpu sees no GPU on this machine: run it on a machine")
    assert "with 8 GPUs" in line
    assert "trainer=zero2_cpu model.backbone.path=FOLDER" in line
    assert "+experiment=nano_pretrain" in line


def test_a_build_of_torch_without_cuda_beside_a_gpu_is_told() -> None:
    (line,) = found(SFT, Machine(torch="2.13.0+cpu", has_nvidia_driver=True))
    assert "this machine has a GPU, but torch 2.13.0+cpu is a build without CUDA: install" in line


V100_WANTS = "has no bfloat16: give trainer.precision=16-mixed model.backbone.dtype=float16"
SHARES = "is not a multiple of data.micro_batch="


@pytest.mark.parametrize(
    ("overrides", "machine", "line"),
    [
        (
            [*SFT],
            node(H100, 4),
            "trainer.devices=8: this machine has 4 GPUs: give trainer.devices=4, data.global_batch=8",
        ),
        ([*SFT], node(H100, 3), "trainer.devices=8: this machine has 3 GPUs: give trainer.devices=3"),
        (
            [*SFT, "trainer.devices=3"],
            node(H100),
            f"data.global_batch=8: {SHARES}1 x 3 ranks: give data.global_batch=9",
        ),
        (
            [*SFT, "data.micro_batch=2"],
            node(H100),
            f"data.global_batch=8: {SHARES}2 x 8 ranks: give data.micro_batch=1",
        ),
        ([*NANO, "data.micro_batch=5"], LAPTOP, f"data.global_batch=12: {SHARES}5 x 1 rank: give data.micro_batch=4"),
        ([*SFT], node(V100), f"trainer.precision=bf16-mixed: {V100.name} (compute capability 7.0) {V100_WANTS}"),
        (
            [*SFT, "trainer.precision=16-mixed"],
            node(V100),
            "model.backbone.dtype=bfloat16: does not go with trainer.prec",
        ),
        (
            [*SFT, "trainer.precision=32-true"],
            node(H100),
            "model.backbone.dtype=bfloat16: does not go with trainer.prec",
        ),
        ([*NANO, "trainer.precision=16-mixed"], LAPTOP, "trainer.precision=16-mixed: float16 trains on GPUs only"),
        (
            ["+experiment=pretrain"],
            node(H100),
            "trainer.num_nodes=2: one command starts the processes of one machine. Type on each of them: torchrun",
        ),
        (
            ["corpus=folk"],
            LAPTOP,
            "trainer: training would never end: give trainer.max_steps=N or trainer.max_epochs=N",
        ),
        (
            [*NANO, "+trainer.accumulate_grad_batches=2"],
            LAPTOP,
            "trainer.accumulate_grad_batches: is data.global_batch /",
        ),
        (
            [*NANO, "optim=paper", "trainer=zero3_offload", "trainer.accelerator=cpu", "trainer.devices=1"],
            LAPTOP,
            "trainer.strategy: ZeRO-3: Lightning runs it on GPUs only: give trainer=zero3_offload_cpu",
        ),
        (
            [*SFT, "trainer=gpu", "trainer.precision=16-true", "model.backbone.dtype=float16"],
            node(H100),
            "trainer.precision=16-true: does not scale the loss",
        ),
        (
            [*NANO, "data.seq_len=2048"],
            LAPTOP,
            "data.seq_len=2048: the model reads 1024 tokens at most: give model.back",
        ),
        (
            [*NANO, "trainer=zero2_cpu"],
            LAPTOP,
            "trainer.strategy: ZeRO-2: shares out flat pieces, and Muon needs whole m",
        ),
        (
            [*NANO, "trainer=zero2_cpu", "optim=paper"],
            Machine(has_compiler=False, packages=frozenset({"ninja"})),
            "trainer.strategy: ZeRO-2: on the CPU DeepSpeed compiles a kernel, which needs g++",
        ),
        (
            [*SFT, "+trainer.gradient_clip_algorithm=value"],
            node(H100),
            "trainer.gradient_clip_algorithm=value: DeepSpeed clips by the norm",
        ),
        (
            [*NANO, "model.backbone.attention=flex_attention"],
            LAPTOP,
            "model.backbone.attention=flex_attention: has no gra",
        ),
        (
            [*SFT, "model.backbone.attention=flash_attention_2"],
            node(H100),
            "model.backbone.attention=flash_attention_2: the package flash_attn is not installed: pip install flash",
        ),
        (
            [*SFT, "model.backbone.attention=flash_attention_3"],
            node(A100, 8, "flash_attn_interface"),
            "model.backbone.attention=flash_attention_3: NVIDIA A100-SXM4-80GB (compute capability 8.0) is too old",
        ),
        (
            [*SFT, "model.backbone.load_in_4bit=true"],
            node(H100),
            "model.backbone.load_in_4bit=true: bitsandbytes is not installed: pip install 'chatmusician[quantised]'",
        ),
        (
            [*SFT, "model.backbone.load_in_4bit=true", "model.backbone.load_in_8bit=true"],
            QUANTISING,
            "model.backbone.load_in_4bit=true: and load_in_8bit=true exclude each other",
        ),
        (
            [*SFT, "lora=freeze", "model.backbone.load_in_8bit=true"],
            QUANTISING,
            "model.backbone.load_in_8bit=true: quantised weights cannot be trained themselves",
        ),
        (
            [*SFT, "trainer=zero3", "model.backbone.load_in_8bit=true"],
            QUANTISING,
            "model.backbone.load_in_8bit=true: quantised weights cannot be shared out by ZeRO-3",
        ),
        (
            [*SFT, "trainer=zero3", "model.lora.use_dora=true"],
            node(H100),
            "trainer.strategy: ZeRO-3: DoRA needs the norms",
        ),
        (
            [*SFT, "+trainer.strategy.offload_parameters=true"],
            node(H100),
            "trainer.strategy: ZeRO-2: only ZeRO-3 offloads parameters: give trainer=zero3_offload",
        ),
        (
            [*SFT, "model.backbone.liger=true"],
            node(H100),
            "model.backbone.liger=true: liger-kernel is not installed: pip",
        ),
        (
            [*NANO, "model.backbone.attention=flash_attention_2"],
            LAPTOP,
            "model.backbone.attention=flash_attention_2: runs on GPUs only: give model.backbone.attention=sdpa",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(overrides: list[str], machine: Machine, line: str) -> None:
    lines = found(overrides, machine)
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_everything_is_told_at_once() -> None:
    lines = found([*SFT, "trainer.devices=3", "+trainer.accumulate_grad_batches=2", "data.seq_len=2048"], LAPTOP)
    assert [line.partition(":")[0] for line in lines] == [
        "trainer.accelerator=gpu",
        "trainer.accumulate_grad_batches",
        "data.global_batch=8",
    ]


@pytest.mark.parametrize(("started", "problems"), [(1, 1), (16, 0), (8, 1)])
def test_two_nodes_have_to_be_started_by_somebody(started: int, problems: int) -> None:
    machine = Machine(gpus=(H100,) * 8, torch_has_cuda=True, started_ranks=started)
    assert len(found(["+experiment=pretrain"], machine)) == problems


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (None, "does not exist"),
        ({}, "is not a model folder, it has no config.json"),
        ({"adapter_config.json": "{}"}, "is a LoRA adapter, not a model"),
        ({"config.json": "{}"}, "has no model.safetensors"),
        ({"config.json": "{", "model.bin": ""}, "is a pickle"),
    ],
)
def test_a_base_that_is_no_model_is_told(tmp_path: Path, files: dict[str, str] | None, line: str) -> None:
    base = tmp_path / "base"
    for name, content in (files or {}).items():
        base.mkdir(exist_ok=True)
        (base / name).write_text(content)
    if files is not None:
        base.mkdir(exist_ok=True)
    lines = found(["+experiment=nano_sft", f"model.backbone.path={base}"], LAPTOP)
    assert len(lines) == 1
    assert line in lines[0]
    assert str(base) in lines[0]


def test_a_base_that_is_quantised_already_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 512, "quantization_config": {"bits": 4}}')
    save_file({"model.norm.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text("{}")
    lines = found(["+experiment=nano_sft", f"model.backbone.path={tmp_path}", "data.seq_len=600"], LAPTOP)
    assert lines[0].startswith("data.seq_len=600: the model reads 512 tokens at most: give data.seq_len=512")
    assert "is stored quantised, and adapters are merged into whole weights: give the original" in lines[1]
    assert len(lines) == 2


def test_a_base_of_the_hub_without_network_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (line,) = found(["+experiment=nano_sft", "model.backbone.path=someone/no-such-model"], Machine(offline=True))
    assert line.startswith("model.backbone.path=someone/no-such-model: is not in the cache")
    assert "`hf download someone/no-such-model`" in line


def test_a_process_without_torch_sees_the_same_machine() -> None:
    assert machine_without_torch() == this_machine()
