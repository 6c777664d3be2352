"""METHOD 4 to the letter: all matches of a round merge transitively, until nothing changes.

Matches are computed in tiles of the table of all pairs, and only those that can be among the
shortest to connect a component are kept. It knows nothing of cannot-link pairs, which the paper
does not use. `cut` is the default rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vcn_ray.core.distance import along, row_span
from vcn_ray.core.forest import Forest
from vcn_ray.core.linkage import Partition, Sides, record_merges
from vcn_ray.core.vectors import (
    Floats,
    add_groups,
    group_sums,
    log_softmax,
    renumber,
    row_blocks,
    row_dots,
    softmax,
    tiles,
)
from vcn_ray.records import F64, I64, Merge, TrackOutputs


class _Clusters(NamedTuple):
    label: I64  # (k,)
    first: I64  # (n,) lowest track
    size: I64  # (n,) tracks
    teacher: Floats  # (n, r) mean P that enters similarities, along the span of Q
    student: Floats  # (n, r) mean Q
    threshold: F64  # (n,) METHOD 4.2


def close(outputs: TrackOutputs, rule: str) -> Partition:
    """Cluster the tracks of a title (METHOD 4.1-4.6).

    1. Each track is a cluster (4.1).
    2. The threshold of a cluster is the mean loss between its crops (4.2).
    3. The similarity of two clusters is the mean loss between them, in both directions (4.3). A
       cluster of one track contributes its crops, a cluster of several the mean head output of
       each track: so the authors' slides, while VideoClusterNet, Algorithm 1, takes all pairs.
    4. Two clusters match where their similarity is below the threshold of either (4.4).
    5. Connected components of matches merge (4.5), and steps 2 to 5 repeat (4.6).

    Args:
        outputs: k tracks.
        rule: The name of the rule for the record of merges, which holds the shortest matches that
            connect each component; both sides are as they were before the round.
    """
    basis = row_span(_student_rows(outputs), outputs.student.shape[1])
    outputs = replace(
        outputs, teacher=along(outputs.teacher, basis), student=along(outputs.student, basis)
    )
    label = np.arange(len(outputs))
    merges: list[Merge] = []
    number = 0
    while True:
        number += 1
        clusters = _clusters(outputs, basis, label)
        forest = _matches(clusters)
        if not len(forest.edges().left):
            return Partition(clusters.label, tuple(merges))
        merges += _describe(clusters, forest, number, rule)
        label = forest.components()[clusters.label]


def _student_rows(outputs: TrackOutputs) -> Iterator[F64]:
    """Yield all Q that clustering can use: those of crops, then those of mean outputs."""
    for block in row_blocks(*outputs.student.shape):
        yield outputs.student[block].astype(np.float64)
    for block in row_blocks(*outputs.output.shape):
        yield log_softmax(outputs.output[block] / outputs.student_temperature)


def _clusters(outputs: TrackOutputs, basis: F64 | None, label: I64) -> _Clusters:
    """Return the clusters of tracks whose P and Q are already along `basis`."""
    label = renumber(label)
    _, first, size = np.unique(label, return_index=True, return_counts=True)
    threshold = thresholds(outputs, label)
    if len(size) == len(label):
        return _Clusters(label, first, size, outputs.teacher, outputs.student, threshold)

    def teacher(tracks: I64) -> F64:
        shifted = outputs.output[tracks].astype(np.float64) - outputs.centre
        mean = along(softmax(shifted / outputs.teacher_temperature), basis)
        return np.where(alone[tracks, None], outputs.teacher[tracks], mean)

    def student(tracks: I64) -> F64:
        mean = log_softmax(outputs.output[tracks] / outputs.student_temperature)
        return np.where(alone[tracks, None], outputs.student[tracks], along(mean, basis))

    alone = (size == 1)[label]
    shape, columns = (len(size), outputs.teacher.shape[1]), outputs.output.shape[1]
    means = [
        add_groups(np.zeros(shape), rows_of, label, columns) / size[:, None]
        for rows_of in (teacher, student)
    ]
    return _Clusters(label, first, size, means[0], means[1], threshold)


def thresholds(outputs: TrackOutputs, label: I64) -> F64:
    """Average the loss over the ordered pairs of distinct crops of each cluster (METHOD 4.2).

    Args:
        outputs: k tracks.
        label: (k,) their clusters, 0..n-1.

    Returns:
        (n,) float64; a cluster of one track keeps that track's `within`, which for a single crop is
        that between it and its mirror image.
    """
    size = np.bincount(label)
    result = group_sums(outputs.within, label, len(size))
    tracks = np.flatnonzero((size > 1)[label])
    clusters, group = np.unique(label[tracks], return_inverse=True)
    columns, crops = outputs.teacher.shape[1], outputs.crops.astype(np.float64)

    def weighted(side: Floats) -> F64:
        def rows_of(some: I64) -> F64:
            weighed: F64 = side[tracks[some]] * crops[tracks[some], None]
            return weighed

        return add_groups(np.zeros((len(clusters), columns)), rows_of, group, columns)

    # within a track, the loss over all pairs but those of a crop with itself is n (n - 1) `within`
    own = row_dots(outputs.teacher, outputs.student)
    itself = crops**2 * own + crops * (crops - 1) * outputs.within
    count = group_sums(crops[tracks], group, len(clusters))
    every = row_dots(weighted(outputs.teacher), weighted(outputs.student))
    total = group_sums(itself[tracks], group, len(clusters)) - every
    result[clusters] = total / (count * (count - 1))
    return result


def _matches(clusters: _Clusters) -> Forest:
    """Find the shortest matches that connect each component (METHOD 4.4, 4.5)."""
    forest = Forest(len(clusters.first))
    teacher, student, threshold = clusters.teacher, clusters.student, clusters.threshold

    def wide(side: Floats, chosen: slice) -> F64:
        return side[chosen].astype(np.float64, copy=False)

    for rows, columns in tiles(len(clusters.first), len(clusters.first), above=True):
        table = wide(teacher, rows) @ wide(student, columns).T
        table += wide(student, rows) @ wide(teacher, columns).T
        table *= -0.5
        match = table < threshold[rows, None]
        match |= table < threshold[columns]
        forest.offer(match, rows, columns, table)
    return forest


def _describe(clusters: _Clusters, forest: Forest, number: int, rule: str) -> list[Merge]:
    matches = forest.edges()
    order = np.lexsort((matches.right, matches.left, matches.length))
    pairs = np.stack([matches.left, matches.right], axis=1)[order]
    sides = Sides(clusters.first, clusters.size, clusters.threshold)
    return record_merges(pairs, matches.length[order], sides, number, rule)
