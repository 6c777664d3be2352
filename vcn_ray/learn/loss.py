"""The loss of METHOD 2.3 and the running means around it, as pure functions on tensors.

It knows nothing of networks' shapes, of how pairs are drawn, or of an optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Temperatures(NamedTuple):
    """Sharpness of both sides of the loss."""

    teacher: float  # tau_t, the smaller: sharpening
    student: float  # tau_s


def sharpen(outputs: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """P = softmax((z_t - c) / tau_t): (b, K) teacher outputs to probabilities."""
    return functional.softmax((outputs - centre) / temperature, dim=1)


def pair_loss(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    centre: Tensor,
    temperatures: Temperatures,
) -> Tensor:
    """Symmetrised loss of a batch of positive pairs (METHOD 2.3).

    Args:
        student: Student outputs z_s of both sides, (b, K) each.
        teacher: Teacher outputs z_t of both sides, (b, K) each; no gradient flows to them.
        centre: c, (K,).
        temperatures: tau_t and tau_s.

    Returns:
        The mean of (L(a, b) + L(b, a)) / 2 over the pairs, a scalar.
    """
    total = student[0].new_zeros(())
    for known, guessed in ((teacher[0], student[1]), (teacher[1], student[0])):
        target = sharpen(known.detach(), centre, temperatures.teacher)
        guess = functional.log_softmax(guessed / temperatures.student, dim=1)
        total = total - (target * guess).sum(dim=1).mean()
    return total / 2


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy in nats of the rows of (b, K) probabilities."""
    each: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return each.mean()


def update_centre(centre: Tensor, teacher: Tensor, momentum: float) -> Tensor:
    """The running mean c of (K,) after a batch of teacher outputs (b, K)."""
    return momentum * centre + (1 - momentum) * teacher.mean(dim=0)


@torch.no_grad()
def update_teacher(teacher: Sequence[Tensor], student: Sequence[Tensor], momentum: float) -> None:
    """Move the teacher's parameters towards the student's, in place (METHOD 2.4)."""
    for slow, fast in zip(teacher, student, strict=True):
        slow.lerp_(fast, 1 - momentum)
