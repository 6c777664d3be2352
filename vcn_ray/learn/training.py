"""One epoch of self-distillation (METHOD 2.3-2.4), the same for the head and with the encoder.

It knows two networks that map rows of some input to outputs; not what the input is, and nothing of
tracks or matches beyond the pairs it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vcn_ray.learn.loss import (
    Temperatures,
    entropy,
    pair_loss,
    sharpen,
    update_centre,
    update_teacher,
)
from vcn_ray.learn.ranks import Ranks
from vcn_ray.learn.views import Tick, batches

Inputs = Callable[[Tensor, Tensor], Tensor]
"""Rows (b,) and their views (b,) to the networks' input."""


class EpochMeans(NamedTuple):
    """Means over the pairs of one epoch."""

    loss: float  # nats
    entropy: float  # of the teacher's sharpened outputs, nats; log K: it tells nothing apart
    spread: float  # share of the student outputs' energy that crops do not have in common, 0..1


class Step(NamedTuple):
    """What one batch gave; tensors, so that the device is not waited for."""

    pairs: int
    loss: Tensor
    entropy: Tensor
    outputs: Tensor  # (K,) mean of the student's outputs
    energy: Tensor  # mean of their squared norms


class Part(NamedTuple):
    """What some of a batch's pairs gave."""

    loss: Tensor  # their part of the batch's mean
    known: Tensor  # (2 b, K) of the teacher
    guessed: Tensor  # (2 b, K) of the student


@dataclass
class Learner:
    """Student and teacher (METHOD 2.1) and what moves them."""

    student: nn.Module
    teacher: nn.Module
    trained: list[nn.Parameter]  # the student's, moved by the optimiser
    followed: list[nn.Parameter]  # the teacher's, in the same order
    optimiser: torch.optim.Optimizer
    centre: Tensor  # (K,) c
    temperatures: Temperatures
    centre_momentum: float
    teacher_momentum: float
    pairs_at_once: int  # through the networks; a batch's gradients are added up over its parts
    ranks: Ranks  # who trains it together

    def state(self) -> dict[str, Tensor]:
        """A copy of all that training changes, by name, on the CPU."""
        tensors = {"centre": self.centre}
        for number, (fast, slow) in enumerate(zip(self.trained, self.followed, strict=True)):
            tensors[f"student.{number}"], tensors[f"teacher.{number}"] = fast, slow
            for name, value in self.optimiser.state.get(fast, {}).items():
                tensors[f"optimiser.{number}.{name}"] = value
        plain = torch.contiguous_format
        return {n: t.detach().cpu().clone(memory_format=plain) for n, t in tensors.items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go back to a `state` of a learner that was made alike."""
        self.centre = state["centre"].to(self.centre.device)
        for number, (fast, slow) in enumerate(zip(self.trained, self.followed, strict=True)):
            fast.copy_(state[f"student.{number}"])
            slow.copy_(state[f"teacher.{number}"])
            start = f"optimiser.{number}."
            self.optimiser.state[fast] = {
                # Moments lie in memory as their parameter does; the count of steps is one number.
                name.removeprefix(start): torch.empty_like(fast).copy_(value)
                if value.shape == fast.shape
                else value.clone()
                for name, value in state.items()
                if name.startswith(start)
            }

    def step(self, left: Tensor, right: Tensor, pairs: int) -> Step:
        """Train on a batch of `pairs`.

        Args:
            left: This rank's part of them, as the networks' inputs of one side (b, ...).
            right: Of the other side.
            pairs: Of all ranks.
        """
        self.optimiser.zero_grad(set_to_none=True)
        parts = [
            self._gradients(one, other, share=len(one) / pairs)
            for one, other in zip(
                torch.split(left, self.pairs_at_once),
                torch.split(right, self.pairs_at_once),
                strict=True,
            )
            if len(one)
        ]
        self.ranks.add_gradients(self.trained)
        self.optimiser.step()
        update_teacher(self.followed, self.trained, self.teacher_momentum)
        loss, known, seen = self._joined(parts, pairs)
        unsure = entropy(sharpen(known, self.centre, self.temperatures.teacher))
        self.centre = update_centre(self.centre, known, self.centre_momentum)
        return Step(pairs, loss, unsure, seen.mean(0), (seen**2).sum(1).mean())

    def _joined(self, parts: list[Part], pairs: int) -> Part:
        """What the parts of all ranks gave."""
        none = self.centre.new_zeros((0, len(self.centre)))
        loss = torch.stack([part.loss for part in parts] or [self.centre.new_zeros(())]).sum()
        known = torch.cat([none, *(part.known for part in parts)])
        guessed = torch.cat([none, *(part.guessed for part in parts)])
        return Part(
            self.ranks.join(loss[None], self.ranks.count).sum(),
            self.ranks.join(known, pairs, each=2),
            self.ranks.join(guessed, pairs, each=2),
        )

    def _gradients(self, left: Tensor, right: Tensor, share: float) -> Part:
        """Add the gradients of some of a batch's pairs, which are so large a share of it."""
        both = torch.cat([left, right])
        with torch.no_grad():
            known: Tensor = self.teacher(both)
        guessed: Tensor = self.student(both)
        loss = pair_loss(halves(guessed), halves(known), self.centre, self.temperatures) * share
        torch.autograd.backward(loss)
        return Part(loss.detach(), known, guessed.detach())


def halves(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """(2 b, K) to both sides of a pair."""
    left, right = outputs.chunk(2)
    return left, right


def train_epoch(
    learner: Learner, inputs: Inputs, pairs: Tensor, views: Tensor, batch: int, tick: Tick
) -> EpochMeans:
    """Train on (p, 2) pairs of rows, each side in its view (p, 2), `batch` pairs at a time."""
    steps: list[Step] = []
    done = 0
    for chosen in batches(len(pairs), batch):
        own = chosen[learner.ranks.part(len(chosen))]
        rows, seen = pairs[own], views[own]
        left, right = (
            inputs(rows[:, side], seen[:, side]) if len(own) else rows[:, side] for side in (0, 1)
        )
        steps.append(learner.step(left, right, pairs=len(chosen)))
        done += len(chosen)
        tick(done / len(pairs))
    weight = torch.tensor([step.pairs / done for step in steps], dtype=torch.float64)

    def mean(values: list[Tensor]) -> Tensor:
        stacked = torch.stack(values).double().cpu()
        return torch.einsum("s,s...->...", weight, stacked)

    energy = float(mean([step.energy for step in steps]))
    common = float((mean([step.outputs for step in steps]) ** 2).sum())
    spread = 1 - common / energy if energy > 0 else 0.0
    loss, unsure = mean([step.loss for step in steps]), mean([step.entropy for step in steps])
    return EpochMeans(float(loss), float(unsure), spread)


def is_collapsed(means: EpochMeans, least_spread: float) -> bool:
    """Whether an epoch ended in a collapse (METHOD 2.8).

    Peaked (entropy near 0) or flat (near log K), a collapse gives all crops one output: the spread
    tells both. One person alone keeps some, by pose and light.
    """
    healthy = math.isfinite(means.loss) and means.spread >= least_spread
    return not healthy
