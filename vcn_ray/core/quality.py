"""How far a track's faces can be trusted (METHOD 3); it knows no network and no clustering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vcn_ray.core.vectors import Floats, group_sums, row_blocks
from vcn_ray.errors import ConfigError, ShapeError
from vcn_ray.records import F32, F64, I64, Mask

SD_PER_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

SD_PER_MEAN_DEVIATION = 1.2533
"""The same over the mean absolute deviation, which stands in where more than half are equal."""


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """Which tracks are too poor to be clustered. One setting for every title."""

    lowest_score: float = -2.5  # METHOD 3.2; the textbook's -3.5 drops next to nothing
    largest_share: float = 0.05  # of a title's tracks that may be left unknown for their quality
    fewest_tracks: int = 6  # with fewer, what is usual cannot be told

    def __post_init__(self) -> None:
        if self.lowest_score >= 0:
            raise ConfigError(f"lowest_score must be negative, got {self.lowest_score}")
        if not 0 <= self.largest_share <= 1:
            raise ConfigError(f"largest_share must be in 0..1, got {self.largest_share}")
        if self.fewest_tracks < 3:
            raise ConfigError(f"fewest_tracks must be 3 at least, got {self.fewest_tracks}")


def crop_quality(repeats: Floats) -> F32:
    """SER-FIQ: how little an embedding moves under dropout (METHOD 3.1).

    Args:
        repeats: (r, m, d) embeddings of m crops by r passes with dropout, of any length.

    Returns:
        (m,) `2 sigmoid(-mean pairwise Euclidean distance of the r unit vectors)`, in [0, 1].

    Raises:
        ShapeError: Fewer than two passes.
    """
    if repeats.ndim != 3 or len(repeats) < 2:
        raise ShapeError(f"repeats need shape (r, m, d) with r >= 2, got {repeats.shape}")
    passes, crops, _ = repeats.shape
    first, second = np.triu_indices(passes, 1)
    result = np.empty(crops, np.float32)
    for rows in row_blocks(crops, passes * max(passes, repeats.shape[2])):
        vectors = repeats[:, rows].astype(np.float64).transpose(1, 0, 2)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-12)
        cosines = (vectors @ vectors.transpose(0, 2, 1))[:, first, second]
        distance = np.sqrt(np.maximum(2 - 2 * cosines, 0)).mean(axis=1)
        result[rows] = 2 / (1 + np.exp(distance))
    return result


def track_quality(quality: Floats, track: I64, tracks: int) -> F32:
    """Mean quality (k,) over the crops (m,) of each track (METHOD 3.2).

    Args:
        quality: (m,) quality of each crop.
        track: (m,) its track, 0..tracks-1.
        tracks: Number of tracks, each with one crop at least.
    """
    crops = np.bincount(track, minlength=tracks)
    if len(crops) > tracks or (crops == 0).any():
        raise ShapeError(f"each of {tracks} tracks needs a crop, got {np.unique(track).size}")
    result: F32 = (group_sums(quality, track, tracks) / crops).astype(np.float32)
    return result


def low_outliers(quality: Floats, config: QualityConfig) -> Mask:
    """Tracks whose quality is far under what is usual in their title (METHOD 3.2).

    One-sided modified z-score: the distance from the median in standard deviations, these taken
    from the median absolute deviation, or the mean one where the median one is zero.

    Args:
        quality: (k,) quality of each track.
        config: The limits.

    Returns:
        (k,) true for an outlier: the lowest ones, never more than the largest share.
    """
    outlier = np.zeros(len(quality), bool)
    if len(quality) < config.fewest_tracks:
        return outlier
    deviation: F64 = quality.astype(np.float64) - np.median(quality)
    spread = SD_PER_MAD * float(np.median(np.abs(deviation)))
    if spread == 0:
        spread = SD_PER_MEAN_DEVIATION * float(np.abs(deviation).mean())
    if spread == 0:
        return outlier
    lowest = np.argsort(deviation, kind="stable")[: int(config.largest_share * len(quality))]
    outlier[lowest] = deviation[lowest] / spread < config.lowest_score
    return outlier
