"""Joins what was divided: sets of people who are too many to compare each with each.

`join_people` divides a set of more than MAX_COMPONENT people where it is weakest, and joins within
the parts. Somebody in more titles than that would stay in pieces. Here the pieces are joined by the
same rule, the likeliest first, but that some members stand for each piece: so nothing grows with
the square of a set. Sets that were not divided stay as they are. It knows no ids, names or storage.
"""

from __future__ import annotations

import heapq

import numpy as np
from scipy import sparse

from vcn_ray.core.linking import JOINED, MAX_COMPONENT, Joined, Known, Pairs, chains
from vcn_ray.core.mixture import Mixture
from vcn_ray.core.strangers import Faces, Levels, cosine_block, scores, take
from vcn_ray.core.vectors import renumber, row_blocks
from vcn_ray.records import F64, I64, Mask

STANDING = 32
"""Members that stand for a piece."""


def rejoin_people(  # noqa: PLR0913 - as join_people, and what that gave
    joined: Joined,
    faces: Faces,
    levels: Levels,
    mixture: Mixture,
    pairs: Pairs,
    known: Known,
    largest: int = MAX_COMPONENT,
) -> Joined:
    """Join the pieces of sets that were divided.

    Args:
        joined: From join_people.
        faces: n people.
        levels: Of strangers.
        mixture: What scores mean.
        pairs: All that are perhaps one.
        known: Constraints.
        largest: Size of the largest set that was not divided.
    """
    links = _links_between_pieces(joined.label, pairs, known, largest)
    if not len(links):
        return joined
    pieces = _Pieces(joined.label, np.unique(links), faces, levels, mixture, known)
    tree = pieces.join(links)
    label, odds = joined.label.copy(), joined.log_odds.copy()
    for home in pieces.grown:
        rows = pieces.members[home]
        label[rows] = home
        odds[rows] = pieces.odds_with_all(rows)
    return Joined(renumber(label), Pairs.join([joined.tree, tree]), odds)


def _links_between_pieces(label: I64, pairs: Pairs, known: Known, largest: int) -> I64:
    """Pairs of labels (m, 2), the smaller first, that likely pairs of a divided set join."""
    n = len(label)
    groups = chains(known.group)
    rows = np.concatenate([pairs.left, groups[:, 0]])
    columns = np.concatenate([pairs.right, groups[:, 1]])
    graph = sparse.coo_array((np.ones(len(rows), np.int8), (rows, columns)), (n, n))
    number = sparse.csgraph.connected_components(graph, directed=False)[1]
    divided = np.bincount(number, minlength=1)[number] > largest
    one, other = label[pairs.left], label[pairs.right]
    between: Mask = divided[pairs.left] & (one != other) & (pairs.log_odds > JOINED)
    one, other = one[between], other[between]
    pair = np.unique(np.minimum(one, other) * np.int64(n) + np.maximum(one, other))
    links: I64 = np.stack(np.divmod(pair, n), axis=1)
    return links


class _Pieces:
    """Clusters that are joined, and what forbids it.

    Args:
        label: (n,) cluster of each.
        names: Labels of the clusters that may be joined.
        faces: n people.
        levels: Of strangers.
        mixture: What scores mean.
        known: Constraints.
    """

    def __init__(
        self,
        label: I64,
        names: I64,
        faces: Faces,
        levels: Levels,
        mixture: Mixture,
        known: Known,
    ) -> None:
        self._faces, self._levels, self._mixture = faces, levels, mixture
        order = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[order], names)
        ends = np.searchsorted(label[order], names, side="right")
        self.members: dict[int, I64] = {
            int(name): order[start:end]
            for name, start, end in zip(names, starts, ends, strict=True)
        }
        self.grown: set[int] = set()
        self._titles = {
            name: set(faces.title[rows].tolist()) for name, rows in self.members.items()
        }
        self._named = {
            name: {each for each in known.name[rows].tolist() if each >= 0}
            for name, rows in self.members.items()
        }
        self._foes: dict[int, set[int]] = {}
        for one, other in label[known.cannot].reshape(-1, 2).tolist():
            self._foes.setdefault(one, set()).add(other)
            self._foes.setdefault(other, set()).add(one)

    def join(self, links: I64) -> Pairs:
        """Join the two likeliest pieces until none are likelier one person than two.

        Args:
            links: (m, 2) pieces that a likely pair links.

        Returns:
            The pairs that hold joined pieces together.
        """
        age = dict.fromkeys(self.members, 0)
        neighbours: dict[int, set[int]] = {name: set() for name in self.members}
        waiting: list[tuple[float, int, int, int, int]] = []

        def look_at(one: int, other: int) -> None:
            one, other = min(one, other), max(one, other)
            odds = self._odds(one, other)
            if odds > JOINED:
                heapq.heappush(waiting, (-odds, one, other, age[one], age[other]))

        for one, other in links.tolist():
            neighbours[one].add(other)
            neighbours[other].add(one)
            look_at(one, other)
        tree = []
        while waiting:
            _, one, other, age_of_one, age_of_other = heapq.heappop(waiting)
            if one not in self.members or other not in self.members:
                continue
            if (age_of_one, age_of_other) != (age[one], age[other]):
                look_at(one, other)  # one of them has grown since
                continue
            if self._apart(one, other):
                continue
            tree.append(self._strongest(one, other))
            self._merge(one, other)
            age[one] += 1
            mine = neighbours.pop(other) | neighbours[one]
            neighbours[one] = {each for each in mine if each in self.members and each != one}
            for each in neighbours.get(one, ()):
                neighbours[each].discard(other)
                if one not in neighbours[each]:
                    neighbours[each].add(one)
                    look_at(one, each)
        return Pairs.join(tree)

    def _merge(self, one: int, other: int) -> None:
        self.members[one] = np.sort(np.concatenate([self.members[one], self.members.pop(other)]))
        self._titles[one] |= self._titles.pop(other)
        self._named[one] |= self._named.pop(other)
        for foe in self._foes.pop(other, set()):
            self._foes[foe].discard(other)
            self._foes[foe].add(one)
            self._foes.setdefault(one, set()).add(foe)
        self.grown.discard(other)
        self.grown.add(one)

    def _apart(self, one: int, other: int) -> bool:
        """Whether something forbids that two pieces are one person."""
        names = self._named[one] | self._named[other]
        both = self._named[one] and self._named[other]
        if other in self._foes.get(one, ()) or (both and len(names) > 1):
            return True
        return not self._titles[one].isdisjoint(self._titles[other])

    def _standing(self, rows: I64) -> I64:
        """Members that stand for a piece: evenly over its rows, which ids order."""
        seen = rows[self._faces.codes[rows].any(axis=1)]
        if len(seen) <= STANDING:
            return seen
        chosen: I64 = seen[np.linspace(0, len(seen) - 1, STANDING).astype(np.int64)]
        return chosen

    def _evidence(self, rows: I64, others: I64) -> tuple[F64, F64]:
        """Cosines and log likelihood ratios (a, b) of people."""
        cosine = cosine_block(take(self._faces, rows), take(self._faces, others))
        mine, theirs = (
            Levels(self._levels.mean[some], self._levels.sd[some]) for some in (rows, others)
        )
        return cosine, self._mixture.evidence(scores(cosine, mine, theirs))

    def _odds(self, one: int, other: int) -> float:
        """Log odds that two pieces are one person."""
        rows, others = (self._standing(self.members[each]) for each in (one, other))
        if not len(rows) or not len(others):
            return self._mixture.prior_odds
        mean = float(self._evidence(rows, others)[1].mean())
        size = len(self.members[one]) * len(self.members[other])
        return self._mixture.prior_odds + mean * float(np.sqrt(size))

    def _strongest(self, one: int, other: int) -> Pairs:
        """The pair that looks most alike, of those who stand for two pieces."""
        rows, others = (self._standing(self.members[each]) for each in (one, other))
        cosine, evidence = self._evidence(rows, others)
        i, j = divmod(int(evidence.argmax()), len(others))
        left, right = sorted((int(rows[i]), int(others[j])))
        odds = self._mixture.prior_odds + evidence[i, j]
        return Pairs(
            np.array([left]), np.array([right]), np.array([cosine[i, j]]), np.array([odds])
        )

    def odds_with_all(self, rows: I64) -> F64:
        """Log odds (m,) of each member of a piece with the others, of whom some stand for all."""
        standing = self._standing(rows)
        odds = np.zeros(len(rows))
        for block in row_blocks(len(rows), len(standing)):
            evidence = self._evidence(rows[block], standing)[1]
            same = rows[block][:, None] == standing[None]
            evidence[same] = 0.0
            mean = evidence.sum(axis=1) / np.maximum(len(standing) - same.sum(axis=1), 1)
            odds[block] = self._mixture.prior_odds + mean * np.sqrt(len(rows) - 1)
        return odds
