"""How well a clustering agrees with known identities (METHOD 5); it knows labels only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from vcn_ray.errors import ShapeError
from vcn_ray.records import I64

UNKNOWN = -1
"""Label of a track without a known identity, or without a cluster."""


class ClusterScores(NamedTuple):
    """Agreement over the tracks with a known identity; scores are over those in a cluster.

    A track left unknown counts in `unknown_share` and in `identities`, and nowhere else: a method
    must not be paid for what it leaves out, so the share belongs beside every score.
    """

    tracks: int  # with a known identity
    identities: int  # true ones among them, those left unknown included
    clusters: int  # predicted ones that hold at least one of them
    unknown_share: float  # of them, left out of every cluster
    wcp: float  # weighted cluster purity
    pcr: float  # predicted over true number of clusters
    nmi: float  # normalised mutual information, arithmetic mean
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float


def evaluate_clustering(truth: I64, predicted: I64) -> ClusterScores:
    """Score a clustering (METHOD 5).

    Args:
        truth: (k,) identity of each track; -1: not known, the track is ignored.
        predicted: (k,) cluster of each track; -1: unknown, in no cluster.

    Returns:
        The scores; all 0 where no track has both an identity and a cluster.

    Raises:
        ShapeError: The two differ in length.
    """
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ShapeError(f"labels need one shape (k,), got {truth.shape}, {predicted.shape}")
    known = truth != UNKNOWN
    truth, predicted = truth[known], predicted[known]
    placed = predicted != UNKNOWN
    identities, count = len(np.unique(truth)), int(placed.sum())
    share = 1 - count / len(truth) if len(truth) else 0.0
    if count == 0:
        return ClusterScores(len(truth), identities, 0, share, *[0.0] * 6)
    person, cluster = (
        np.unique(labels[placed], return_inverse=True)[1] for labels in (truth, predicted)
    )
    table = np.zeros((person.max() + 1, cluster.max() + 1))
    np.add.at(table, (person, cluster), 1)
    # each cell holds n tracks whose own precision is n / cluster size and recall n / identity size
    precision = float((table**2 / table.sum(axis=0)).sum() / count)
    recall = float((table**2 / table.sum(axis=1, keepdims=True)).sum() / count)
    return ClusterScores(
        tracks=len(truth),
        identities=identities,
        clusters=table.shape[1],
        unknown_share=share,
        wcp=float(table.max(axis=0).sum() / count),
        pcr=table.shape[1] / identities,
        nmi=float(normalized_mutual_info_score(person, cluster)),
        bcubed_precision=precision,
        bcubed_recall=recall,
        bcubed_f=2 * precision * recall / (precision + recall),
    )
