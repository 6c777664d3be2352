from __future__ import annotations

import math

import pytest
import torch

from vcn_ray.learn.loss import (
    Temperatures,
    distillation_loss,
    entropy,
    is_collapsed,
    relative_variance,
    sharpen,
    update_centre,
    update_teacher,
)

TEMPERATURES = Temperatures(0.07, 0.1)


def outputs(seed: int, rows: int = 5, size: int = 7) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)).double()


def literal_loss(
    student: tuple[torch.Tensor, torch.Tensor],
    teacher: tuple[torch.Tensor, torch.Tensor],
    centre: torch.Tensor,
) -> float:
    """METHOD 2.3, one pair and one output at a time."""
    total = 0.0
    for i in range(len(student[0])):
        for a, b in ((0, 1), (1, 0)):
            known = [
                (float(z) - float(c)) / 0.07 for z, c in zip(teacher[a][i], centre, strict=True)
            ]
            guess = [float(z) / 0.1 for z in student[b][i]]
            known_sum = sum(math.exp(z) for z in known)
            guess_log = math.log(sum(math.exp(z) for z in guess))
            for z, y in zip(known, guess, strict=True):
                total -= math.exp(z) / known_sum * (y - guess_log) / 2
    return total / len(student[0])


def test_distillation_loss_equals_the_formula_written_out() -> None:
    student, teacher = (outputs(0), outputs(1)), (outputs(2), outputs(3))
    centre = outputs(4)[0]
    fast = distillation_loss(student, teacher, centre, TEMPERATURES)
    assert abs(float(fast) - literal_loss(student, teacher, centre)) < 1e-10


def test_no_gradient_flows_to_the_teacher() -> None:
    student = outputs(0).requires_grad_(), outputs(1).requires_grad_()
    teacher = outputs(2).requires_grad_(), outputs(3).requires_grad_()
    loss = distillation_loss(student, teacher, outputs(4)[0], TEMPERATURES)
    torch.autograd.backward(loss)
    assert all(side.grad is not None and side.grad.abs().sum() > 0 for side in student)
    assert all(side.grad is None for side in teacher)


def test_entropy_of_flat_and_peaked_rows() -> None:
    assert abs(float(entropy(torch.full((3, 8), 1 / 8))) - math.log(8)) < 1e-6
    assert float(entropy(torch.eye(4))) == 0
    flat = sharpen(torch.ones(2, 8), torch.ones(8), 0.07)
    torch.testing.assert_close(flat, torch.full((2, 8), 1 / 8))


def test_running_means() -> None:
    torch.testing.assert_close(
        update_centre(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 0.9),
        torch.tensor([0.9, 0.2]),
    )
    slow, fast = [torch.tensor([0.0, 10.0])], [torch.tensor([1.0, 0.0])]
    update_teacher(slow, fast, 0.75)
    torch.testing.assert_close(slow[0], torch.tensor([0.25, 7.5]))


def test_relative_variance_equals_the_definition() -> None:
    z = outputs(5, 40) + 0.3
    mean, energy = z.mean(0), float((z**2).sum(1).mean())
    want = float(((z - mean) ** 2).sum(1).mean()) / energy
    assert relative_variance(mean, energy) == pytest.approx(want)
    assert relative_variance(torch.ones(3), 3.0) == 0  # all outputs are equal
    assert relative_variance(torch.zeros(3), 2.0) == 1
    assert relative_variance(torch.zeros(3), 0.0) == 0


def test_what_is_a_collapse() -> None:
    assert not is_collapsed(5.0, 0.3)
    assert is_collapsed(5.0, 0.03)
    assert is_collapsed(math.nan, 0.3)
    assert is_collapsed(math.inf, 0.3)
