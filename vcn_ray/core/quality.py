"""How far a track's faces can be trusted (METHOD 3); it knows no networks and no clustering.

METHOD 3.2 leaves out the tracks that are far below the usual quality of their title. That limit
moves with the title: where every third track is no face at all, such tracks are usual. So the
default uses two absolute limits, which the prior of the pack gives a meaning in every title.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Fraction
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import TINY, Floats, group_sums, row_blocks
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, Mask, Tiers, TrackOutputs

MIN_TRACKS = 6
"""Tracks that a title needs before any of them can be called an outlier."""

SD_PER_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

SD_PER_MEAN_DEVIATION = 1.2533
"""Standard deviation of a normal distribution over its mean absolute deviation."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class QualityConfig:
    """Which tracks are too poor to be clustered. One setting for every title."""

    rule: Literal["recognisable", "outliers"] = "recognisable"  # outliers: as METHOD 3.2 says, and
    # as for every pack without a prior
    min_recognisability: Fraction = 0.05  # of a core track: with less, a face is as near to
    # strangers as to itself
    min_score: Annotated[float, Field(lt=0)] = -2.5  # METHOD 3.2; the textbook's -3.5 drops hardly
    # any track
    max_unknown_fraction: Fraction = 0.05  # of a title's tracks, left unknown for their quality


def rate_tracks(outputs: TrackOutputs, config: QualityConfig, prior: FacePrior | None) -> Tiers:
    """Decide which tracks may found a person, join one, or neither (METHOD 3.2).

    A core track is surely a face (by the detector's score) whose identity can be read (by its
    recognisability, and by the outliers of METHOD 3.2). Junk is neither. What is left is weak: a
    face too small, blurred or turned, or something that the detector is not sure of.

    Args:
        outputs: Of k tracks.
        config: The limits.
        prior: Of the pack; None: METHOD 3.2 alone decides, and nothing is junk.
    """
    usual = ~low_outliers(outputs.quality, config)
    if prior is None or config.rule == "outliers":
        return Tiers(usual, np.zeros(len(outputs), np.bool_), usual)
    is_face, readable = is_recognisable(outputs.score, outputs.recognisability, config, prior)
    return Tiers(is_face & readable & usual, ~is_face & ~readable, readable & usual)


def is_recognisable(
    score: F32, recognisability: F32, config: QualityConfig, prior: FacePrior
) -> tuple[Mask, Mask]:
    """Say which tracks are surely faces, and which show enough to tell whose: two (k,) masks."""
    is_face: Mask = np.isnan(score) | (score >= prior.min_score)
    readable: Mask = recognisability >= config.min_recognisability
    return is_face, readable


def crop_quality(repeats: Floats) -> F32:
    """Measure how little an embedding moves under dropout: SER-FIQ (METHOD 3.1).

    From Terhörst et al., CVPR 2020.

    Args:
        repeats: (r, m, d) embeddings of m crops by r passes with dropout, of any length.

    Returns:
        (m,) `2 sigmoid(-mean pairwise Euclidean distance of the r unit vectors)`, in [0, 1].

    Raises:
        ShapeError: There are fewer than two passes.
    """
    if repeats.ndim != 3 or len(repeats) < 2:
        raise ShapeError(f"repeats need shape (r, m, d) with r >= 2, got {repeats.shape}")
    passes, crops, _ = repeats.shape
    first, second = np.triu_indices(passes, 1)
    result = np.empty(crops, np.float32)
    for rows in row_blocks(crops, passes * max(passes, repeats.shape[2])):
        vectors = repeats[:, rows].astype(np.float64).transpose(1, 0, 2)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), TINY)
        cosines = (vectors @ vectors.transpose(0, 2, 1))[:, first, second]
        distance = np.sqrt(np.maximum(2 - 2 * cosines, 0)).mean(axis=1)
        result[rows] = 2 / (1 + np.exp(distance))
    return result


def track_quality(quality: Floats, track: I64, tracks: int) -> F32:
    """Average the quality of each track's crops, (k,) (METHOD 3.2).

    Args:
        quality: (m,) quality of each crop.
        track: (m,) its track, 0..tracks-1.
        tracks: Number of tracks, each with at least one crop.
    """
    crops = np.bincount(track, minlength=tracks)
    if len(crops) > tracks or (crops == 0).any():
        raise ShapeError(f"each of {tracks} tracks needs a crop, got {np.unique(track).size}")
    result: F32 = (group_sums(quality, track, tracks) / crops).astype(np.float32)
    return result


def low_outliers(quality: Floats, config: QualityConfig) -> Mask:
    """Find the tracks whose quality is far below the usual one of their title (METHOD 3.2).

    One-sided modified z-score: the distance from the median in standard deviations, which are
    estimated from the median absolute deviation, or from the mean absolute deviation where more
    than half of the tracks have the median quality.

    Args:
        quality: (k,) quality of each track.
        config: The limits.

    Returns:
        (k,) true for an outlier; the lowest ones, at most `max_unknown_fraction` of all tracks.
    """
    outlier = np.zeros(len(quality), bool)
    if len(quality) < MIN_TRACKS:
        return outlier
    deviation: F64 = quality.astype(np.float64) - np.median(quality)
    sd = SD_PER_MAD * float(np.median(np.abs(deviation)))
    if sd == 0:
        sd = SD_PER_MEAN_DEVIATION * float(np.abs(deviation).mean())
    if sd == 0:
        return outlier
    lowest = np.argsort(deviation, kind="stable")[: int(config.max_unknown_fraction * len(quality))]
    outlier[lowest] = deviation[lowest] / sd < config.min_score
    return outlier
