"""How likely a track belongs to the person that it is in; it knows no clustering.

Clustering says which person is the likeliest. How likely that is depends on what can be seen of the
track: a face that is hardly recognised, or hardly a face, or far from the other tracks of its
person, is wrong more often. The probability is a logistic function of these, fitted on labelled
tracks by benchmarks/method/reliability.py, which also shows how well it holds elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from vcn_ray.core.distance import Space
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import Floats, group_sums, row_blocks
from vcn_ray.records import F32, F64, I64

TYPICAL_RECOGNISABILITY = 0.5
"""Of a track's face, where the pack has no prior that tells it."""

TYPICAL_SCORE = 1.35
"""Detector's score of a track's face over the lowest of faces that can be recognised, likewise."""

MIN_ODDS = 0.02
"""Recognisability below this, or above 1 less this, counts as this much."""


class Weights(NamedTuple):
    """The logistic function: log odds of being right."""

    intercept: float
    per_distance: float
    per_recognisability: float  # of its log odds
    per_score: float
    per_tracks: float  # of their natural logarithm


FITTED = Weights(2.3, -1.6, 1.0, 5.5, 1.1)


class Evidence(NamedTuple):
    """What is known of n tracks that are in a person."""

    distance: F64  # (n,) to the other tracks of the person, mean, in units of the cut; 0 if alone
    recognisability: F64  # (n,) in [0, 1]
    score: F64  # (n,) of the detector, over the prior's `min_score`
    tracks: I64  # (n,) of the person

    def table(self) -> F64:
        """Return (n, 4) what the weights after the intercept multiply."""
        seen = special.logit(np.clip(self.recognisability, MIN_ODDS, 1 - MIN_ODDS))
        return np.stack([self.distance, seen, self.score - 1, np.log(self.tracks)], axis=1)


def gather_evidence(
    label: I64, distance: Floats, recognisability: F32, score: F32, prior: FacePrior | None
) -> tuple[I64, Evidence]:
    """Collect the evidence about the tracks that are in a person.

    Args:
        label: (k,) the person of each track; negative: none.
        distance: (k,) as in `Clustering`.
        recognisability: (k,) as in `TrackOutputs`.
        score: (k,) of the detector; NaN: unknown.
        prior: Of the pack; None: faces count as typical ones.

    Returns:
        (n,) rows of these tracks, and the evidence.
    """
    rows = np.flatnonzero(label >= 0)
    tracks = np.bincount(label[rows])[label[rows]] if len(rows) else rows
    own = distance[rows].astype(np.float64)
    if prior is None:
        seen = np.full(len(rows), TYPICAL_RECOGNISABILITY)
        return rows, Evidence(own, seen, np.full(len(rows), TYPICAL_SCORE), tracks)
    ratio = score[rows].astype(np.float64) / prior.min_score
    ratio = np.where(np.isnan(ratio), TYPICAL_SCORE, ratio)
    return rows, Evidence(own, recognisability[rows].astype(np.float64), ratio, tracks)


def confidence(evidence: Evidence, weights: Weights = FITTED) -> F32:
    """Estimate the probability (n,) that a track shows the person that it is in.

    Wrong is a track of another person than most tracks there, and every track of a "person" that
    is no face, or one that nobody can identify.

    Args:
        evidence: About n tracks.
        weights: Of its parts.
    """
    result: F32 = special.expit(
        weights.intercept + evidence.table() @ np.array(weights[1:], np.float64)
    ).astype(np.float32)
    return result


def own_distances(space: Space, label: I64) -> F64:
    """Return the mean distance (k,) of each track to the other tracks of its cluster; 0 if alone.

    Args:
        space: Distances of k tracks.
        label: (k,) their clusters, 0..n-1.
    """
    size = np.bincount(label)
    sums = group_sums(space.rows, label, len(size))
    mates = size[label] - 1
    result = np.zeros(len(label))
    for rows in row_blocks(len(label), space.rows.shape[1]):
        block = space.rows[rows]
        products = np.einsum("kf,kf->k", block, sums[label[rows]] - block)
        result[rows] = space.offset - products / np.maximum(mates[rows], 1)
    return np.where(mates > 0, np.maximum(result, 0), 0)
