"""Settings of an adaptation (METHOD 2 and 3.1); it knows no networks and no training."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Count, Fraction, Natural, Positive
from vcn_ray.core.match import MatchConfig
from vcn_ray.learn.augment import AugmentConfig
from vcn_ray.learn.loss import Temperatures

Matcher = Literal["partition", "gaussian", "none"]
"""How tracks are matched between rounds: by the title's current cut, by METHOD 2.5 to the letter,
or not at all."""

Trained = Literal["frozen", "tail", "all"]
"""Which part of the encoder is trained after the head: none, its last blocks, or all of it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AdaptConfig:
    """How a model adapts to a title. One setting for every title.

    The paper publishes no values for these; the defaults did well on film-like tracks.
    """

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    augmented_views: Annotated[int, Field(ge=2)] = 4  # of each crop, drawn once
    outputs: Count = 1024  # K
    teacher_temperature: Positive = 0.07  # tau_t
    student_temperature: Positive = 0.10  # tau_s
    centre_momentum: Fraction = 0.9  # per step; slower: sharp teachers drift to one output

    split_tracks: bool = True  # where their face changes to another person's, if the pack has a
    # prior
    min_tracks: Natural = 60  # a title of fewer core tracks is not trained on, if the pack has a
    # prior: on real clips of 4 to 47 tracks, training changes scores by as much as chance does
    trained_crops: Count = 8192  # of a title, at most: more make training dearer, not better
    rounds: Count = 2  # METHOD 2.6, head alone, at most; a third confirms its own mistakes
    epochs: Count = 4  # per round; each visits every crop once
    batch_pairs: Count = 128
    learning_rate: Positive = 1e-3
    teacher_momentum: Fraction = 0.996  # per step
    matcher: Matcher = "partition"
    match: MatchConfig = field(default_factory=MatchConfig)  # for the matcher "gaussian"
    matched_fraction: Fraction = 0.5  # of the partners, where a track has a match

    encoder: Trained = "tail"  # METHOD 2.4, after the head's rounds
    encoder_epochs: Count = 2
    encoder_crops: Count = 6  # per track and epoch
    encoder_batch_pairs: Count = 64
    encoder_learning_rate: Positive = 5e-4  # as a fraction of a parameter's root mean square
    encoder_head_learning_rate: Positive = 3e-4
    encoder_teacher_momentum: Fraction = 0.99
    cache_bytes: Natural = 2 << 30  # for the trunk's activations; what does not fit is recomputed

    quality_passes: Annotated[int, Field(ge=2)] = 30  # METHOD 3.1
    quality_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def __post_init__(self) -> None:
        if self.teacher_temperature > self.student_temperature:
            raise ValueError(
                "sharpening needs teacher_temperature <= student_temperature, got "
                f"{self.teacher_temperature} and {self.student_temperature}"
            )

    @property
    def temperatures(self) -> Temperatures:
        """Both temperatures of the loss."""
        return Temperatures(self.teacher_temperature, self.student_temperature)
