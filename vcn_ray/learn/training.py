"""Student and teacher at their start (METHOD 2.1), and one epoch of self-distillation (2.3-2.4).

An epoch is the same for the head alone and for the encoder with it: two networks map rows of some
input to outputs. It knows nothing of tracks or matches beyond the pairs it is given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.encoder import EncoderWithHead, Unfrozen
from vcn_ray.learn.heads import Head, Student
from vcn_ray.learn.hooks import ALONE, Ranks, Tick
from vcn_ray.learn.loss import (
    Temperatures,
    distillation_loss,
    entropy,
    relative_variance,
    sharpen,
    update_centre,
    update_teacher,
)
from vcn_ray.learn.views import batches
from vcn_ray.models.backbones import Backbone

WEIGHT_DECAY = 0.04
"""Of AdamW, no setting because half and twice this value give the same results."""

CPU_PAIRS = 8
"""Pairs of pictures in one pass through a whole encoder on a CPU: a third faster than 64 pairs, in
a fifth of the memory."""

Inputs = Callable[[Tensor, Tensor], Tensor]
"""Maps rows (b,) and their views (b,) to the networks' input (b, ...)."""


class EpochMeans(NamedTuple):
    """Means over the pairs of one epoch."""

    loss: float  # nats
    entropy: float  # of the teacher's sharpened outputs, nats; log K where they say nothing
    relative_variance: float  # of the student's outputs, 0..1


@dataclass(frozen=True)
class EpochRecord:
    """The log of one epoch that METHOD 2.8 asks for."""

    epoch: int  # 0, 1, ... over the whole adaptation
    round: int  # 0, 1, ...: between two matchings of tracks
    phase: str  # "head" or "encoder"
    loss: float  # mean over the pairs, nats
    entropy: float  # of the teacher's sharpened outputs, nats; log K where they say nothing
    relative_variance: float  # of the student's outputs, 0..1: near 0 where all are the same
    seconds: float


class Step(NamedTuple):
    """What one batch gave; tensors, so that nothing waits for the device."""

    pairs: int
    loss: Tensor
    entropy: Tensor
    outputs: Tensor  # (K,) mean of the student's outputs
    energy: Tensor  # mean of their squared norms


class MicroBatch(NamedTuple):
    """What some of a batch's pairs gave."""

    loss: Tensor  # their part of the batch's mean
    teacher: Tensor  # (2 b, K) outputs
    student: Tensor  # (2 b, K) outputs


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
    pairs_at_once: int  # in one pass through the networks; gradients add up over a batch's passes
    ranks: Ranks  # the processes that train together

    def state(self) -> dict[str, Tensor]:
        """Return a copy of everything that training changes, by name, on the CPU."""
        tensors = {"centre": self.centre}
        for number, (fast, slow) in enumerate(zip(self.trained, self.followed, strict=True)):
            tensors[f"student.{number}"], tensors[f"teacher.{number}"] = fast, slow
            for name, value in self.optimiser.state.get(fast, {}).items():
                tensors[f"optimiser.{number}.{name}"] = value
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Restore the `state` of a learner with the same networks and settings."""
        self.centre = state["centre"].to(self.centre.device)
        for number, (fast, slow) in enumerate(zip(self.trained, self.followed, strict=True)):
            fast.copy_(state[f"student.{number}"])
            slow.copy_(state[f"teacher.{number}"])
            start = f"optimiser.{number}."
            self.optimiser.state[fast] = {
                # The count of steps is one number, which the optimiser keeps on the CPU.
                name.removeprefix(start): value.to(fast.device if value.ndim else "cpu", copy=True)
                for name, value in state.items()
                if name.startswith(start)
            }

    def step(self, left: Tensor, right: Tensor, pairs: int) -> Step:
        """Train on one batch (METHOD 2.3-2.4).

        Args:
            left: Inputs (b, ...) of one side of this rank's pairs.
            right: Inputs (b, ...) of the other side.
            pairs: Number of pairs of all ranks.
        """
        self.optimiser.zero_grad(set_to_none=True)
        parts = [
            self._add_gradients(one, other, weight=len(one) / pairs)
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
        batch = self._gather(parts, pairs)
        unsure = entropy(sharpen(batch.teacher, self.centre, self.temperatures.teacher))
        self.centre = update_centre(self.centre, batch.teacher, self.centre_momentum)
        energy = (batch.student**2).sum(1).mean()
        return Step(pairs, batch.loss, unsure, batch.student.mean(0), energy)

    def _add_gradients(self, left: Tensor, right: Tensor, weight: float) -> MicroBatch:
        """Add the gradients of some of a batch's pairs, weighted by their fraction of it."""
        both = torch.cat([left, right])
        with torch.no_grad():
            known: Tensor = self.teacher(both)
        guessed: Tensor = self.student(both)
        sides = _sides(guessed), _sides(known)
        loss = distillation_loss(*sides, self.centre, self.temperatures) * weight
        torch.autograd.backward(loss)
        return MicroBatch(loss.detach(), known, guessed.detach())

    def _gather(self, parts: list[MicroBatch], pairs: int) -> MicroBatch:
        """Join the parts of a batch from all ranks."""
        none = self.centre.new_zeros((0, len(self.centre)))
        loss = torch.stack([part.loss for part in parts] or [self.centre.new_zeros(())]).sum()
        known = torch.cat([none, *(part.teacher for part in parts)])
        guessed = torch.cat([none, *(part.student for part in parts)])
        return MicroBatch(
            self.ranks.all_gather(loss[None], self.ranks.count).sum(),
            self.ranks.all_gather(known, pairs, each=2),
            self.ranks.all_gather(guessed, pairs, each=2),
        )


def _sides(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Split (2 b, K) outputs into both sides of the pairs, (b, K) each."""
    left, right = outputs.chunk(2)
    return left, right


def head_learner(
    embeddings: Tensor, config: AdaptConfig, generator: torch.Generator, ranks: Ranks = ALONE
) -> Learner:
    """Start student and teacher from the same random head (METHOD 2.1, encoder frozen).

    Args:
        embeddings: (v, m, d) unit embeddings of the title's views; the head subtracts their mean.
        config: Outputs, temperatures, rates and momenta.
        generator: Of the head's weights; on the CPU.
        ranks: The processes that train together.
    """
    mean = embeddings.mean(dim=(0, 1))
    head = Head(mean, config.outputs, generator).to(embeddings.device)
    teacher = copy.deepcopy(head).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=WEIGHT_DECAY
    )
    return Learner(
        student=head,
        teacher=teacher,
        trained=list(head.parameters()),
        followed=list(teacher.parameters()),
        optimiser=optimiser,
        # A start from zero instead of from the first mean measured better on short titles.
        centre=torch.zeros(config.outputs, device=embeddings.device),
        temperatures=config.temperatures,
        centre_momentum=config.centre_momentum,
        teacher_momentum=config.teacher_momentum,
        pairs_at_once=config.batch_pairs,
        ranks=ranks,
    )


def encoder_learner(
    student: Student,
    encoder: Backbone,
    part: Unfrozen,
    config: AdaptConfig,
    ranks: Ranks = ALONE,
) -> tuple[Learner, EncoderWithHead]:
    """Start student and teacher from the trained head and the pretrained encoder (METHOD 2.4).

    Returns:
        The learner, and its student under its own type.
    """
    network = EncoderWithHead(encoder, student.head, part)
    teacher = copy.deepcopy(network).requires_grad_(False)
    whole_on_cpu = part == "all" and student.centre.device.type == "cpu"
    groups = network.groups(config.encoder_learning_rate, config.encoder_head_learning_rate)
    learner = Learner(
        student=network,
        teacher=teacher,
        trained=network.trained(),
        followed=teacher.trained(),
        optimiser=torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY),
        centre=student.centre,
        temperatures=student.temperatures,
        centre_momentum=config.centre_momentum,
        teacher_momentum=config.encoder_teacher_momentum,
        pairs_at_once=CPU_PAIRS if whole_on_cpu else config.encoder_batch_pairs,
        ranks=ranks,
    )
    return learner, network


def train_epoch(
    learner: Learner, inputs: Inputs, pairs: Tensor, views: Tensor, batch: int, tick: Tick
) -> EpochMeans:
    """Train one epoch.

    Args:
        learner: Student and teacher.
        inputs: Gives the networks' input.
        pairs: (p, 2) rows, in the order in which they are trained on.
        views: (p, 2) the view in which each side is shown.
        batch: Pairs per step.
        tick: Called after each batch with the progress of the epoch.
    """
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
    variance = relative_variance(mean([step.outputs for step in steps]), energy)
    loss, unsure = mean([step.loss for step in steps]), mean([step.entropy for step in steps])
    return EpochMeans(float(loss), float(unsure), variance)
