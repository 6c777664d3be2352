"""The self-distillation loss (METHOD 2.3) and the guard against collapse (METHOD 2.8).

The loss is that of DINO: M. Caron et al., "Emerging Properties in Self-Supervised Vision
Transformers", ICCV 2021, section 3.1. Everything here is a function of its arguments: the loss
changes neither the centre nor the teacher, whose updates are functions of their own. It knows
nothing of networks, of how pairs are sampled, or of an optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MIN_RELATIVE_VARIANCE = 0.05
"""Relative variance of the outputs below which an epoch has collapsed: one person alone keeps 0.3
and more, a collapse 0.03, and half or twice this limit gives the same results."""


class Temperatures(NamedTuple):
    """Temperatures of the two sides of the loss; the teacher's is the lower one: it sharpens."""

    teacher: float  # tau_t
    student: float  # tau_s


def sharpen(outputs: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """Turn teacher outputs into probabilities, centred and sharpened (METHOD 2.3; DINO, eq. 1).

    Args:
        outputs: z_t, (b, K).
        centre: c, (K,).
        temperature: tau_t.

    Returns:
        `P = softmax((z_t - c) / tau_t)`, (b, K).
    """
    return functional.softmax((outputs - centre) / temperature, dim=1)


def distillation_loss(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    centre: Tensor,
    temperatures: Temperatures,
) -> Tensor:
    """Return the symmetric loss of a batch of positive pairs (METHOD 2.3; DINO, eq. 2 and 3).

    Example:
        >>> student, teacher = (head(e_a), head(e_b)), (slow_head(e_a), slow_head(e_b))
        >>> distillation_loss(student, teacher, centre, Temperatures(0.07, 0.1)).backward()
        >>> centre = update_centre(centre, torch.cat(teacher), momentum=0.9)

    Args:
        student: Student outputs z_s of both sides of the pairs, (b, K) each.
        teacher: Teacher outputs z_t of both sides, (b, K) each; no gradient flows to them.
        centre: c, (K,).
        temperatures: tau_t and tau_s.

    Returns:
        The mean of `(L(a, b) + L(b, a)) / 2` over the pairs in nats, a scalar, where
        `L(a, b) = -sum_k P(a)_k log softmax(z_s(b) / tau_s)_k`.
    """
    total = student[0].new_zeros(())
    for known, guessed in ((teacher[0], student[1]), (teacher[1], student[0])):
        target = sharpen(known.detach(), centre, temperatures.teacher)
        guess = functional.log_softmax(guessed / temperatures.student, dim=1)
        total = total - (target * guess).sum(dim=1).mean()
    return total / 2


def update_centre(centre: Tensor, teacher: Tensor, momentum: float) -> Tensor:
    """Return the centre c (K,) after a batch of teacher outputs (b, K) (2.3; DINO, eq. 4)."""
    return momentum * centre + (1 - momentum) * teacher.mean(dim=0)


@torch.no_grad()
def update_teacher(teacher: Sequence[Tensor], student: Sequence[Tensor], momentum: float) -> None:
    """Move the teacher's parameters towards the student's, in place (METHOD 2.4; DINO, 3.1)."""
    for slow, fast in zip(teacher, student, strict=True):
        slow.lerp_(fast, 1 - momentum)


def entropy(probabilities: Tensor) -> Tensor:
    """Return the mean entropy of the rows of (b, K) probabilities, in nats (METHOD 2.8)."""
    each: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return each.mean()


def relative_variance(mean: Tensor, energy: float) -> float:
    """Return the variance of outputs z over their mean square (METHOD 2.8).

    Args:
        mean: Mean of z, (K,).
        energy: Mean of `|z|^2`.

    Returns:
        `1 - |mean|^2 / energy`, in 0..1; 0 where all outputs are equal.
    """
    common = float((mean**2).sum())
    return 1 - common / energy if energy > 0 else 0.0


def is_collapsed(loss: float, variance: float) -> bool:
    """Decide whether an epoch ended in a collapse (METHOD 2.8).

    A collapse gives all crops the same output, whether that is peaked (entropy near 0) or flat
    (entropy near log K). The relative variance shows both; a single person keeps some, because of
    pose and light.

    Args:
        loss: Mean loss of the epoch.
        variance: Relative variance of the student's outputs in the epoch.
    """
    healthy = math.isfinite(loss) and variance >= MIN_RELATIVE_VARIANCE
    return not healthy
