"""Which tracks are likely one person, by the paper's coarse matching (METHOD 2.5).

It reads embeddings; it does not train, and it does not cluster.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import linalg

from vcn_ray.bounds import STRICT, Count
from vcn_ray.core.vectors import Floats, group_sums, row_blocks
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64

RIDGE = 1e-3
"""Fraction of the mean variance added to each direction, so that a covariance can be inverted."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MatchConfig:
    """How tracks are paired by their embeddings. One setting for every title."""

    tail_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25  # METHOD 2.5: a track's least likely
    # quarter of crops sets its threshold
    dimensions: Count = 32  # principal ones kept: fewer lose people, more are noise


def match_tracks(embeddings: Floats, track: I64, config: MatchConfig) -> I64:
    """Pair tracks by a normal distribution fitted to each (METHOD 2.5).

    A track has far fewer crops than dimensions, so the paper's covariance of a single track is
    singular. Here all tracks share one covariance, pooled within tracks, in the principal
    dimensions of the title. Densities stay in log space: the threshold of a track is the
    logarithm of the mean of its lowest densities.

    Args:
        embeddings: (m, d) unit embeddings of crops, or of augmented views, which match more.
        track: (m,) track of each row, 0..k-1, each with at least one row.
        config: Tail and dimensions; there is no threshold to set.

    Returns:
        (p, 2) tracks i < j, in rising order, where the mean of one reaches the threshold of the
        other.

    Raises:
        ShapeError: The arrays do not belong together, or a track has no row.
    """
    if embeddings.ndim != 2 or track.shape != (len(embeddings),):
        raise ShapeError(f"embeddings (m, d) need m tracks, got {embeddings.shape}, {track.shape}")
    tracks = int(track.max(initial=-1)) + 1
    crops = np.bincount(track, minlength=tracks)
    if (crops == 0).any():
        raise ShapeError(f"track {int(crops.argmin())} has no row")
    if len(track) == tracks:  # without two crops of one track, there is no covariance
        return np.zeros((0, 2), np.int64)
    rows = _whiten(embeddings.astype(np.float64), track, tracks, config.dimensions)
    means = group_sums(rows, track, tracks) / crops[:, None]
    thresholds = _thresholds(rows - means[track], track, tracks, config.tail_fraction)
    return _unordered(_reached(means, thresholds), tracks)


def _whiten(rows: F64, track: I64, tracks: int, dimensions: int) -> F64:
    """Project rows (m, d) to (m, r), where the pooled within-track covariance is the identity."""
    centred = rows - rows.mean(axis=0)
    _, sizes, directions = linalg.svd(centred, full_matrices=False)
    kept = min(dimensions, int((sizes > 1e-9 * max(sizes[0], 1e-300)).sum()))
    projected = centred @ directions[:kept].T
    crops = np.bincount(track, minlength=tracks)[:, None]
    inside = projected - (group_sums(projected, track, tracks) / crops)[track]
    covariance = inside.T @ inside / (len(rows) - tracks)
    ridge = RIDGE * np.trace(projected.T @ projected) / (len(rows) * max(kept, 1))
    factor = linalg.cholesky(covariance + max(ridge, 1e-300) * np.eye(kept), lower=True)
    whitened: F64 = linalg.solve_triangular(factor, projected.T, lower=True).T
    return whitened


def _thresholds(inside: F64, track: I64, tracks: int, tail_fraction: float) -> F64:
    """Return the log of the mean of each track's lowest densities, without the common constant."""
    logs = -np.square(inside).sum(axis=1) / 2
    order = np.lexsort((logs, track))
    logs, sorted_track = logs[order], track[order]
    crops = np.bincount(track, minlength=tracks)
    starts = np.cumsum(crops) - crops
    lowest = np.maximum(np.ceil(tail_fraction * crops), 1).astype(np.int64)
    tail = np.arange(len(logs)) - starts[sorted_track] < lowest[sorted_track]
    result: F64 = np.logaddexp.reduceat(np.where(tail, logs, -np.inf), starts) - np.log(lowest)
    return result


def _reached(means: F64, thresholds: F64) -> I64:
    """Return tracks i, j (p, 2) where the density of i's mean under j reaches j's threshold."""
    squares = np.square(means).sum(axis=1)
    found = []
    for rows in row_blocks(len(means), len(means)):
        far = squares[rows, None] + squares - 2 * means[rows] @ means.T
        reached = -np.maximum(far, 0) / 2 >= thresholds
        at = np.stack(reached.nonzero(), axis=1)
        at[:, 0] += rows.start
        found.append(at[at[:, 0] != at[:, 1]])
    return np.concatenate(found)


def _unordered(pairs: I64, tracks: int) -> I64:
    """Return each pair once, as i < j, in rising order."""
    keys = np.unique(np.sort(pairs, axis=1) @ np.array([tracks, 1]))
    return np.stack([keys // tracks, keys % tracks], axis=1)
