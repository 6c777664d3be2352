"""Average linkage over distances that are bilinear in sums over tracks: no matrix of pairs.

Clusters merge best pair first, in rounds: a round merges all pairs that are each other's nearest
allowed neighbour. With one limit for all that gives the tree of one merge at a time, far sooner;
where limits move with each merge, a close relative of it. Only clusters whose nearest neighbour
has changed are compared again, in row blocks. It knows neither faces nor losses, and chooses no
threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from vcn_ray.core.vectors import check_pairs, renumber, row_blocks
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64, Mask, Merge

DECIMALS = 11
"""Distances are compared to this many decimals, so rounding never decides between equal pairs."""


class Space(NamedTuple):
    """Distance of two sets A, B of tracks: `offset - <sum left_A, sum right_B> / (|A| |B|)`."""

    left: F64  # (k, f)
    right: F64  # (k, f) such that <left_i, right_j> = <left_j, right_i>
    offset: float


class Crops(NamedTuple):
    """What the mean loss over all crops of a merged cluster is updated from."""

    space: Space  # of the same loss; its rows are means over a track's crops
    sizes: I64  # (k,) crops of each track


class Linked(NamedTuple):
    """What agglomerate returns."""

    label: I64  # (k,) cluster of each track, numbered by first track
    merges: tuple[Merge, ...]  # by round, then by distance


def agglomerate(
    space: Space, limits: F64, cannot_link: I64, rule: str, crops: Crops | None = None
) -> Linked:
    """Merge clusters, best pair first, until no pair is allowed.

    A pair is allowed where its distance is under the limit of *either* side and no track of one
    cannot link with a track of the other.

    Args:
        space: Distances between sets of the k tracks.
        limits: (k,) largest distance of each track.
        cannot_link: (c, 2) pairs of tracks that are never in one cluster.
        rule: Name of the rule for the record of merges.
        crops: With it, the limit of a merged cluster is the mean loss over all ordered pairs of
        its
            distinct crops, exactly; without, it is the larger limit of the two.

    Raises:
        ShapeError: Arrays do not belong together.
    """
    if not len(space.left) == len(space.right) == len(limits):
        raise ShapeError(f"{len(limits)} limits need as many rows, got {space.left.shape}")
    check_pairs(cannot_link, len(limits))
    clusters = _Clusters(space, limits, cannot_link, crops)
    merges: list[Merge] = []
    number = 0
    clusters.refresh(np.arange(len(limits)))
    while len(pairs := clusters.nearest_pairs()):
        number += 1
        merges += [clusters.describe(pair, number, rule) for pair in pairs]
        clusters.refresh(clusters.merge(pairs))
    return Linked(renumber(clusters.label), tuple(merges))


@dataclass(slots=True)
class _Weights:
    """Crop-weighted sums of the clusters, from which limits follow exactly."""

    left: F64
    right: F64
    sizes: F64  # (n,) crops

    def mean(self, a: I64, b: I64) -> F64:
        """Mean loss over the crop pairs between clusters a and b, both directions averaged."""
        products = np.einsum("nf,nf->n", self.left[a], self.right[b])
        result: F64 = -products / (self.sizes[a] * self.sizes[b])
        return result


class _Clusters:
    """The clusters of a moment, in rows that shrink with every round."""

    def __init__(self, space: Space, limits: F64, cannot_link: I64, crops: Crops | None) -> None:
        tracks = len(limits)
        self.label = np.arange(tracks)  # (k,) row of each track's cluster
        self.first = np.arange(tracks)  # (n,) lowest track of each cluster
        self.size = np.ones(tracks, np.int64)
        self.limit = limits.astype(np.float64)
        self.left, self.right, self.offset = space.left.copy(), space.right.copy(), space.offset
        self.near = np.zeros(tracks, np.int64)
        self.distance = np.full(tracks, np.inf)
        self._cannot_link = cannot_link
        self._crops = None
        if crops is not None:
            weight = crops.sizes.astype(np.float64)[:, None]
            self._crops = _Weights(
                crops.space.left * weight, crops.space.right * weight, weight[:, 0]
            )

    def refresh(self, rows: I64) -> None:
        """Find the nearest allowed neighbour of these rows, and offer them to all others."""
        foes = self._foes()
        self.distance[rows], self.near[rows] = np.inf, 0
        for block in row_blocks(len(rows), len(self.first)):
            part = rows[block]
            table = self._distances(part, foes)
            nearest = table.argmin(axis=1)
            best = table[np.arange(len(part)), nearest]
            closer = (best < self.distance[part]) | (
                (best == self.distance[part]) & (nearest < self.near[part])
            )
            self.distance[part[closer]], self.near[part[closer]] = best[closer], nearest[closer]
            self._offer(part, table)

    def _offer(self, part: I64, table: F64) -> None:
        row = table.argmin(axis=0)
        best, nearest = table[row, np.arange(table.shape[1])], part[row]
        closer = (best < self.distance) | ((best == self.distance) & (nearest < self.near))
        closer &= np.isfinite(best)
        self.distance[closer], self.near[closer] = best[closer], nearest[closer]

    def _distances(self, rows: I64, foes: sparse.csr_array) -> F64:
        """(r, n) distances, infinite where a merge is not allowed."""
        sizes = self.size[rows, None] * self.size
        table: F64 = np.round(self.offset - self.left[rows] @ self.right.T / sizes, DECIMALS)
        table[table >= np.maximum(self.limit[rows, None], self.limit)] = np.inf
        table[np.arange(len(rows)), rows] = np.inf
        table[foes[rows].nonzero()] = np.inf
        return table

    def _foes(self) -> sparse.csr_array:
        left, right = self.label[self._cannot_link].T
        marks = np.ones(2 * len(left), bool)
        rows, columns = np.concatenate([left, right]), np.concatenate([right, left])
        return sparse.csr_array((marks, (rows, columns)), shape=(len(self.first),) * 2)

    def nearest_pairs(self) -> I64:
        """(p, 2) rows a < b, each other's nearest, by distance; none where nothing is allowed."""
        allowed = np.flatnonzero(np.isfinite(self.distance))
        if not len(allowed):
            return np.zeros((0, 2), np.int64)
        mutual = allowed[self.near[self.near[allowed]] == allowed]
        # the two ends of a pair may see distances that differ in the last decimal, so that no
        # pair is mutual; the closest one is always taken
        best = allowed[np.lexsort((allowed, self.distance[allowed]))[0]]
        chosen = mutual[mutual < self.near[mutual]]
        pairs = np.stack([chosen, self.near[chosen]], axis=1)
        pairs = pairs[~np.isin(pairs, [best, self.near[best]]).any(axis=1)]
        pairs = np.concatenate([[sorted((best, self.near[best]))], pairs])
        order: I64 = np.lexsort((pairs[:, 0], self._between(pairs)))
        return pairs[order]

    def _between(self, pairs: I64) -> F64:
        result: F64 = np.minimum(
            np.where(self.near[pairs[:, 0]] == pairs[:, 1], self.distance[pairs[:, 0]], np.inf),
            np.where(self.near[pairs[:, 1]] == pairs[:, 0], self.distance[pairs[:, 1]], np.inf),
        )
        return result

    def describe(self, pair: I64, number: int, rule: str) -> Merge:
        """The record of a merge about to be made."""
        a, b = pair
        return Merge(
            round=number,
            rule=rule,
            left=int(self.first[a]),
            right=int(self.first[b]),
            left_tracks=int(self.size[a]),
            right_tracks=int(self.size[b]),
            distance=float(self._between(pair[None])[0]),
            left_threshold=float(self.limit[a]),
            right_threshold=float(self.limit[b]),
        )

    def merge(self, pairs: I64) -> I64:
        """Merge the second of each pair into the first; returns rows whose neighbour is stale."""
        a, b = pairs.T
        self._merge_limits(a, b)
        self.left[a] += self.left[b]
        self.right[a] += self.right[b]
        self.size[a] += self.size[b]
        self.first[a] = np.minimum(self.first[a], self.first[b])
        touched: Mask = np.isin(self.near, pairs)
        touched &= np.isfinite(self.distance)
        touched[a] = True
        return self._compact(a, b, touched)

    def _merge_limits(self, a: I64, b: I64) -> None:
        if self._crops is None:
            self.limit[a] = np.maximum(self.limit[a], self.limit[b])
            return
        crops = self._crops
        count_a, count_b = crops.sizes[a], crops.sizes[b]
        own_a, own_b = count_a * (count_a - 1), count_b * (count_b - 1)
        both = 2 * count_a * count_b
        total = own_a * self.limit[a] + own_b * self.limit[b] + both * crops.mean(a, b)
        self.limit[a] = total / (own_a + own_b + both)
        crops.left[a] += crops.left[b]
        crops.right[a] += crops.right[b]
        crops.sizes[a] += crops.sizes[b]

    def _compact(self, a: I64, b: I64, touched: Mask) -> I64:
        """Drop the rows b, whose clusters now are rows a; returns the touched rows left."""
        kept = np.ones(len(self.first), bool)
        kept[b] = False
        place = np.cumsum(kept) - 1
        place[b] = place[a]
        self.label = place[self.label]
        self.near = place[self.near[kept]]
        for name in ("first", "size", "limit", "left", "right", "distance"):
            setattr(self, name, getattr(self, name)[kept])
        if self._crops is not None:
            crops = self._crops
            self._crops = _Weights(crops.left[kept], crops.right[kept], crops.sizes[kept])
        return np.flatnonzero(touched[kept])
