import pytest
import torch
from torch import nn

from chatmusician.errors import UserError
from chatmusician.modeling.muon import Muon
from chatmusician.modeling.optimizers import AdamWSettings, MuonSettings, Schedule


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(3, 2)
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.LayerNorm(2)])
        self.lm_head = nn.Linear(2, 3, bias=False)


def names_by_group(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[set[str]]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [{names[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups]


@pytest.mark.parametrize(
    ("step", "share"), list(enumerate([0.5, 1.0, 1.0, 0.8875, 0.775, 0.6625, 0.55, 0.4375, 0.325, 0.2125]))
)
def test_the_linear_schedule_in_the_docstring(step: int, share: float) -> None:
    """Two of ten steps of warm-up, then from 1 by (1 - 0.1) / 8 a step."""
    schedule = Schedule(shape="linear", warmup=0.2, final=0.1)
    assert schedule.factor(step, total=10) == pytest.approx(share)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.2), (4, 1.0), (5, 1.0), (24, 0.9045), (62, 0.3455), (100, 0.0), (300, 0.0)],
)
def test_the_papers_schedule(step: int, share: float) -> None:
    """Cosine after 5 steps of warm-up: (1 + cos 36 degrees) / 2 at 19 of 95 steps, (1 + cos 108 degrees) / 2 at 57."""
    assert Schedule().factor(step, total=100) == pytest.approx(share, abs=5e-5)


def test_no_warmup_begins_at_the_full_rate() -> None:
    assert Schedule(warmup=0.0).factor(0, total=10) == 1.0
    assert Schedule(warmup=1.0).factor(9, total=10) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "step"}, "schedule.shape='step': use cosine or linear"),
        ({"warmup": 1.5}, "schedule.warmup=1.5: use a share between 0 and 1"),
        ({"final": -0.1}, "schedule.final=-0.1: use a share between 0 and 1"),
    ],
)
def test_what_is_no_schedule_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Schedule(**options)  # type: ignore[arg-type]  # the parameters differ in type


def test_groups_without_parameters_are_left_out() -> None:
    """DeepSpeed drops them, and a schedule made for two groups then fails on one."""
    module = nn.Linear(2, 2, bias=False)
    for settings in (AdamWSettings(lr=1.0), MuonSettings()):
        assert names_by_group(module, settings.build(module.named_parameters())) == [{"weight"}]


def test_adamw_decays_matrices_only() -> None:
    module = Tiny()
    optimizer = AdamWSettings(lr=1e-4, weight_decay=0.1).build(module.named_parameters())
    matrices, vectors = names_by_group(module, optimizer)
    assert matrices == {"embed_tokens.weight", "layers.0.weight", "lm_head.weight"}
    assert vectors == {"layers.0.bias", "layers.1.weight", "layers.1.bias"}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert {(group["lr"], group["betas"], group["eps"]) for group in optimizer.param_groups} == {
        (1e-4, (0.9, 0.95), 1e-8)
    }


def test_muon_takes_the_matrices_of_the_layers() -> None:
    module = Tiny()
    optimizer = MuonSettings(lr=0.02, adam_lr=0.005).build(module.named_parameters())
    assert isinstance(optimizer, Muon)
    matrices, others = names_by_group(module, optimizer)
    assert matrices == {"layers.0.weight"}
    assert others == {"embed_tokens.weight", "lm_head.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"}
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.005]


@pytest.mark.parametrize("settings", [AdamWSettings(lr=1e-3), MuonSettings()])
def test_frozen_weights_are_left_out(settings: AdamWSettings | MuonSettings) -> None:
    module = Tiny()
    module.layers.requires_grad_(False)
    optimizer = settings.build(module.named_parameters())
    assert set.union(*names_by_group(module, optimizer)) == {"embed_tokens.weight", "lm_head.weight"}
