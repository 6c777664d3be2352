"""Baselines: known clusterings of the pretrained encoder's embeddings of a film's tracks."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from sklearn.cluster import HDBSCAN

from vcn_ray.core.metrics import ClusterScores, evaluate_clustering
from vcn_ray.core.vectors import renumber
from vcn_ray.records import F64, I64

HAC_DISTANCE = 0.6
ORACLE_CUTS = np.arange(0.2, 1.1, 0.01)


def cosine_distances(rows: F64) -> F64:
    """(k, k) cosine distances between unit rows (k, d), zero on the diagonal."""
    table = np.clip(1 - rows @ rows.T, 0, 2)
    np.fill_diagonal(table, 0)
    return table


def hac(rows: F64, distance: float = HAC_DISTANCE) -> I64:
    """Average linkage, cut at a cosine distance."""
    if len(rows) < 2:
        return np.zeros(len(rows), np.int64)
    tree = linkage(squareform(cosine_distances(rows), checks=False), "average")
    return renumber(fcluster(tree, distance, "distance").astype(np.int64))


def hac_cuts(rows: F64) -> list[tuple[float, I64]]:
    """Every clustering (k,) that average linkage can give, by a cut halfway to the next merge.

    It suits an encoder of any scale: a grid of cuts would be too coarse or too short for one.
    """
    if len(rows) < 2:
        return [(0.0, np.zeros(len(rows), np.int64))]
    tree = linkage(squareform(cosine_distances(rows), checks=False), "average")
    heights = np.unique(tree[:, 2])
    cuts = [heights[0] / 2, *(heights[:-1] + heights[1:]) / 2, heights[-1]]
    return [(float(c), renumber(fcluster(tree, c, "distance").astype(np.int64))) for c in cuts]


def hac_oracle(rows: F64, truth: I64) -> tuple[float, ClusterScores]:
    """Average linkage at the cut with the best NMI: it sees the labels, so no run can use it."""
    tree = linkage(squareform(cosine_distances(rows), checks=False), "average")
    cuts = [(float(c), fcluster(tree, c, "distance").astype(np.int64)) for c in ORACLE_CUTS]
    scored = [(cut, evaluate_clustering(truth, renumber(label))) for cut, label in cuts]
    return max(scored, key=lambda pair: pair[1].nmi)


def hdbscan(rows: F64) -> I64:
    """HDBSCAN with clusters of two or more; each noise point becomes a cluster of its own."""
    if len(rows) < 2:
        return np.zeros(len(rows), np.int64)
    model = HDBSCAN(min_cluster_size=2, metric="precomputed", copy=True)
    label = model.fit_predict(cosine_distances(rows)).astype(np.int64)
    noise = np.flatnonzero(label < 0)
    label[noise] = label.max() + 1 + np.arange(len(noise))
    return renumber(label)


def finch(rows: F64, levels: int = 1) -> I64:
    """FINCH (Sarfraz et al., CVPR 2019): first neighbours joined, `levels` times on the means."""
    label = np.arange(len(rows))
    means = rows
    for _ in range(levels):
        table = cosine_distances(means)
        np.fill_diagonal(table, np.inf)
        nearest = table.argmin(axis=1)
        at = (np.arange(len(means)), nearest)
        graph = coo_array((np.ones(len(means)), at), shape=(len(means),) * 2)
        _, part = connected_components(graph, directed=False)
        label = part[label]
        sums = np.stack([rows[label == n].sum(axis=0) for n in range(label.max() + 1)])
        means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return renumber(label.astype(np.int64))


def published_by_cosine(crops: F64, track: I64) -> I64:
    """METHOD 4 as published, with cosine distance of pretrained embeddings instead of the loss.

    Args:
        crops: (m, d) unit embeddings.
        track: (m,) 0..k-1.
    """
    label = np.arange(track.max() + 1)
    means = np.stack([crops[track == t].mean(axis=0) for t in range(len(label))])
    while True:
        count = label.max() + 1
        threshold, side = np.zeros(count), np.zeros((count, crops.shape[1]))
        for cluster in range(count):
            tracks = np.flatnonzero(label == cluster)
            mine = crops[np.isin(track, tracks)]
            pairs = len(mine) * (len(mine) - 1)
            inside = np.square(mine.sum(axis=0)).sum() - len(mine)
            threshold[cluster] = 1 - inside / pairs if pairs else 0.0
            side[cluster] = means[tracks].mean(axis=0)
        distance = 1 - side @ side.T
        match = distance < np.maximum(threshold[:, None], threshold)
        parts, part = connected_components(match, directed=False)
        if parts == count:
            return renumber(label.astype(np.int64))
        label = part[label]
