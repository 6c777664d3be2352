"""The rounds of METHOD 2.6: when the head, and then the encoder, is trained, and on which pairs.

It knows one title's views and tracks; not how tracks are matched or what becomes of the result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from vcn_ray.core.cut import CutConfig
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.checkpoint import Checkpoint, Checkpointer
from vcn_ray.learn.encoder import Unfrozen
from vcn_ray.learn.heads import Student
from vcn_ray.learn.hooks import ALONE, Ranks, Timer
from vcn_ray.learn.loss import is_collapsed
from vcn_ray.learn.outputs import CropEmbeddings
from vcn_ray.learn.pairs import (
    NO_MATCHES,
    Augmented,
    Matches,
    PairSampler,
    RatedTitle,
    draw_views,
    find_matches,
)
from vcn_ray.learn.training import (
    EpochMeans,
    EpochRecord,
    Inputs,
    Learner,
    encoder_learner,
    head_learner,
    train_epoch,
)
from vcn_ray.learn.views import (
    FIRST_AUGMENTED,
    OUTPUT_VIEWS,
    TAIL_VIEWS,
    EncodedViews,
)
from vcn_ray.models.backbones import Backbone

MIN_STEPS = 24
"""Steps in a round of the head, so that a title of few crops gets more epochs; half and twice this
number give the same results."""

SETTLED_AGREEMENT = 0.9
"""Agreement of two matchings at which the head's rounds end; half and twice the distance to 1 give
the same results."""


class Phase(NamedTuple):
    """One way to train: which networks, on which inputs, and for how long."""

    name: str  # "head" or "encoder"
    learner: Learner
    inputs: Inputs
    views: int  # pairs show the first views, this many
    rounds: int  # maximum
    epochs: int  # per round
    batch_pairs: int
    crops_per_track: int | None  # maximum in one epoch

    def student(self) -> Student:
        """Return the head in its current state."""
        return Student(self.learner.student, self.learner.centre, self.learner.temperatures)


@dataclass
class Rounds:
    """The training of one title, resumed where its checkpoint ends.

    Attributes:
        history: One record for each epoch so far.
        matches: The matches of each round that has started.
    """

    encoded: EncodedViews
    title: RatedTitle
    config: AdaptConfig
    cut: CutConfig  # of the matcher "partition"
    generator: torch.Generator  # on the CPU
    timer: Timer
    checkpointer: Checkpointer | None
    ranks: Ranks = ALONE
    history: list[EpochRecord] = field(default_factory=list)
    matches: list[Matches] = field(default_factory=list)
    _learners: dict[str, Learner] = field(default_factory=dict)  # by phase
    _saved: Checkpoint | None = None
    _settled: Matches | None = None  # found after the head's last round, which they ended

    def __post_init__(self) -> None:
        self._saved = self.checkpointer.load() if self.checkpointer else None
        if self._saved:
            self.history, self.matches = list(self._saved.history), list(self._saved.matches)
            for phase, seconds in self._saved.seconds.items():
                if phase not in self.timer.seconds:  # the time of encoding views counts once
                    self.timer.add(phase, seconds)

    @property
    def resumed_epochs(self) -> int:
        """Number of epochs of the history that come from a checkpoint."""
        return len(self._saved.history) if self._saved else 0

    def train_head(self) -> Student | None:
        """Train the head with the encoder frozen, until the matches settle (METHOD 2.6).

        Returns:
            The student, or None where it collapsed.
        """
        phase = self._head_phase()
        self._start(phase)
        while self._next_round(phase):
            if not self._run(phase):
                return None
        return phase.student()

    def train_encoder(
        self, student: Student, encoder: Backbone, part: Unfrozen
    ) -> tuple[Student, Backbone] | None:
        """Train the encoder, or its last blocks, and the head for one round (METHOD 2.4).

        Returns:
            The student's new state and its encoder, or None where they collapsed. The arguments
            stay as they are.
        """
        config, tail, views = self.config, part == "tail", self.encoded.views
        learner, network = encoder_learner(student, encoder, part, config, self.ranks)
        phase = Phase(
            name="encoder",
            learner=learner,
            inputs=views.activations if tail else views.images,
            views=TAIL_VIEWS if tail else views.count,
            rounds=1,
            epochs=config.encoder_epochs,
            batch_pairs=config.encoder_batch_pairs,
            crops_per_track=config.encoder_crops,
        )
        if not self._start(phase):
            self.matches.append(self._settled or self.match(student))
        if not self._run(phase):
            return None
        return Student(network.head, learner.centre, learner.temperatures), network.encoder

    def _head_phase(self) -> Phase:
        embeddings, config = self.encoded.pretrained.embeddings, self.config
        steps = -(-len(self.encoded.views.trained) // config.batch_pairs)
        return Phase(
            name="head",
            learner=head_learner(
                embeddings[:, self.encoded.views.trained], config, self.generator, self.ranks
            ),
            inputs=lambda rows, views: embeddings[views, rows],
            views=len(embeddings),
            rounds=config.rounds,
            epochs=max(config.epochs, -(-MIN_STEPS // steps)),
            batch_pairs=config.batch_pairs,
            crops_per_track=None,
        )

    def _start(self, phase: Phase) -> bool:
        """Load a phase from the checkpoint; false where the checkpoint has nothing of it."""
        self._learners[phase.name] = phase.learner
        if self._saved is None or phase.name not in self._saved.learners:
            return False
        phase.learner.load(self._saved.learners[phase.name])
        self.generator.set_state(self._saved.generator)
        return True

    def _next_round(self, phase: Phase) -> bool:
        """Start or resume a round of the head; false where another would change nothing."""
        started = len(self.matches)
        if self.history and self.history[-1].phase != phase.name:
            return False  # the checkpoint is of the phase after the head's
        if started and self._epochs_done() < phase.epochs:
            return True
        if started == self.config.rounds:
            return False
        found = self.match(phase.student()) if started else NO_MATCHES
        if started > 1 and found.agreement(self.matches[-1]) >= SETTLED_AGREEMENT:
            self._settled = found
            self.timer.report(phase.name, 1.0)
            return False
        self.matches.append(found)
        return True

    def _epochs_done(self) -> int:
        """Count the epochs of the round that started last."""
        return sum(epoch.round == len(self.matches) - 1 for epoch in self.history)

    def crops(self, adapted: Tensor) -> CropEmbeddings:
        """Return OUTPUT_VIEWS by an adapted encoder, (2, m, d), beside the pretrained ones."""
        return CropEmbeddings(*adapted, *self._known(OUTPUT_VIEWS))

    def _known(self, views: Sequence[int]) -> Tensor:
        """Return some views by the pretrained encoder, (v, m, d)."""
        return self.encoded.pretrained.embeddings[list(views)]

    def match(self, student: Student) -> Matches:
        """Match tracks by the student's current state (METHOD 2.5)."""
        self.timer.report("match", 0.0)
        with self.timer.phase("match"):
            crops = self.crops(self._known(OUTPUT_VIEWS))
            rows = self.encoded.views.trained
            augmented = self.encoded.pretrained.embeddings[FIRST_AUGMENTED:, rows]
            seen = Augmented(augmented, self.title.crops.track[rows.numpy()])
            found = find_matches(student, crops, seen, self.title, self.config, self.cut)
            matches = self.ranks.agree(found)
        self.timer.report("match", 1.0)
        return matches

    def _run(self, phase: Phase) -> bool:
        """Train the rest of the round that started last; false as soon as an epoch collapses."""
        track = self.title.crops.track[self.encoded.views.trained.numpy()]
        sampler = PairSampler(track, self.matches[-1].pairs, self.title.core[track])
        for epoch in range(self._epochs_done(), phase.epochs):
            with self.timer.phase(phase.name):
                means = self._epoch(phase, sampler, epoch)
            if self.ranks.agree(is_collapsed(means.loss, means.relative_variance)):
                return False
            self._save()
        return True

    def _epoch(self, phase: Phase, sampler: PairSampler, epoch: int) -> EpochMeans:
        """Train one epoch of a round, and add it to the history."""
        start = time.perf_counter()
        number = len(self.matches) - 1
        past = number % phase.rounds * phase.epochs + epoch
        fraction, limit = self.config.matched_fraction, phase.crops_per_track
        pairs = self.encoded.views.trained[sampler.epoch(self.generator, fraction, limit)]
        views = draw_views(pairs, phase.views, self.generator)

        def tick(progress: float) -> None:
            self.timer.report(phase.name, (past + progress) / (phase.rounds * phase.epochs))

        means = train_epoch(phase.learner, phase.inputs, pairs, views, phase.batch_pairs, tick)
        seconds = time.perf_counter() - start
        record = EpochRecord(len(self.history), number, phase.name, *means, seconds=seconds)
        self.history.append(record)
        return means

    def _save(self) -> None:
        """Save a checkpoint if one is due."""
        if self.checkpointer and self.checkpointer.is_due():
            learners = {name: learner.state() for name, learner in self._learners.items()}
            state = self.generator.get_state()
            self.checkpointer.save(
                Checkpoint(self.history, self.matches, self.timer.seconds, state, learners)
            )
