"""What distances say of two tracks, learned from a partition of the title's own tracks.

Several distances are weighed into one (Fisher's linear discriminant), and the fused distance at
which two tracks are as likely one person as two is found. It knows neither encoders nor merging:
a partition goes in, weights and a cut come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from vcn_ray.core.linkage import Space
from vcn_ray.core.vectors import TINY, on_host, row_blocks
from vcn_ray.errors import ConfigError
from vcn_ray.records import F64, I64, Mask

LEAST_SD = 1e-3
"""Floor under a standard deviation, as a share of the distance between the two means."""

GRID = 2001
"""Places between the two means where the crossing is looked for."""


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How distances are weighed and cut. One setting for every title and every pack."""

    ridge: float = 0.1  # share of its own variance added to each distance's, so that distances
    # that agree share the weight
    odds: float = 2.0  # how many times a pair of one person counts against a pair of two: clusters
    # are compared by means over many pairs, which stray less than the pairs that are counted
    false_share: float = 0.05  # largest share of the pairs in clusters that strangers may make up
    # by chance; where nobody is seen twice, the nearest strangers are all there is in clusters

    def __post_init__(self) -> None:
        if self.ridge <= 0 or self.odds <= 0 or not 0 < self.false_share <= 1:
            raise ConfigError(
                "a fusion needs ridge > 0, odds > 0 and 0 < false_share <= 1, got "
                f"{self.ridge}, {self.odds} and {self.false_share}"
            )


class Fusion(NamedTuple):
    """One distance out of several, and where it is cut."""

    weights: F64  # (s,) none negative
    cut: float  # of the weighted sum


def pair_distances(spaces: Sequence[Space]) -> F64:
    """All pairs of k tracks by s distances.

    Returns:
        (k (k - 1) / 2, s), in the order of `same_pairs`.
    """
    tracks = len(spaces[0].left)
    result = np.empty((tracks * (tracks - 1) // 2, len(spaces)))
    for place, space in enumerate(spaces):
        done = 0
        for rows in row_blocks(tracks, tracks):
            later = np.arange(tracks) > np.arange(rows.start, rows.stop)[:, None]
            table = on_host(space.offset - space.left[rows] @ space.right.T)[later]
            result[done : done + len(table), place] = table
            done += len(table)
    return result


def same_pairs(label: I64) -> Mask:
    """(k (k - 1) / 2,) true for pairs i < k of one cluster, by i, then by k."""
    first, second = np.triu_indices(len(label), 1)
    same: Mask = label[first] == label[second]
    return same


def fuse(distances: F64, same: Mask, config: FusionConfig) -> Fusion | None:
    """Weigh distances by how well they tell the two kinds of pairs apart, and cut between them.

    The direction is Fisher's: the inverse of the mean covariance of both kinds times the
    difference of their means. A distance that would count against itself is left out. The cut is
    where a pair at that distance is as likely of one kind as of the other (see `crossing`), or
    lower, where chance alone would put too many pairs of strangers under it.

    Args:
        distances: (p, s) of pairs of tracks.
        same: (p,) true where both are in one cluster.
        config: How to weigh and cut.

    Returns:
        The fusion, scaled so that the two means are 1 apart; None where a kind has no pairs or
        no distance sets them apart.
    """
    if same.all() or not same.any():
        return None
    kinds = distances[same], distances[~same]
    covariances = [np.atleast_2d(np.cov(kind.T, ddof=0)) for kind in kinds]
    scatter = (covariances[0] + covariances[1]) / 2
    own = np.maximum(np.diag(scatter), TINY)
    gap = kinds[1].mean(axis=0) - kinds[0].mean(axis=0)
    direction = np.maximum(np.linalg.solve(scatter + config.ridge * np.diag(own), gap), 0)
    apart = float(direction @ gap)
    if apart <= 0:
        return None
    weights = direction / apart
    near, far = (kind @ weights for kind in kinds)
    cut = min(crossing(near, far, config.odds), chance_limit(near, far, config.false_share))
    return Fusion(weights, cut)


def crossing(near: F64, far: F64, odds: float) -> float:
    """Where two normal distributions, weighted by their pairs, are as likely, between their means.

    Args:
        near: (n,) distances of pairs in one cluster.
        far: (m,) of pairs in two, larger on average.
        odds: How many times one of the first counts.

    Returns:
        The distance; the mean of the first where the others are likelier from there on, that of
        the others where they never are.
    """
    low, high = float(near.mean()), float(far.mean())
    grid = np.linspace(low, high, GRID)
    scores = []
    for kind, weight in ((near, odds), (far, 1.0)):
        sd = max(float(kind.std()), LEAST_SD * (high - low))
        scores.append(np.log(weight * len(kind) / sd) - np.square((grid - kind.mean()) / sd) / 2)
    behind = np.flatnonzero(scores[0] < scores[1])
    return float(grid[behind[0]] if len(behind) else high)


def chance_limit(near: F64, far: F64, false_share: float) -> float:
    """Distance under which strangers by chance are `false_share` of the pairs in clusters.

    Strangers are taken as normal; their spread is that of the farther half, where no tracks of
    one person that were not joined are among them.
    """
    share = false_share * len(near) / len(far)
    if share >= 1:
        return np.inf
    middle = float(np.median(far))
    spread = float(np.sqrt(np.square(far[far >= middle] - middle).mean()))
    return middle + spread * float(special.ndtri(share))
