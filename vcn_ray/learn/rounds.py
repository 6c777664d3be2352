"""The rounds of METHOD 2: when the head, and then the encoder's tail, is trained, on which pairs.

It knows one title's views and tracks; not how tracks are matched or what becomes of the result.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vcn_ray.learn.encoder_tail import TailWithHead
from vcn_ray.learn.heads import Head
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.matching import find_matches
from vcn_ray.learn.outputs import CropEmbeddings, Student
from vcn_ray.learn.sampling import PairSampler, draw_views
from vcn_ray.learn.settings import EpochRecord, FinetuneConfig, Progress, TitleCrops
from vcn_ray.learn.training import Inputs, Learner, is_collapsed, train_epoch
from vcn_ray.learn.views import FIRST_AUGMENTED, PLAIN, CropViews, Encoded
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import I64

OUTPUT_VIEWS = (PLAIN, FIRST_AUGMENTED, FIRST_AUGMENTED + 1)
"""The views that track outputs are made of."""

TAIL_VIEWS = FIRST_AUGMENTED + 2
"""The tail is trained on the first so many views: two thirds of the activations, and all of
OUTPUT_VIEWS among them."""


class Stage(NamedTuple):
    """One way to train: what, on what, and for how long."""

    name: str  # "head" or "tail"
    learner: Learner
    inputs: Inputs
    views: int  # pairs show the first so many
    rounds: int
    epochs: int  # a round
    batch_pairs: int
    crops_per_track: int | None  # a track's most in one epoch


@dataclass
class Rounds:
    """One title's training.

    Attributes:
        history: One record for each epoch so far.
    """

    title: TitleCrops
    views: CropViews
    untuned: Encoded  # every view by the encoder as the pack ships it
    config: FinetuneConfig
    generator: torch.Generator  # on the CPU
    progress: Progress
    history: list[EpochRecord] = field(default_factory=list)

    def train_head(self) -> Student | None:
        """METHOD 2.6 with the encoder frozen; None: it collapsed."""
        embeddings, config = self.untuned.embeddings, self.config
        learner = head_learner(embeddings, config, self.generator)
        steps = -(-self.views.crops // config.batch_pairs)
        stage = Stage(
            name="head",
            learner=learner,
            inputs=lambda rows, views: embeddings[views, rows],
            views=len(embeddings),
            rounds=config.rounds,
            epochs=max(config.epochs, -(-config.least_steps // steps)),
            batch_pairs=config.batch_pairs,
            crops_per_track=None,
        )
        for number in range(config.rounds):
            student = Student(learner.student, learner.centre, learner.temperatures)
            matches = self._matches(student) if number else np.zeros((0, 2), np.int64)
            if not self._run(stage, number, matches):
                return None
        return Student(learner.student, learner.centre, learner.temperatures)

    def train_tail(self, student: Student, encoder: Backbone) -> tuple[Student, Backbone] | None:
        """METHOD 2.4, one round with the encoder's last blocks; None: it collapsed.

        Returns:
            The student's new state and its encoder; what was given is left as it was.
        """
        config = self.config
        learner, network = tail_learner(student, encoder, config)
        stage = Stage(
            name="tail",
            learner=learner,
            inputs=self.views.activations,
            views=TAIL_VIEWS,
            rounds=1,
            epochs=config.tail_epochs,
            batch_pairs=config.tail_batch_pairs,
            crops_per_track=config.tail_crops,
        )
        if not self._run(stage, config.rounds, self._matches(student)):
            return None
        return Student(network.head, learner.centre, learner.temperatures), network.encoder

    def crops(self, tuned: Tensor) -> CropEmbeddings:
        """Embeddings of OUTPUT_VIEWS by an adapted encoder (3, m, d), beside the untuned ones."""
        untuned = self.untuned.embeddings
        return CropEmbeddings(tuned[0], tuned[1:], untuned[PLAIN], untuned[FIRST_AUGMENTED:])

    def _matches(self, student: Student) -> I64:
        """METHOD 2.5 with what the student knows by now."""
        self.progress("match", 0.0)
        crops = self.crops(self.untuned.embeddings[list(OUTPUT_VIEWS)])
        matches = find_matches(student, crops, self.title, self.config)
        self.progress("match", 1.0)
        return matches

    def _run(self, stage: Stage, number: int, matches: I64) -> bool:
        """One round; false as soon as an epoch shows a collapse."""
        sampler = PairSampler(self.title.track, matches)
        past = number % stage.rounds * stage.epochs
        for epoch in range(stage.epochs):
            start = time.perf_counter()
            pairs = sampler.epoch(self.generator, self.config.matched_share, stage.crops_per_track)
            views = draw_views(pairs, stage.views, self.generator)

            def tick(share: float, epoch: int = epoch) -> None:
                self.progress(stage.name, (past + epoch + share) / (stage.rounds * stage.epochs))

            means = train_epoch(stage.learner, stage.inputs, pairs, views, stage.batch_pairs, tick)
            seconds = time.perf_counter() - start
            record = EpochRecord(len(self.history), number, stage.name, *means, seconds=seconds)
            self.history.append(record)
            if is_collapsed(means, self.config.least_spread):
                return False
        return True


def head_learner(embeddings: Tensor, config: FinetuneConfig, generator: torch.Generator) -> Learner:
    """Student and teacher started from the same random head (METHOD 2.1)."""
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
    )


def tail_learner(
    student: Student, encoder: Backbone, config: FinetuneConfig
) -> tuple[Learner, TailWithHead]:
    """Student and teacher started from the trained head and the encoder as it is."""
    network = TailWithHead(encoder, student.head)
    teacher = copy.deepcopy(network).requires_grad_(False)
    groups = network.groups(config.tail_learning_rate, config.tail_head_learning_rate)
    learner = Learner(
        student=network,
        teacher=teacher,
        trained=network.trained(),
        followed=teacher.trained(),
        optimiser=torch.optim.AdamW(groups, weight_decay=config.weight_decay),
        centre=student.centre,
        temperatures=student.temperatures,
        centre_momentum=config.centre_momentum,
        teacher_momentum=config.tail_teacher_momentum,
    )
    return learner, network
