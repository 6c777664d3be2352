"""Average linkage over distances that are bilinear in sums over tracks: no matrix of pairs.

Clusters merge best pair first, in rounds: a round merges all pairs that are each other's nearest
allowed neighbour. With one limit for all that gives the tree of one merge at a time, far sooner;
where limits move with each merge, a close relative of it. Only clusters whose nearest neighbour
has changed are compared again. All pairs are looked at in tiles, where the rows live: numpy, or a
GPU. It knows neither faces nor losses, and chooses no threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace
from scipy import sparse

from vcn_ray.core.forest import product_components
from vcn_ray.core.means import Means, Sides
from vcn_ray.core.vectors import Array, beside, check_pairs, on_host, renumber, tiles
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64, Mask, Merge

DECIMALS = 11
"""Distances are compared to this many decimals, so rounding never decides between equal pairs."""

HALF_UNIT = 0.5 / 10**DECIMALS

PART_TRACKS = 1024
"""Tracks up to which a title is not split: a table of so many pairs costs less than the search."""


class Space(NamedTuple):
    """Distance of two sets A, B of tracks: `offset - <sum left_A, sum right_B> / (|A| |B|)`.

    Arrays are of numpy or of another namespace. Where both sides are the same vectors, `right` is
    the very array `left`, and only one is held.
    """

    left: Array  # (k, f) floating
    right: Array  # (k, f) such that <left_i, right_j> = <left_j, right_i>
    offset: float


class Linked(NamedTuple):
    """What agglomerate returns."""

    label: I64  # (k,) cluster of each track, numbered by first track
    merges: tuple[Merge, ...]  # by round, then by distance


class Ends(NamedTuple):
    """What the record of a merge says of n clusters before it."""

    first: I64  # (n,) lowest track
    size: I64  # (n,) tracks
    limit: F64  # (n,)


def record_merges(pairs: I64, distances: F64, ends: Ends, number: int, rule: str) -> list[Merge]:
    """The merges of a round.

    Args:
        pairs: (p, 2) rows of `ends`.
        distances: (p,) of both sides.
        ends: The clusters as the round begins.
        number: Of the round.
        rule: Name of the rule.
    """
    return [
        Merge(
            round=number,
            rule=rule,
            left=int(ends.first[a]),
            right=int(ends.first[b]),
            left_tracks=int(ends.size[a]),
            right_tracks=int(ends.size[b]),
            distance=float(distance),
            left_threshold=float(ends.limit[a]),
            right_threshold=float(ends.limit[b]),
        )
        for (a, b), distance in zip(pairs, distances, strict=True)
    ]


def agglomerate(space: Space, limits: F64, cannot_link: I64, rule: str) -> Linked:
    """Merge clusters, best pair first, until no pair is allowed.

    A pair is allowed where its distance is under the limit of *either* side and no track of one
    cannot link with a track of the other. The limit of a merged cluster is the larger of the two.

    Args:
        space: Distances between sets of the k tracks.
        limits: (k,) largest distance of each track.
        cannot_link: (c, 2) pairs of tracks that are never in one cluster.
        rule: Name of the rule for the record of merges.

    Raises:
        ShapeError: Arrays do not belong together.
    """
    if not len(space.left) == len(space.right) == len(limits):
        raise ShapeError(f"{len(limits)} limits need as many rows, got {space.left.shape}")
    check_pairs(cannot_link, len(limits))
    label = np.arange(len(limits))
    merges: list[Merge] = []
    parts = parts_within(space, float(limits.max(initial=0)))
    part = np.full(len(limits), -1)
    for number, tracks in enumerate(parts):
        part[tracks] = number
    inside = cannot_link[part[cannot_link[:, 0]] == part[cannot_link[:, 1]]]
    for number, tracks in enumerate(parts):
        pairs = inside[part[inside[:, 0]] == number]
        clusters = _Clusters(space, limits, tracks, np.searchsorted(tracks, pairs))
        merges += clusters.merge_all(rule)
        label[tracks] = clusters.first[clusters.label]
    merges.sort(key=lambda merge: (merge.round, merge.distance, merge.left))
    return Linked(renumber(label), tuple(merges))


def parts_within(space: Space, limit: float) -> list[I64]:
    """Tracks (n,) of each part of a title that average linkage under a limit can never join.

    The distance of two clusters is a mean over pairs of tracks, so one of these is under the
    limit where the mean is. Hence what no chain of such pairs connects stays apart, and each part
    can be clustered alone. A track without any such pair is in none.
    """
    tracks = len(space.left)
    if tracks <= PART_TRACKS:
        return [np.arange(tracks)]
    component = product_components(space.left, space.right, space.offset - limit - HALF_UNIT)
    size = np.bincount(component)
    order = np.argsort(-size, kind="stable")
    part = np.empty(len(size), np.int64)
    # small parts are put together
    part[order] = (np.cumsum(size[order]) - size[order]) // PART_TRACKS
    part[size == 1] = -1
    part_of = part[component]
    order = np.argsort(part_of, kind="stable")
    starts = np.flatnonzero(np.diff(part_of[order], prepend=-1))
    return np.split(order, starts)[1:]


class _Bars(NamedTuple):
    """What keeps the n clusters of a moment apart."""

    never: sparse.csr_array  # (n, n) true where no distance helps, and on the diagonal
    product: F64  # (n,) a product over it is of a distance that, in DECIMALS, is under the limit
    lowest: float  # of these


class _Clusters:
    """The clusters of a moment, in rows that shrink with every round.

    Args:
        space: Distances between sets of all tracks.
        limits: (k,) of all tracks.
        tracks: (n,) those that are clustered, in rising order.
        cannot_link: (c, 2) rows of `tracks`.
    """

    def __init__(self, space: Space, limits: F64, tracks: I64, cannot_link: I64) -> None:
        self.label = np.arange(len(tracks))  # row of each track's cluster
        self.first = tracks.copy()  # (n,) lowest track of each cluster
        self.size = np.ones(len(tracks), np.int64)
        self.limit = limits[tracks].astype(np.float64)
        self.near = np.zeros(len(tracks), np.int64)  # row of the nearest allowed neighbour
        self.distance = np.full(len(tracks), np.inf)  # to it, infinite where there is none
        self._offset, self._cannot_link = space.offset, cannot_link
        self._means = Means.of(Sides(*space[:2]).rows(tracks), np.ones(len(tracks)))
        # with one limit for all, a pair that is not allowed never will be
        self._one_limit = bool((self.limit == self.limit[:1]).all())

    def merge_all(self, rule: str) -> list[Merge]:
        """Merge until no pair is allowed; returns the record, by round and distance."""
        merges: list[Merge] = []
        number = 0
        self.refresh(np.arange(len(self.first)))
        while len(pairs := self.nearest_pairs()):
            number += 1
            merges += self.describe(pairs, number, rule)
            self.refresh(self.merge(pairs))
        return merges

    def refresh(self, rows: I64) -> None:
        """Find the nearest allowed neighbour of these rows, and offer them to all others."""
        self.distance[rows], self.near[rows] = np.inf, 0
        others = np.setdiff1d(np.arange(len(self.first)), rows, assume_unique=True)
        if self._one_limit:
            others = others[np.isfinite(self.distance[others])]
        bars = self._bars()
        left, right = self._means.sides.rows(rows)
        for a, b in tiles(len(rows), len(rows), above=True):
            self._compare(left[a] @ right[b].T, rows[a], rows[b], bars)
        right = self._means.sides.rows(others).right
        for a, b in tiles(len(rows), len(others)):
            self._compare(left[a] @ right[b].T, rows[a], others[b], bars)

    def _compare(self, table: Array, rows: I64, columns: I64, bars: _Bars) -> None:
        """Offer rows and columns to each other, by their products (r, c), which change."""
        cells = bars.never[rows].tocoo()
        at = np.minimum(np.searchsorted(columns, cells.col), len(columns) - 1)
        inside = columns[at] == cells.col
        if inside.any():
            table[beside(cells.row[inside], table), beside(at[inside], table)] = -np.inf
        if not self._one_limit:
            allowed = table > beside(bars.product[rows, None], table)
            allowed |= table > beside(bars.product[columns], table)
            table = array_namespace(table).where(allowed, table, -np.inf)
        self._take(table, 1, rows, columns, bars.lowest)
        self._take(table, 0, columns, rows, bars.lowest)

    def _take(self, table: Array, axis: int, own: I64, across: I64, least: float) -> None:
        """Give the clusters `own` their nearest of `across`, where it is nearer than before."""
        xp = array_namespace(table)
        best = on_host(xp.max(table, axis=axis))
        distance = np.round(self._offset - best, DECIMALS)
        closer = np.flatnonzero((best > least) & (distance <= self.distance[own]))
        if not len(closer):
            return
        own, distance = own[closer], distance[closer]
        # of pairs that are as near in DECIMALS, the one with the lowest row
        equal = np.minimum(best[closer], self._offset - distance - HALF_UNIT)
        lines = xp.take(table, beside(closer, table), axis=1 - axis)
        ties = lines >= xp.expand_dims(beside(equal, table), axis=axis)
        nearest = across[on_host(xp.argmax(xp.astype(ties, xp.uint8), axis=axis))]
        better = (distance < self.distance[own]) | (nearest < self.near[own])
        self.distance[own[better]] = distance[better]
        self.near[own[better]] = nearest[better]

    def _bars(self) -> _Bars:
        a, b = self.label[self._cannot_link].T
        itself = np.arange(len(self.first))
        rows, columns = np.concatenate([a, b, itself]), np.concatenate([b, a, itself])
        marks = np.ones(len(rows), bool)
        never = sparse.csr_array((marks, (rows, columns)), shape=(len(itself),) * 2)
        under = np.ceil(self.limit * 10**DECIMALS) / 10**DECIMALS - HALF_UNIT
        product = self._offset - under
        return _Bars(never, product, float(product.min(initial=np.inf)))

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

    def describe(self, pairs: I64, number: int, rule: str) -> list[Merge]:
        """The record of merges about to be made."""
        ends = Ends(self.first, self.size, self.limit)
        return record_merges(pairs, self._between(pairs), ends, number, rule)

    def merge(self, pairs: I64) -> I64:
        """Merge the second of each pair into the first; returns rows whose neighbour is stale."""
        a, b = pairs.T
        self.limit[a] = np.maximum(self.limit[a], self.limit[b])
        self._means.merge(a, b)
        self.size[a] += self.size[b]
        self.first[a] = np.minimum(self.first[a], self.first[b])
        touched: Mask = np.isin(self.near, pairs)
        touched &= np.isfinite(self.distance)
        touched[a] = True
        return self._compact(a, b, touched)

    def _compact(self, a: I64, b: I64, touched: Mask) -> I64:
        """Drop the rows b, whose clusters now are rows a; returns the touched rows left."""
        mask = np.ones(len(self.first), bool)
        mask[b] = False
        place = np.cumsum(mask) - 1
        place[b] = place[a]
        kept = np.flatnonzero(mask)
        self.label = place[self.label]
        self.near = place[self.near[kept]]
        self.first, self.size = self.first[kept], self.size[kept]
        self.limit, self.distance = self.limit[kept], self.distance[kept]
        self._means.keep(kept)
        return np.flatnonzero(touched[kept])
