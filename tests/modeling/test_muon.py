import copy

import pytest
import torch

from chatmusician.modeling.muon import Muon, orthogonalise

ADAM = {"orthogonal": False, "lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
MATRIX = {"orthogonal": True, "lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}


def with_singular_values(values: torch.Tensor, *, rows: int, columns: int) -> torch.Tensor:
    u, _ = torch.linalg.qr(torch.randn(rows, len(values)))
    v, _ = torch.linalg.qr(torch.randn(columns, len(values)))
    return u @ values.diag() @ v.T


@pytest.mark.parametrize("shape", [(32, 32), (64, 32), (32, 96)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_singular_values_are_pressed_towards_one(shape: tuple[int, int], scale: float) -> None:
    """From 0.002 of the norm to nearly all of it."""
    torch.manual_seed(0)
    matrix = with_singular_values(torch.logspace(-2.6, 0, 32), rows=shape[0], columns=shape[1])
    result = orthogonalise(scale * matrix)
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert 0.6 < values.min() <= values.max() < 1.3


def test_the_smallest_singular_values_grow_485_fold() -> None:
    torch.manual_seed(0)
    matrix = with_singular_values(torch.tensor([1.0, 1e-5]), rows=4, columns=4)
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values[1].item() == pytest.approx(485e-5, rel=0.01)  # 3.4445 to the power of 5


def test_singular_vectors_stay() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(6, 4)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonalise(matrix) @ v.T
    torch.testing.assert_close(inside, inside.diagonal().diag(), atol=1e-4, rtol=0)
    assert (inside.diagonal() > 0.6).all()


def test_a_zero_matrix_stays_zero() -> None:
    assert torch.equal(orthogonalise(torch.zeros(3, 2)), torch.zeros(3, 2))


def test_the_first_step_of_a_matrix_by_hand() -> None:
    """Momentum is (1 - 0.95) g and Nesterov's look ahead g times a number: the direction is that of g alone."""
    torch.manual_seed(0)
    start, gradient = torch.randn(8, 2), torch.randn(8, 2)
    parameter = torch.nn.Parameter(start.clone())
    parameter.grad = gradient
    Muon([{"params": [parameter], **MATRIX}]).step()
    expected = start * (1 - 0.02 * 0.1) - 0.02 * 2 * orthogonalise(gradient)  # 2 is the root of 8 / 2
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-5, rtol=1e-4)


def test_momentum_outlives_a_gradient() -> None:
    parameter = torch.nn.Parameter(torch.eye(2))
    optimizer = Muon([{"params": [parameter], **MATRIX, "weight_decay": 0.0}])
    parameter.grad = torch.eye(2)
    optimizer.step()
    before = parameter.detach().clone()
    parameter.grad = torch.zeros(2, 2)
    optimizer.step()
    assert (parameter.diagonal() < before.diagonal() - 0.01).all()


def test_vectors_are_updated_as_by_adamw() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5))
    theirs = torch.nn.Parameter(ours.detach().clone())
    muon = Muon([{"params": [ours], **ADAM}])
    adamw = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for _ in range(8):
        ours.grad = torch.randn(5)
        theirs.grad = ours.grad.clone()
        muon.step()
        adamw.step()
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_loaded_state_goes_on_bit_by_bit() -> None:
    def make() -> tuple[list[torch.nn.Parameter], Muon]:
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(3))]
        return parameters, Muon([{"params": parameters[:1], **MATRIX}, {"params": parameters[1:], **ADAM}])

    def step(parameters: list[torch.nn.Parameter], optimizer: Muon, index: int) -> None:
        generator = torch.Generator().manual_seed(index)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    parameters, optimizer = make()
    for index in range(3):
        step(parameters, optimizer, index)
    saved = copy.deepcopy(optimizer.state_dict())
    values = [parameter.detach().clone() for parameter in parameters]
    resumed, other = make()
    with torch.no_grad():
        for parameter, value in zip(resumed, values, strict=True):
            parameter.copy_(value)
    other.load_state_dict(saved)
    for index in range(3, 6):
        step(parameters, optimizer, index)
        step(resumed, other, index)
    assert all(torch.equal(a, b) for a, b in zip(parameters, resumed, strict=True))


def test_parameters_without_gradient_stay() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    Muon([{"params": [parameter], **MATRIX}]).step()
    assert torch.equal(parameter, torch.ones(2, 2))


def test_a_closure_is_called_with_gradients_on() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = Muon([{"params": [parameter], **ADAM}])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert (parameter < 1).all()
