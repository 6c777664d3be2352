"""Distances between all tracks of a film by any distance of two crops, written out in full.

The package uses closed forms and row blocks to be fast on long titles; here every pair of crops is
computed once, so the same few lines serve the learned loss, cosine and Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from vcn_ray.core.vectors import group_sums, log_softmax, row_blocks, softmax, unit_rows
from vcn_ray.records import F64, I64

Distance = Callable[[F64, F64], F64]
"""Maps rows (a, f) and (b, f) to distances (a, b), which need not be symmetric."""


def cosine(left: F64, right: F64) -> F64:
    """One minus the cosine."""
    return 1 - unit_rows(left) @ unit_rows(right).T


def euclidean(left: F64, right: F64) -> F64:
    """Length of the difference."""
    result: F64 = cdist(left, right)
    return result


def learned_loss(centre: F64, teacher_temperature: float, student_temperature: float) -> Distance:
    """The loss of METHOD 2.3 between head outputs; the left rows are the teacher's."""

    def loss(left: F64, right: F64) -> F64:
        known = softmax((left - centre) / teacher_temperature)
        return -known @ log_softmax(right / student_temperature).T

    return loss


class Sides(NamedTuple):
    """Similarities of METHOD 4.3 between tracks, both directions averaged."""

    crops: F64  # (k, k) between the crops of both
    mixed: F64  # (k, k) between the row's crops and the column's mean
    means: F64  # (k, k) between the means of both


class Limits(NamedTuple):
    """Sums over ordered pairs of distinct crops, from which the thresholds of METHOD 4.2 follow."""

    total: F64  # (k, k) distances from the row's crops to the column's
    pairs: F64  # (k, k) their number
    alone: F64  # (k,) threshold of a track that has no such pair

    def of(self, member: F64) -> F64:
        """(n,) thresholds of clusters, given as their tracks: (n, k) ones and zeros."""
        pairs = np.einsum("nk,kl,nl->n", member, self.pairs, member, optimize=True)
        total = np.einsum("nk,kl,nl->n", member, self.total, member, optimize=True)
        alone = (member @ self.alone) / member.sum(axis=1)
        result: F64 = np.where(pairs > 0, total / np.maximum(pairs, 1), alone)
        return result


def sides(distance: Distance, crops: F64, track: I64) -> Sides:
    """Similarities between all tracks.

    Args:
        distance: Between two crops.
        crops: (m, f) rows that it compares.
        track: (m,) 0..k-1, each with at least one crop.
    """
    count = np.bincount(track)
    means = group_sums(crops, track, len(count)) / count[:, None]
    one = np.arange(len(count))
    from_crops = _sums(distance, (crops, track), (means, one)) / count[:, None]
    to_crops = _sums(distance, (means, one), (crops, track)) / count
    both = _sums(distance, (crops, track), (crops, track)) / np.outer(count, count)
    between = distance(means, means)
    return Sides(
        crops=(both + both.T) / 2,
        mixed=(from_crops + to_crops.T) / 2,
        means=(between + between.T) / 2,
    )


def plain_limits(distance: Distance, views: F64, track: I64) -> Limits:
    """Thresholds from the plain crops.

    Args:
        distance: Between two crops.
        views: (v, m, f) views of each crop: plain first, then augmented.
        track: (m,) as for `sides`.
    """
    total, pairs = _distinct(distance, views[0], views[0], track)
    return Limits(total, pairs, _own_views(distance, views, track))


def augmented_limits(distance: Distance, views: F64, track: I64) -> Limits:
    """Thresholds from augmented views: a pair is two crops in different views."""
    found = [_distinct(distance, a, b, track) for a, b in permutations(views[1:], 2)]
    total = np.mean([total for total, _ in found], axis=0)
    return Limits(total, found[0][1], _own_views(distance, views, track))


def held_out_limits(distance: Distance, views: F64, track: I64, held: I64) -> Limits:
    """Thresholds from the crops in rows `held`, on which the model was not trained."""
    tracks = int(track.max()) + 1
    total, pairs = _distinct(distance, views[0][held], views[0][held], track[held], tracks)
    # A track with fewer than two held-out crops gets the threshold of all its crops.
    plain = plain_limits(distance, views, track)
    return Limits(total, pairs, plain.of(np.eye(tracks)))


def _own_views(distance: Distance, views: F64, track: I64) -> F64:
    """(k,) mean distance between two augmented views of one crop."""
    pairs = [_each(distance, a, b) for a, b in permutations(views[1:], 2)]
    count = np.bincount(track)
    result: F64 = group_sums(np.mean(pairs, axis=0), track, len(count)) / count
    return result


def _distinct(
    distance: Distance, left: F64, right: F64, track: I64, tracks: int | None = None
) -> tuple[F64, F64]:
    """Sums of distances, and counts, of ordered pairs of distinct crops between tracks."""
    count = np.bincount(track, minlength=tracks or 0).astype(np.float64)
    side = (left, track), (right, track)
    total = _sums(distance, *side, tracks=len(count))
    total -= np.diag(group_sums(_each(distance, left, right), track, len(count)))
    return total, np.outer(count, count) - np.diag(count)


def _each(distance: Distance, left: F64, right: F64) -> F64:
    """(m,) distance of each row on the left to the same row on the right."""
    result = np.empty(len(left))
    for rows in row_blocks(len(left), 4 * len(left)):
        result[rows] = np.diagonal(distance(left[rows], right[rows]))
    return result


def _sums(
    distance: Distance,
    left: tuple[F64, I64],
    right: tuple[F64, I64],
    tracks: int | None = None,
) -> F64:
    """Sums of distances between groups; each side is given as its rows and their groups."""
    rights = _indicator(right[1], tracks)
    result = np.zeros((tracks or int(left[1].max()) + 1, rights.shape[0]))
    for rows in row_blocks(len(left[0]), len(right[0])):
        table = distance(left[0][rows], right[0])
        np.add.at(result, left[1][rows], (rights @ table.T).T)
    return result


def _indicator(group: I64, groups: int | None) -> csr_array:
    """(g, n) one where the row belongs to the group."""
    shape = (groups or int(group.max()) + 1, len(group))
    return csr_array((np.ones(len(group)), (group, np.arange(len(group)))), shape=shape)
