"""What is asked of a fine-tuning and what it is given; no networks and no training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np

from vcn_ray.core.cut import CutConfig
from vcn_ray.core.match import MatchConfig
from vcn_ray.errors import ConfigError, ShapeError
from vcn_ray.learn.augment import AugmentConfig
from vcn_ray.learn.ranks import ALONE, Ranks
from vcn_ray.records import I64, U8

Progress = Callable[[str, float], None]
"""Takes the name of a step and the share of it that is done."""


class Checkpoints(Protocol):
    """Keeps the last state of one fine-tuning, so that it can be gone on with after a kill."""

    @property
    def seconds(self) -> float:
        """Of training between two states that are worth keeping, at least."""

    def load(self) -> bytes | None:
        """What was saved last; None: nothing."""

    def save(self, data: bytes) -> None:
        """Replace what was saved, at once and whole."""


class Hooks(NamedTuple):
    """What goes on beside a fine-tuning; its result depends on none of it, save for rounding."""

    progress: Progress | None = None  # called after each batch
    checkpoints: Checkpoints | None = None
    ranks: Ranks = ALONE  # who trains together: their sums come in another order


NO_HOOKS = Hooks()

Matcher = Literal["partition", "gaussian", "none"]
"""How tracks are matched between rounds: by the title's cut as it is now, by METHOD 2.5 to the
letter, or not at all."""

Trained = Literal["frozen", "tail", "all"]
"""What of the encoder is trained after the head: nothing, its last blocks, or all of it."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """METHOD 2, one setting for every title; values that did well on film-like tracks."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    augmented_views: int = 4  # of each crop, drawn once; 2 at least
    outputs: int = 1024  # K
    teacher_temperature: float = 0.07  # tau_t
    student_temperature: float = 0.10  # tau_s
    centre_momentum: float = 0.9  # a step; a slower one lets sharp teachers drift to one output
    weight_decay: float = 0.04

    rounds: int = 2  # METHOD 2.6, head alone, at most; a third confirms its own mistakes
    settled_share: float = 0.9  # of matched pairs in common with the round before ends the rounds
    epochs: int = 4  # a round; each visits every crop once
    least_steps: int = 24  # a round; a title of few crops gets more epochs
    batch_pairs: int = 128
    learning_rate: float = 1e-3
    teacher_momentum: float = 0.996  # a step
    matcher: Matcher = "partition"
    match: MatchConfig = field(default_factory=MatchConfig)  # of the matcher "gaussian"
    cut: CutConfig = field(default_factory=CutConfig)  # of the matcher "partition"
    matched_share: float = 0.5  # of the partners, where a track has a match

    encoder: Trained = "tail"  # METHOD 2.4, after the head's rounds
    encoder_epochs: int = 2
    encoder_crops: int = 6  # of a track, an epoch
    encoder_batch_pairs: int = 64
    encoder_learning_rate: float = 5e-4  # as a share of a parameter's root mean square
    encoder_head_learning_rate: float = 3e-4
    encoder_teacher_momentum: float = 0.99
    cache_bytes: int = 2 << 30  # for the trunk's activations; what does not fit is computed again

    quality_passes: int = 30  # METHOD 3.1
    quality_dropout: float = 0.5
    least_spread: float = 0.05  # METHOD 2.8; one person alone keeps 0.3 and more, a collapse 0.03

    def __post_init__(self) -> None:
        least = {"augmented_views": 2, "rounds": 1, "epochs": 1, "encoder_epochs": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                got = getattr(self, name)
                raise ConfigError(f"fine-tuning needs {name} >= {value}, got {got}")
        for name, known in (("matcher", get_args(Matcher)), ("encoder", get_args(Trained))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not 0 <= self.quality_dropout < 1:
            raise ConfigError(f"quality_dropout must be in [0, 1), got {self.quality_dropout}")
        if not 0 < self.teacher_temperature <= self.student_temperature:
            raise ConfigError(
                "sharpening needs 0 < teacher_temperature <= student_temperature, got "
                f"{self.teacher_temperature} and {self.student_temperature}"
            )


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did: the log that METHOD 2.8 asks for."""

    epoch: int  # 0, 1, ... over the whole run
    round: int  # 0, 1, ...: between two matchings of tracks
    stage: str  # "head" or "encoder"
    loss: float  # mean over the pairs, nats
    entropy: float  # of the teacher's sharpened outputs, nats; log K: it tells nothing apart
    spread: float  # share of the outputs' energy that crops do not have in common, 0..1
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class TitleCrops:
    """The sampled crops of a title and what is known of its tracks."""

    crops: U8  # (m, p, p, 3) RGB, aligned as the encoder wants them
    track: I64  # (m,) 0..k-1; each track has one crop at least
    cannot_link: I64  # (c, 2) tracks seen in one frame, so two people

    def __post_init__(self) -> None:
        if self.crops.ndim != 4 or self.crops.shape[3] != 3 or self.crops.dtype != np.uint8:
            raise ShapeError(
                f"crops need (m, p, p, 3) uint8, got {self.crops.shape} {self.crops.dtype}"
            )
        if self.track.shape != (len(self.crops),):
            raise ShapeError(f"{len(self.crops)} crops need as many tracks, got {self.track.shape}")
        missing = np.setdiff1d(np.arange(self.tracks), self.track)
        if len(missing) or (len(self.track) and self.track.min() < 0):
            raise ShapeError(f"tracks must be 0..k-1, each with a crop; without: {missing[:5]}")
        pairs = self.cannot_link
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isin(pairs, self.track).all():
            raise ShapeError(f"cannot_link needs (c, 2) tracks of 0..{self.tracks - 1}")

    @property
    def tracks(self) -> int:
        """Number k of tracks."""
        return int(self.track.max()) + 1 if len(self.track) else 0
