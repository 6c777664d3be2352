"""METHOD 4 to the letter: all matches of a round merge transitively, until nothing changes.

It knows nothing of cannot-link pairs: the paper has none. See `cut` for the default rule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from vcn_ray.core.linkage import Linked
from vcn_ray.core.vectors import group_sums, log_softmax, renumber, row_blocks, softmax
from vcn_ray.records import F64, I64, Merge, TrackOutputs


class _Clusters(NamedTuple):
    label: I64  # (k,)
    first: I64  # (n,) lowest track
    size: I64  # (n,) tracks
    teacher: F64  # (n, o) what it contributes to similarities: mean P
    student: F64  # (n, o) mean Q
    threshold: F64  # (n,) METHOD 4.2


def close(outputs: TrackOutputs, rule: str) -> Linked:
    """Cluster the tracks of a title (METHOD 4.1-4.6).

    A cluster of one track contributes its crops, a cluster of several the mean head output of each
    track (4.3). Two clusters match when their similarity is under the threshold of either (4.4),
    and connected components merge (4.5).

    Args:
        outputs: k tracks.
        rule: Name of the rule for the record of merges, which has the shortest matches that
            connect each component; both sides are as they were when the round began.
    """
    clusters = _clusters(outputs, np.arange(len(outputs)))
    merges: list[Merge] = []
    number = 0
    while True:
        number += 1
        graph = _matches(clusters)
        tree = csgraph.minimum_spanning_tree(graph).tocoo()
        if not tree.nnz:
            return Linked(renumber(clusters.label), tuple(merges))
        merges += _describe(clusters, tree, number, rule)
        _, component = csgraph.connected_components(graph, directed=False)
        clusters = _clusters(outputs, component[clusters.label].astype(np.int64))


def _clusters(outputs: TrackOutputs, label: I64) -> _Clusters:
    label = renumber(label)
    _, first, size = np.unique(label, return_index=True, return_counts=True)
    alone = (size == 1)[label][:, None]
    mean_teacher = softmax((outputs.output - outputs.centre) / outputs.teacher_temperature)
    mean_student = log_softmax(outputs.output / outputs.student_temperature)
    teacher = group_sums(np.where(alone, outputs.teacher, mean_teacher), label, len(size))
    student = group_sums(np.where(alone, outputs.student, mean_student), label, len(size))
    size_column = size[:, None]
    return _Clusters(
        label, first, size, teacher / size_column, student / size_column, thresholds(outputs, label)
    )


def thresholds(outputs: TrackOutputs, label: I64) -> F64:
    """Mean loss over all ordered pairs of distinct crops of each cluster (METHOD 4.2).

    Args:
        outputs: k tracks.
        label: (k,) their clusters, 0..n-1.

    Returns:
        (n,) float64; a cluster of a single crop keeps its track's own value, over that crop's
        views.
    """
    clusters = int(label.max(initial=-1)) + 1
    crops = outputs.crops.astype(np.float64)
    weight = crops[:, None]
    teacher = group_sums(outputs.teacher * weight, label, clusters)
    student = group_sums(outputs.student * weight, label, clusters)
    # within a track, all pairs less those of a crop with itself are n (n - 1) times `within`
    own = np.einsum("ko,ko->k", outputs.teacher.astype(np.float64), outputs.student)
    itself = crops**2 * own + crops * (crops - 1) * outputs.within
    count = group_sums(crops, label, clusters)
    pairs = count * (count - 1)
    every = np.einsum("no,no->n", teacher, student)
    total = group_sums(itself, label, clusters) - every
    alone = group_sums(outputs.within, label, clusters)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), alone)


def _matches(clusters: _Clusters) -> sparse.csr_array:
    """(n, n) similarity of each match above the diagonal, in row blocks; the rest is not stored."""
    count = len(clusters.first)
    rows, columns, values = [], [], []
    for block in row_blocks(count, count):
        table = clusters.teacher[block] @ clusters.student.T
        table = -(table + clusters.student[block] @ clusters.teacher.T) / 2
        match = table < np.maximum(clusters.threshold[block, None], clusters.threshold)
        match &= np.arange(count) > np.arange(block.start, block.stop)[:, None]
        at = match.nonzero()
        rows.append(at[0] + block.start)
        columns.append(at[1])
        # a stored zero would be no edge to csgraph; the loss of two certain equal crops is zero
        values.append(np.maximum(table[at], np.finfo(np.float64).tiny))
    if not rows:
        return sparse.csr_array((0, 0))
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(entries, shape=(count, count))


def _describe(clusters: _Clusters, tree: sparse.coo_array, number: int, rule: str) -> list[Merge]:
    left, right = np.minimum(tree.row, tree.col), np.maximum(tree.row, tree.col)
    order = np.lexsort((right, left, tree.data))
    return [
        Merge(
            round=number,
            rule=rule,
            left=int(clusters.first[a]),
            right=int(clusters.first[b]),
            left_tracks=int(clusters.size[a]),
            right_tracks=int(clusters.size[b]),
            distance=float(distance),
            left_threshold=float(clusters.threshold[a]),
            right_threshold=float(clusters.threshold[b]),
        )
        for a, b, distance in zip(left[order], right[order], tree.data[order], strict=True)
    ]
