"""Average linkage up to a cut, without a table of all pairs.

The distance of two clusters is the mean over their pairs of tracks; in a Space it needs only the
mean vector of each cluster, and the sum of the penalties for the few pairs that cannot link.
Clusters merge in rounds, and a round merges all pairs that are each other's nearest neighbour: the
tree is that of one merge at a time, in far fewer steps. Only clusters whose nearest neighbour
changes are compared again, in tiles. It knows neither faces nor losses, and chooses neither cut nor
penalties.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from vcn_ray.core.distance import Space
from vcn_ray.core.forest import product_components
from vcn_ray.core.vectors import check_pairs, group_sums, renumber, tiles
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64, Mask, Merge

DECIMALS = 11
"""Distances are compared to this many decimals, so that rounding never decides between equals."""

HALF_UNIT = 0.5 / 10**DECIMALS

MUST_LINK = "must_link"
"""Rule of the merges that were given."""

NO_PAIRS: I64 = np.zeros((0, 2), np.int64)

PART_TRACKS = 1024
"""Titles of up to this many tracks are not split: a table of their pairs is cheaper."""


class CannotLink(NamedTuple):
    """Pairs of tracks that are likely two people, each with a penalty for taking them as one.

    The penalty is added to the distance of the pair, and so to the mean over the pairs of two
    clusters: the fewer of these pairs cannot link, the less it weighs. An infinite penalty is a
    veto, which no other pair outweighs.
    """

    pairs: I64  # (c, 2) tracks; a pair given twice has both penalties
    penalty: F64  # (c,) over 0, in units of the distance

    @classmethod
    def uniform(cls, pairs: I64, penalty: float) -> CannotLink:
        """Give all pairs (c, 2) the same penalty."""
        return cls(pairs, np.full(len(pairs), float(penalty)))

    @classmethod
    def none(cls) -> CannotLink:
        """Return no pairs."""
        return cls(np.zeros((0, 2), np.int64), np.zeros(0))

    def check(self, tracks: int) -> None:
        """Raise ShapeError unless all pairs name one of the tracks, and have penalties over 0."""
        check_pairs(self.pairs, tracks)
        if self.penalty.shape != (len(self.pairs),):
            got = self.penalty.shape
            raise ShapeError(f"{len(self.pairs)} pairs need as many penalties, got {got}")
        if not (self.penalty > 0).all():
            raise ShapeError(f"penalties must be over 0, got {self.penalty.min()}")


class Partition(NamedTuple):
    """Tracks in clusters, and the merges that made them."""

    label: I64  # (k,) cluster of each track, numbered by first track
    merges: tuple[Merge, ...]  # by round, then by distance


class Sides(NamedTuple):
    """The n clusters that a round of merges starts from."""

    first: I64  # (n,) lowest track
    size: I64  # (n,) tracks
    threshold: F64  # (n,)


def record_merges(pairs: I64, distances: F64, sides: Sides, number: int, rule: str) -> list[Merge]:
    """Describe the merges of a round.

    Args:
        pairs: (p, 2) rows of `sides`.
        distances: (p,) between the two clusters of each pair, with any penalties.
        sides: The clusters before the round.
        number: The number of the round.
        rule: The name of the rule.
    """
    return [
        Merge(
            round=number,
            rule=rule,
            left=int(sides.first[a]),
            right=int(sides.first[b]),
            left_tracks=int(sides.size[a]),
            right_tracks=int(sides.size[b]),
            distance=float(distance),
            left_threshold=float(sides.threshold[a]),
            right_threshold=float(sides.threshold[b]),
        )
        for (a, b), distance in zip(pairs, distances, strict=True)
    ]


def agglomerate(
    space: Space, cut: float, cannot_link: CannotLink, rule: str, must_link: I64 = NO_PAIRS
) -> Partition:
    """Merge the nearest two clusters while their mean distance is below the cut.

    It is the mean, over the pairs of tracks of the two, of distance and penalty: average linkage
    on one matrix. The merges have it as their distance, so penalties are part of it.

    Args:
        space: Distances of k tracks; stays unchanged.
        cut: Clusters at this mean distance or over it never merge.
        cannot_link: Pairs of tracks that are likely two people.
        rule: The name of the rule for the record of merges.
        must_link: (m, 2) tracks of one person: each such group begins as one cluster, by merges of
            round 0 and rule MUST_LINK.

    Raises:
        ShapeError: A pair names no track, or has no penalty.
    """
    cannot_link.check(len(space.rows))
    check_pairs(must_link, len(space.rows))
    label = np.arange(len(space.rows))
    group = must_link_groups(must_link, len(label))
    merges = _given_merges(space, cut, group)
    parts = parts_within(space, cut, must_link)
    part = np.full(len(label), -1)
    for number, tracks in enumerate(parts):
        part[tracks] = number
    left, right = part[cannot_link.pairs].T
    for number, tracks in enumerate(parts):
        inside = (left == number) & (right == number)
        pairs = np.searchsorted(tracks, cannot_link.pairs[inside])
        clusters = _Clusters(space, cut, tracks, CannotLink(pairs, cannot_link.penalty[inside]))
        clusters.begin_with(np.unique(group[tracks], return_inverse=True)[1])
        merges += clusters.merge_all(rule)
        label[tracks] = clusters.first[clusters.label]
    merges.sort(key=lambda merge: (merge.round, merge.distance, merge.left))
    return Partition(renumber(label), tuple(merges))


def must_link_groups(must_link: I64, tracks: int) -> I64:
    """Return the lowest track (k,) of the group of each track, by pairs (m, 2) of one person."""
    ones = np.ones(len(must_link), np.bool_)
    graph = sparse.coo_array((ones, (must_link[:, 0], must_link[:, 1])), shape=(tracks, tracks))
    component = csgraph.connected_components(graph, directed=False)[1]
    lowest: I64 = np.unique(component, return_index=True)[1][component].astype(np.int64)
    return lowest


def _given_merges(space: Space, cut: float, group: I64) -> list[Merge]:
    """Record each track that a group begins with as a merge into the lowest of the group."""
    sizes: dict[int, int] = {}
    merges = []
    for track in np.flatnonzero(group != np.arange(len(group))).tolist():
        first = int(group[track])
        size = sizes.get(first, 1)
        sizes[first] = size + 1
        distance = space.offset - float(space.rows[first] @ space.rows[track])
        merges.append(Merge(0, MUST_LINK, first, track, size, 1, distance, cut, cut))
    return merges


def parts_within(space: Space, cut: float, must_link: I64 = NO_PAIRS) -> list[I64]:
    """Split a title into parts of tracks (n,) that average linkage up to a cut never joins.

    Where the mean distance of two clusters is below the cut, so is that of at least one of their
    pairs of tracks. Hence tracks that no chain of such pairs connects stay apart, and each part
    can be clustered alone. A track without any such pair is in no part. Penalties only add to
    distances, so this stays true with them. Tracks that must link share a part: a cluster of them
    may be within the cut of others by any of its tracks.
    """
    tracks = len(space.rows)
    if tracks <= PART_TRACKS:
        return [np.arange(tracks)]
    component = product_components(space.rows, space.offset - cut - HALF_UNIT)
    if len(must_link):
        component = must_link_groups(component[must_link], int(component.max()) + 1)[component]
        component = np.unique(component, return_inverse=True)[1]
    size = np.bincount(component)
    order = np.argsort(-size, kind="stable")
    part = np.empty(len(size), np.int64)
    # small components share a part
    part[order] = (np.cumsum(size[order]) - size[order]) // PART_TRACKS
    part[size == 1] = -1
    part_of = part[component]
    order = np.argsort(part_of, kind="stable")
    starts = np.flatnonzero(np.diff(part_of[order], prepend=-1))
    return np.split(order, starts)[1:]


class _Clusters:
    """The current clusters, in rows whose number shrinks with every round.

    Args:
        space: Distances of all tracks.
        cut: Below it, clusters merge.
        tracks: (n,) those to cluster, in rising order.
        cannot_link: Pairs of rows of `tracks`.
    """

    def __init__(self, space: Space, cut: float, tracks: I64, cannot_link: CannotLink) -> None:
        self.label = np.arange(len(tracks))  # row of each track's cluster
        self.first = tracks.copy()  # (n,) lowest track of each cluster
        self.size = np.ones(len(tracks), np.int64)
        self.near = np.zeros(len(tracks), np.int64)  # row of the nearest neighbour below the cut
        self.distance = np.full(len(tracks), np.inf)  # to it; infinite where there is none
        self._means = space.rows.take(tracks, axis=0).astype(np.float64, copy=False)
        self._penalties = _penalty_sums(cannot_link, len(tracks))
        self._offset, self._cut = space.offset, cut
        # a larger product means a distance that, rounded to DECIMALS, is below the cut
        below = np.ceil(cut * 10**DECIMALS) / 10**DECIMALS - HALF_UNIT
        self._min_product = float(space.offset - below)

    def begin_with(self, group: I64) -> None:
        """Begin with a cluster for each group (n,) of tracks, 0.. by lowest track."""
        if len(np.unique(group)) == len(group):
            return
        size = np.bincount(group)
        self._means = group_sums(self._means, group, len(size)) / size[:, None]
        self.first = self.first[np.unique(group, return_index=True)[1]]
        self.size, self.label = size.astype(np.int64), group.astype(np.int64)
        self.near = np.zeros(len(size), np.int64)
        self.distance = np.full(len(size), np.inf)
        sums = self._penalties.tocoo()
        between = CannotLink(group[np.stack(sums.coords, axis=1)], sums.data)
        self._penalties = _penalty_sums(between, len(size))

    def merge_all(self, rule: str) -> list[Merge]:
        """Merge until no pair is below the cut; return the merges by round and distance."""
        merges: list[Merge] = []
        number = 0
        self.refresh(np.arange(len(self.first)))
        while len(pairs := self.nearest_pairs()):
            number += 1
            sides = Sides(self.first, self.size, np.full(len(self.first), self._cut))
            merges += record_merges(pairs, self._between(pairs), sides, number, rule)
            self.refresh(self.merge(pairs))
        return merges

    def refresh(self, rows: I64) -> None:
        """Find the nearest neighbour of these rows, and offer these rows to all others."""
        self.distance[rows], self.near[rows] = np.inf, 0
        others = np.setdiff1d(np.arange(len(self.first)), rows, assume_unique=True)
        # a cluster without a neighbour below the cut never gets one: merging only averages
        others = others[np.isfinite(self.distance[others])]
        penalties = self._mean_penalties()
        mine = self._means_of(rows)
        for a, b in tiles(len(rows), len(rows), above=True):
            self._compare(mine[a] @ mine[b].T, rows[a], rows[b], penalties)
        theirs = self._means_of(others)
        for a, b in tiles(len(rows), len(others)):
            self._compare(mine[a] @ theirs[b].T, rows[a], others[b], penalties)

    def _means_of(self, rows: I64) -> F64:
        return self._means if len(rows) == len(self._means) else self._means.take(rows, axis=0)

    def _mean_penalties(self) -> sparse.csr_array:
        """Return (n, n) the penalty of two clusters, a mean over their pairs; its diagonal vetoes.

        Only clusters with cannot-link pairs between them have an entry.
        """
        sums, itself = self._penalties.tocoo(), np.arange(len(self.first))
        a, b = sums.coords
        means = sums.data / (self.size[a] * self.size[b])
        values = np.concatenate([means, means, np.full(len(itself), np.inf)])
        cells = np.concatenate([a, b, itself]), np.concatenate([b, a, itself])
        return sparse.csr_array((values, cells), shape=sums.shape)

    def _compare(self, table: F64, rows: I64, columns: I64, penalties: sparse.csr_array) -> None:
        """Offer rows and columns to each other by their products (r, c), which are overwritten."""
        cells = penalties[rows].tocoo()
        at = np.minimum(np.searchsorted(columns, cells.col), len(columns) - 1)
        inside = columns[at] == cells.col
        table[cells.row[inside], at[inside]] -= cells.data[inside]
        self._offer(table, 1, rows, columns)
        self._offer(table, 0, columns, rows)

    def _offer(self, table: F64, axis: int, own: I64, across: I64) -> None:
        """Give the clusters `own` their nearest of `across` where it is nearer than before."""
        best = table.max(axis=axis)
        # a huge penalty is too large to round
        distance = np.round(self._offset - np.maximum(best, self._min_product), DECIMALS)
        closer = np.flatnonzero((best > self._min_product) & (distance <= self.distance[own]))
        if not len(closer):
            return
        own, distance = own[closer], distance[closer]
        # among neighbours at an equal distance in DECIMALS, the lowest row counts
        equal = np.minimum(best[closer], self._offset - distance - HALF_UNIT)
        lines = table.take(closer, axis=1 - axis)
        ties = lines >= np.expand_dims(equal, axis=axis)
        nearest = across[ties.argmax(axis=axis)]
        better = (distance < self.distance[own]) | (nearest < self.near[own])
        self.distance[own[better]] = distance[better]
        self.near[own[better]] = nearest[better]

    def nearest_pairs(self) -> I64:
        """Return rows a < b (p, 2) that are each other's nearest, by distance."""
        linkable = np.flatnonzero(np.isfinite(self.distance))
        if not len(linkable):
            return np.zeros((0, 2), np.int64)
        mutual = linkable[self.near[self.near[linkable]] == linkable]
        # The closest pair is always taken: its two rows may round their distance differently, and
        # then no pair may be mutual.
        best = linkable[np.lexsort((linkable, self.distance[linkable]))[0]]
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

    def merge(self, pairs: I64) -> I64:
        """Merge the second of each pair into the first; return rows whose neighbour is outdated."""
        a, b = pairs.T
        fraction = (self.size[a] / (self.size[a] + self.size[b]))[:, None]
        self._means[a] = self._means[a] * fraction + self._means[b] * (1 - fraction)
        self.size[a] += self.size[b]
        self.first[a] = np.minimum(self.first[a], self.first[b])
        touched: Mask = np.isin(self.near, pairs)
        touched &= np.isfinite(self.distance)
        touched[a] = True
        return self._compact(a, b, touched)

    def _compact(self, a: I64, b: I64, touched: Mask) -> I64:
        """Drop the rows b, whose clusters are now rows a; return the touched rows that remain."""
        mask = np.ones(len(self.first), bool)
        mask[b] = False
        place = np.cumsum(mask) - 1
        place[b] = place[a]
        kept = np.flatnonzero(mask)
        self.label = place[self.label]
        self.near = place[self.near[kept]]
        self.first, self.size = self.first[kept], self.size[kept]
        self.distance = self.distance[kept]
        self._means = self._means.take(kept, axis=0)
        sums = self._penalties.tocoo()
        between = CannotLink(place[np.stack(sums.coords, axis=1)], sums.data)
        self._penalties = _penalty_sums(between, len(kept))
        return np.flatnonzero(touched[kept])


def _penalty_sums(cannot_link: CannotLink, clusters: int) -> sparse.csr_array:
    """Sum the penalties between each two of the clusters to (n, n), above the diagonal.

    Pairs inside one cluster are left out: they can no longer keep anything apart.
    """
    low, high = cannot_link.pairs.min(axis=1), cannot_link.pairs.max(axis=1)
    apart = low < high
    cells = low[apart], high[apart]
    return sparse.csr_array((cannot_link.penalty[apart], cells), shape=(clusters, clusters))
