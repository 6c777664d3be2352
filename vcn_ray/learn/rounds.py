"""The rounds of METHOD 2: when the head, and then the encoder, is trained, and on which pairs.

It knows one title's views and tracks; not how tracks are matched or what becomes of the result.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from vcn_ray.learn.checkpoint import Checkpoint, Keeper
from vcn_ray.learn.encoder_head import Part
from vcn_ray.learn.learners import encoder_learner, head_learner
from vcn_ray.learn.matching import NO_MATCHES, Matches, find_matches
from vcn_ray.learn.outputs import CropEmbeddings, Student
from vcn_ray.learn.ranks import ALONE, Ranks
from vcn_ray.learn.sampling import PairSampler, draw_views
from vcn_ray.learn.settings import EpochRecord, FinetuneConfig, TitleCrops
from vcn_ray.learn.training import EpochMeans, Inputs, Learner, is_collapsed, train_epoch
from vcn_ray.learn.views import FIRST_AUGMENTED, PLAIN, CropViews, Encoded
from vcn_ray.learn.watch import Watch
from vcn_ray.models.backbones import Backbone

OUTPUT_VIEWS = (PLAIN, FIRST_AUGMENTED, FIRST_AUGMENTED + 1)
"""The views that track outputs are made of."""

TAIL_VIEWS = FIRST_AUGMENTED + 2
"""The tail is trained on the first so many views: two thirds of the activations, and all of
OUTPUT_VIEWS among them."""


class Stage(NamedTuple):
    """One way to train: what, on what, and for how long."""

    name: str  # "head" or "encoder"
    learner: Learner
    inputs: Inputs
    views: int  # pairs show the first so many
    rounds: int  # at most
    epochs: int  # a round
    batch_pairs: int
    crops_per_track: int | None  # a track's most in one epoch

    def student(self) -> Student:
        """The head as far as it is trained."""
        return Student(self.learner.student, self.learner.centre, self.learner.temperatures)


@dataclass
class Rounds:
    """One title's training; begun where a checkpoint says so.

    Attributes:
        history: One record for each epoch so far.
        matches: What each round so far was, or is being, trained on.
    """

    title: TitleCrops
    views: CropViews
    untuned: Encoded  # every view by the encoder as the pack ships it
    config: FinetuneConfig
    generator: torch.Generator  # on the CPU
    watch: Watch
    keeper: Keeper | None
    ranks: Ranks = ALONE
    history: list[EpochRecord] = field(default_factory=list)
    matches: list[Matches] = field(default_factory=list)
    _learners: dict[str, Learner] = field(default_factory=dict)  # by stage
    _saved: Checkpoint | None = None
    _settled: Matches | None = None  # found after the last round of the head, where it was the last

    def __post_init__(self) -> None:
        self._saved = self.keeper.load() if self.keeper else None
        if self._saved:
            self.history, self.matches = list(self._saved.history), list(self._saved.matches)
            for step, seconds in self._saved.seconds.items():
                if step not in self.watch.seconds:  # views were encoded again: they count once
                    self.watch.add(step, seconds)

    @property
    def resumed_epochs(self) -> int:
        """Of the history, how many a checkpoint held."""
        return len(self._saved.history) if self._saved else 0

    def train_head(self) -> Student | None:
        """METHOD 2.6 with the encoder frozen, until the matches settle; None: it collapsed."""
        stage = self._head_stage()
        self._begin(stage)
        while self._next_round(stage):
            if not self._run(stage):
                return None
        return stage.student()

    def train_encoder(
        self, student: Student, encoder: Backbone, part: Part
    ) -> tuple[Student, Backbone] | None:
        """METHOD 2.4, one round with the encoder or its last blocks; None: it collapsed.

        Returns:
            The student's new state and its encoder; what was given is left as it was.
        """
        config, tail = self.config, part == "tail"
        learner, network = encoder_learner(student, encoder, part, config, self.ranks)
        stage = Stage(
            name="encoder",
            learner=learner,
            inputs=self.views.activations if tail else self.views.images,
            views=TAIL_VIEWS if tail else self.views.count,
            rounds=1,
            epochs=config.encoder_epochs,
            batch_pairs=config.encoder_batch_pairs,
            crops_per_track=config.encoder_crops,
        )
        if not self._begin(stage):
            self.matches.append(self._settled or self._match(student))
        if not self._run(stage):
            return None
        return Student(network.head, learner.centre, learner.temperatures), network.encoder

    def _head_stage(self) -> Stage:
        embeddings, config = self.untuned.embeddings, self.config
        steps = -(-self.views.crops // config.batch_pairs)
        return Stage(
            name="head",
            learner=head_learner(embeddings, config, self.generator, self.ranks),
            inputs=lambda rows, views: embeddings[views, rows],
            views=len(embeddings),
            rounds=config.rounds,
            epochs=max(config.epochs, -(-config.least_steps // steps)),
            batch_pairs=config.batch_pairs,
            crops_per_track=None,
        )

    def _begin(self, stage: Stage) -> bool:
        """Whether a checkpoint holds a part of this stage, which then goes on from there."""
        self._learners[stage.name] = stage.learner
        if self._saved is None or stage.name not in self._saved.learners:
            return False
        stage.learner.load(self._saved.learners[stage.name])
        self.generator.set_state(self._saved.generator)
        return True

    def _next_round(self, stage: Stage) -> bool:
        """Begin, or go on with, a round of the head; false: another would tell nothing new."""
        begun = len(self.matches)
        if self.history and self.history[-1].stage != stage.name:
            return False  # a checkpoint of what comes after the head
        if begun and self._epochs_done() < stage.epochs:
            return True
        if begun == self.config.rounds:
            return False
        found = self._match(stage.student()) if begun else NO_MATCHES
        if begun > 1 and found.agreement(self.matches[-1]) >= self.config.settled_share:
            self._settled = found
            self.watch.tell(stage.name, 1.0)
            return False
        self.matches.append(found)
        return True

    def _epochs_done(self) -> int:
        """Of the round last begun."""
        return sum(epoch.round == len(self.matches) - 1 for epoch in self.history)

    def crops(self, tuned: Tensor) -> CropEmbeddings:
        """Embeddings of OUTPUT_VIEWS by an adapted encoder (3, m, d), beside the untuned ones."""
        untuned = self.untuned.embeddings
        return CropEmbeddings(tuned[0], tuned[1:], untuned[PLAIN], untuned[FIRST_AUGMENTED:])

    def _match(self, student: Student) -> Matches:
        """METHOD 2.5 with what the student knows by now."""
        self.watch.tell("match", 0.0)
        with self.watch.step("match"):
            crops = self.crops(self.untuned.embeddings[list(OUTPUT_VIEWS)])
            found = find_matches(student, crops, self.title, self.config)
            matches = self.ranks.agree(found)
        self.watch.tell("match", 1.0)
        return matches

    def _run(self, stage: Stage) -> bool:
        """What is left of the round last begun; false as soon as an epoch shows a collapse."""
        sampler = PairSampler(self.title.track, self.matches[-1].pairs)
        for epoch in range(self._epochs_done(), stage.epochs):
            with self.watch.step(stage.name):
                means = self._epoch(stage, sampler, epoch)
            if self.ranks.agree(is_collapsed(means, self.config.least_spread)):
                return False
            self._keep()
        return True

    def _epoch(self, stage: Stage, sampler: PairSampler, epoch: int) -> EpochMeans:
        """One epoch of a round, noted in the history."""
        began = time.perf_counter()
        number = len(self.matches) - 1
        past = number % stage.rounds * stage.epochs + epoch
        pairs = sampler.epoch(self.generator, self.config.matched_share, stage.crops_per_track)
        views = draw_views(pairs, stage.views, self.generator)

        def tick(share: float) -> None:
            self.watch.tell(stage.name, (past + share) / (stage.rounds * stage.epochs))

        means = train_epoch(stage.learner, stage.inputs, pairs, views, stage.batch_pairs, tick)
        seconds = time.perf_counter() - began
        record = EpochRecord(len(self.history), number, stage.name, *means, seconds=seconds)
        self.history.append(record)
        return means

    def _keep(self) -> None:
        """Save where training stands, if it is time to."""
        if self.keeper and self.keeper.is_due():
            learners = {name: learner.state() for name, learner in self._learners.items()}
            state = self.generator.get_state()
            self.keeper.save(
                Checkpoint(self.history, self.matches, self.watch.seconds, state, learners)
            )
