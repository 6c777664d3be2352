"""How well clusters, and embeddings, agree with known identities (METHOD 5).

`evaluate_clustering` scores labels of tracks, `match_times` the beginnings of shots.
`verify_people` and `separate_people` score embeddings, pair by pair, without holding all pairs:
cosines are computed in tiles, and of those between different people only the largest are kept. It
knows no pictures and no networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vcn_ray.core.vectors import TINY, row_blocks, tiles, unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64

UNKNOWN = -1
"""Label of a track without a known identity, or without a cluster."""


class ClusterScores(NamedTuple):
    """Agreement over the tracks with a known identity; scores are over those in a cluster.

    A track left unknown counts in `unknown_fraction` and in `identities` only. A method gains by
    leaving hard tracks out, so `unknown_fraction` belongs beside every score.
    """

    tracks: int  # with a known identity
    identities: int  # true people among them, including those whose tracks are all unknown
    clusters: int  # predicted clusters that hold at least one of these tracks
    unknown_fraction: float  # of these tracks, in no cluster
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
    unknown = 1 - count / len(truth) if len(truth) else 0.0
    if count == 0:
        return ClusterScores(len(truth), identities, 0, unknown, *[0.0] * 6)
    from sklearn.metrics import normalized_mutual_info_score  # takes longer to import than numpy

    person, cluster = (
        np.unique(labels[placed], return_inverse=True)[1] for labels in (truth, predicted)
    )
    table = np.zeros((person.max() + 1, cluster.max() + 1))
    np.add.at(table, (person, cluster), 1)
    # a cell of n tracks contributes n times its precision, n / cluster size, and likewise recall
    precision = float((table**2 / table.sum(axis=0)).sum() / count)
    recall = float((table**2 / table.sum(axis=1, keepdims=True)).sum() / count)
    return ClusterScores(
        tracks=len(truth),
        identities=identities,
        clusters=table.shape[1],
        unknown_fraction=unknown,
        wcp=float(table.max(axis=0).sum() / count),
        pcr=table.shape[1] / identities,
        nmi=float(normalized_mutual_info_score(person, cluster)),
        bcubed_precision=precision,
        bcubed_recall=recall,
        bcubed_f=2 * precision * recall / (precision + recall),
    )


def match_times(found: F64, true: F64, tolerance: float) -> int:
    """Count the pairs of a found and a true time, each in one pair, that differ by a tolerance.

    Going through both in order gives the largest number of pairs, because all have one tolerance.

    Args:
        found: (n,) seconds, rising.
        true: (m,) seconds, rising.
        tolerance: Seconds; pairs that differ by exactly as much count.
    """
    pairs = i = j = 0
    while i < len(found) and j < len(true):
        if abs(found[i] - true[j]) <= tolerance:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif found[i] < true[j]:
            i += 1
        else:
            j += 1
    return pairs


class Verification(NamedTuple):
    """How often two pictures of one person are accepted as one person."""

    same_pairs: int  # unordered pairs of pictures of one person
    different_pairs: int  # unordered pairs of pictures of two people
    accepted: tuple[float | None, ...]  # fraction of same pairs at each rate; None: too few pairs


class _Moments(NamedTuple):
    mean: float
    variance: float


def verify_people(embeddings: F32, identity: I64, rates: Sequence[float]) -> Verification:
    """Measure true acceptance at given rates of false acceptance (TAR at FAR), over all pairs.

    At rate r, the floor(r d) most similar of d pairs of different people are accepted wrongly: the
    threshold is the cosine of the next pair, and a pair over it is accepted. So the rate is never
    exceeded, and no threshold is interpolated. Where r d < 1, there are too few pairs.

    Args:
        embeddings: (n, d), of any length: only cosines matter.
        identity: (n,) person in each picture.
        rates: Of false acceptance, each in (0, 1).

    Raises:
        ShapeError: The number of identities is not that of embeddings.
    """
    unit, starts = _sort_by_person(embeddings, identity)
    sizes = np.diff(starts)
    same = int((sizes * (sizes - 1) // 2).sum())
    different = len(unit) * (len(unit) - 1) // 2 - same
    wrong = [int(rate * different) for rate in rates]
    enough = same > 0 and any(wrong)
    largest = _largest_different(unit, starts, max(wrong) + 1) if enough else np.empty(0)
    known = [enough and number > 0 for number in wrong]
    limits = [largest[number] for number, is_known in zip(wrong, known, strict=True) if is_known]
    fractions = iter(_count_same(unit, starts, np.array(limits)) / max(1, same))
    accepted = tuple(float(next(fractions)) if is_known else None for is_known in known)
    return Verification(same, different, accepted)


def separate_people(embeddings: F32, identity: I64) -> F64:
    """Measure how far each person's own cosines lie above those with everybody else.

    Means and variances over pairs come from sums of rows and of their outer products, not from
    pairs.

    Args:
        embeddings: (n, d), of any length: only cosines matter.
        identity: (n,) person in each picture.

    Returns:
        (g,) difference of the two means over their common standard deviation, for the people with
        at least two pictures, in rising order of identity; empty if there is one person.

    Raises:
        ShapeError: The number of identities is not that of embeddings.
    """
    unit, starts = _sort_by_person(embeddings, identity)
    total, outer = unit.sum(axis=0), unit.T @ unit
    found = []
    for start, end in pairwise(starts):
        own, others = end - start, len(unit) - (end - start)
        if own < 2 or not others:
            continue
        rows = unit[start:end]
        mine = rows.sum(axis=0)
        # rows @ rows.T and rows.T @ rows have one sum of squares; the smaller one is computed
        product = rows @ rows.T if own < rows.shape[1] else rows.T @ rows
        squares = (product**2).sum()
        lengths = np.einsum("nd,nd->n", rows, rows)  # a row with itself is no pair
        same = _moments(mine @ mine - lengths.sum(), squares - (lengths**2).sum(), own * (own - 1))
        different = _moments(
            mine @ (total - mine), ((rows @ outer) * rows).sum() - squares, own * others
        )
        sd = np.sqrt((same.variance + different.variance) / 2)
        found.append((same.mean - different.mean) / max(sd, TINY))
    return np.array(found)


def _moments(total: float, squares: float, count: int) -> _Moments:
    """Return mean and variance from the sum of `count` values and the sum of their squares."""
    mean = total / count
    return _Moments(mean, max(0.0, squares / count - mean**2))


def _sort_by_person(embeddings: F32, identity: I64) -> tuple[F64, I64]:
    """Return unit rows (n, d) sorted by person, and the first row of each person, then n."""
    if embeddings.ndim != 2 or identity.shape != embeddings.shape[:1]:
        raise ShapeError(
            f"embeddings (n, d) need identities (n,), got {embeddings.shape}, {identity.shape}"
        )
    order = np.argsort(identity, kind="stable")
    starts = np.unique(identity[order], return_index=True)[1]
    return unit_rows(embeddings[order]), np.append(starts, len(order))


def _largest_different(unit: F64, starts: I64, count: int) -> F64:
    """Return the `count` largest cosines between pictures of two people, in falling order.

    At most three times as many are held at once.
    """
    ends = np.repeat(starts[1:], np.diff(starts))  # where the next person begins, for each row
    kept, pieces, held, minimum = np.empty(0), [], 0, -np.inf
    for rows, columns in tiles(len(unit), len(unit), above=True):
        cosines = unit[rows] @ unit[columns].T
        after = np.arange(columns.start, columns.stop) >= ends[rows, None]
        piece = cosines[after & (cosines > minimum)]
        pieces.append(piece)
        held += len(piece)
        if held >= count:
            kept = _largest(np.concatenate([kept, *pieces]), count)
            pieces, held, minimum = [], 0, kept.min()
    return np.sort(_largest(np.concatenate([kept, *pieces]), count))[::-1]


def _largest(values: F64, count: int) -> F64:
    """Return the `count` largest values in any order, or all values if there are fewer."""
    if len(values) <= count:
        return values
    return np.partition(values, len(values) - count)[len(values) - count :]


def _count_same(unit: F64, starts: I64, limits: F64) -> I64:
    """Count the unordered pairs of one person whose cosine is over each limit (l,)."""
    over = np.zeros(len(limits), np.int64)
    for start, end in pairwise(starts):
        person = unit[start:end]
        for rows in row_blocks(len(person), len(person)):
            cosines = person[rows] @ person.T
            later = np.arange(len(person)) > np.arange(rows.start, rows.stop)[:, None]
            pairs = cosines[later]
            over += np.array([(pairs > limit).sum() for limit in limits], np.int64)
    return over
