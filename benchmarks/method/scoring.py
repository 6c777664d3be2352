"""The scores of a film's clustering, as cells of a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.report import Cell
from vcn_ray.config import RunConfig
from vcn_ray.core.cluster import cluster_tracks
from vcn_ray.core.metrics import UNKNOWN, ClusterScores, evaluate_clustering
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.quality import rate_tracks
from vcn_ray.records import I64, Clustering, Mask, Tiers, TrackOutputs

SCORE_COLUMNS = {
    "WCP": ".3f",
    "PCR": ".2f",
    "NMI": ".3f",
    "B-cubed P": ".3f",
    "B-cubed R": ".3f",
    "B-cubed F": ".3f",
    "unknown": ".1%",
}


def score_cells(scores: ClusterScores) -> dict[str, Cell]:
    """The scores of METHOD 5, by the names of SCORE_COLUMNS."""
    shown = (
        scores.wcp,
        scores.pcr,
        scores.nmi,
        scores.bcubed_precision,
        scores.bcubed_recall,
        scores.bcubed_f,
        scores.unknown_fraction,
    )
    return dict(zip(SCORE_COLUMNS, shown, strict=True))


class PairScores(NamedTuple):
    """Precision and recall of pairs of tracks that should show one person."""

    precision: float | None  # None without any pair
    recall: float | None  # None where no two tracks show one person


def score_pairs(pairs: I64, truth: I64) -> PairScores:
    """Precision and recall of pairs (p, 2) of tracks, in either order, against identities (k,)."""
    unique = np.unique(np.sort(pairs, axis=1), axis=0)
    correct = int((truth[unique[:, 0]] == truth[unique[:, 1]]).sum())
    people = np.bincount(np.unique(truth, return_inverse=True)[1])
    total = int((people * (people - 1) // 2).sum())
    return PairScores(
        correct / len(unique) if len(unique) else None, correct / total if total else None
    )


def wrongly_placed(truth: I64, label: I64) -> Mask:
    """(k,) true for a track whose cluster belongs to somebody else.

    A cluster belongs to the person with the most tracks in it, of several to the first. A track
    outside every cluster is not placed wrongly.
    """
    wrong = np.zeros(len(truth), bool)
    for cluster in np.unique(label[label != UNKNOWN]):
        inside = label == cluster
        people, count = np.unique(truth[inside], return_counts=True)
        wrong[inside] = truth[inside] != people[count.argmax()]
    return wrong


def cluster_film(
    outputs: TrackOutputs,
    cannot_link: I64,
    config: RunConfig,
    drop: bool = True,
    prior: FacePrior | None = None,
) -> Clustering:
    """Cluster as a run does, METHOD 3.2 and 4; without `drop` no track is left out."""
    tiers = only(np.ones(len(outputs), bool))
    if drop:
        tiers = rate_tracks(outputs, config.cluster.quality, prior)
    return cluster_tracks(outputs, tiers, cannot_link, config.cluster, prior)


def only(valid: Mask) -> Tiers:
    """Tiers where the valid tracks (k,) are clustered, and the others join nobody."""
    return Tiers(core=valid, junk=~valid, readable=valid)


def scores_of(truth: I64, label: I64) -> dict[str, Cell]:
    """The cells with a clustering's scores."""
    return score_cells(evaluate_clustering(truth, label))
