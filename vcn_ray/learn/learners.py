"""Students and teachers at the start of their training (METHOD 2.1): of the head, of the encoder.

It knows how they are put together from the settings; not what they are trained on.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from vcn_ray.learn.encoder_head import EncoderWithHead, Part
from vcn_ray.learn.heads import Head
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.outputs import Student
from vcn_ray.learn.ranks import ALONE, Ranks
from vcn_ray.learn.settings import FinetuneConfig
from vcn_ray.learn.training import Learner
from vcn_ray.models.backbones import Backbone

CPU_PAIRS = 8
"""Pairs of pictures that go through a whole encoder at once on a CPU: a third faster than 64 at
once, in a fifth of the memory."""


def head_learner(
    embeddings: Tensor, config: FinetuneConfig, generator: torch.Generator, ranks: Ranks = ALONE
) -> Learner:
    """Student and teacher started from the same random head."""
    mean = embeddings.mean(dim=(0, 1))
    head = Head(mean, config.outputs, generator).to(embeddings.device)
    teacher = copy.deepcopy(head).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return Learner(
        student=head,
        teacher=teacher,
        trained=list(head.parameters()),
        followed=list(teacher.parameters()),
        optimiser=optimiser,
        # From zero rather than from the first mean: measured better on short titles.
        centre=torch.zeros(config.outputs, device=embeddings.device),
        temperatures=Temperatures(config.teacher_temperature, config.student_temperature),
        centre_momentum=config.centre_momentum,
        teacher_momentum=config.teacher_momentum,
        pairs_at_once=config.batch_pairs,
        ranks=ranks,
    )


def encoder_learner(
    student: Student,
    encoder: Backbone,
    part: Part,
    config: FinetuneConfig,
    ranks: Ranks = ALONE,
) -> tuple[Learner, EncoderWithHead]:
    """Student and teacher started from the trained head and the encoder as it is.

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
        optimiser=torch.optim.AdamW(groups, weight_decay=config.weight_decay),
        centre=student.centre,
        temperatures=student.temperatures,
        centre_momentum=config.centre_momentum,
        teacher_momentum=config.encoder_teacher_momentum,
        pairs_at_once=CPU_PAIRS if whole_on_cpu else config.encoder_batch_pairs,
        ranks=ranks,
    )
    return learner, network
