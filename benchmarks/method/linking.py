"""METHOD 4.4 to 4.6 and what else could be meant by it, literally and slowly: up to 1,000 tracks.

"either" is the paper's word: two clusters match where their similarity is under the threshold of
either. "both" and "mean" are stricter. "transitive" merges all matches of a round at once, as the
paper does; "best pair first" merges the closest match alone and looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tables import Limits, Sides

from vcn_ray.core.vectors import renumber
from vcn_ray.records import F64, I64, Mask

MATCHES: dict[str, Callable[[F64, F64], F64]] = {
    "either": np.maximum,
    "both": np.minimum,
    "mean": lambda a, b: (a + b) / 2,
}
MERGES = ("transitive", "best pair first")


class Rule(NamedTuple):
    """Which clusters match, and which matches merge."""

    match: str  # of MATCHES
    merge: str  # of MERGES


LETTER = Rule("either", "transitive")


class _State(NamedTuple):
    """Clusters as rows of their tracks."""

    member: F64  # (n, k) ones and zeros
    similarity: F64  # (n, n) METHOD 4.3; infinite on the diagonal
    threshold: F64  # (n,) METHOD 4.2
    barred: Mask  # (n, n) true where tracks of the two cannot link

    def matching(self, match: str) -> Mask:
        """(n, n) METHOD 4.4, and the veto."""
        limit = MATCHES[match](self.threshold[:, None], self.threshold)
        allowed: Mask = (self.similarity < limit) & ~self.barred
        return allowed


def link(sides: Sides, limits: Limits, cannot_link: I64, rule: Rule) -> I64:
    """Cluster tracks until nothing changes.

    Args:
        sides: Similarities of k tracks.
        limits: What thresholds are made of.
        cannot_link: (c, 2) pairs of tracks that are never put in one cluster; none: no veto.
        rule: METHOD 4.4 and 4.5.

    Returns:
        (k,) clusters, numbered by first track.
    """
    tracks = len(limits.alone)
    barred = np.zeros((tracks, tracks), bool)
    barred[cannot_link[:, 0], cannot_link[:, 1]] = True
    state: _State | None = _state(sides, limits, np.eye(tracks), barred | barred.T)
    merge = _merge_all if rule.merge == "transitive" else _merge_best
    while state is not None:
        last = state
        state = merge(state, sides, limits, rule.match)
    return renumber(last.member.argmax(axis=0).astype(np.int64))


def _state(sides: Sides, limits: Limits, member: F64, barred: Mask) -> _State:
    return _State(member, similarity(sides, member, member), limits.of(member), barred)


def similarity(sides: Sides, left: F64, right: F64) -> F64:
    """METHOD 4.3 between clusters (a, k) and (b, k); of a cluster with itself infinite.

    A cluster of one track contributes its crops, one of several the mean output of each track.
    """
    a, b = left / left.sum(axis=1)[:, None], right / right.sum(axis=1)[:, None]
    single, other = (left.sum(axis=1) == 1)[:, None], right.sum(axis=1) == 1
    crops, means = (a @ sides.crops) @ b.T, (a @ sides.means) @ b.T
    crops_means, means_crops = (a @ sides.mixed) @ b.T, (b @ (sides.mixed @ a.T)).T
    result: F64 = np.where(
        single, np.where(other, crops, crops_means), np.where(other, means_crops, means)
    )
    result[(left @ right.T) > 0] = np.inf
    return result


def _merge_all(state: _State, sides: Sides, limits: Limits, match: str) -> _State | None:
    """METHOD 4.5, a round; None: nothing matches.

    Closest match first, so that the veto stops the worse of two that it does not let happen both.
    """
    left, right = np.triu(state.matching(match)).nonzero()
    if not len(left):
        return None
    barred = state.barred.copy()
    label = np.arange(len(barred))
    for at in np.argsort(state.similarity[left, right], kind="stable"):
        a, b = label[left[at]], label[right[at]]
        if a != b and not barred[a, b]:
            label[label == b] = a
            barred[a] |= barred[b]
            barred[:, a] |= barred[:, b]
    kept, group = np.unique(label, return_inverse=True)
    member = (group == np.arange(len(kept))[:, None]).astype(np.float64) @ state.member
    return _state(sides, limits, member, barred[np.ix_(kept, kept)])


def _merge_best(state: _State, sides: Sides, limits: Limits, match: str) -> _State | None:
    """The closest two that match become one; None: nothing does."""
    table = np.where(state.matching(match), state.similarity, np.inf)
    first, second = sorted(divmod(int(table.argmin()), len(table)))
    if not np.isfinite(table[first, second]):
        return None
    kept = np.arange(len(table)) != second
    member, barred = state.member.copy(), state.barred.copy()
    member[first] += member[second]
    barred[first] |= barred[second]
    barred[:, first] |= barred[:, second]
    member = member[kept]
    near, threshold = state.similarity[np.ix_(kept, kept)], state.threshold[kept]
    threshold[first] = limits.of(member[first][None])[0]
    near[first] = similarity(sides, member[first][None], member)[0]
    near[:, first] = near[first]
    return _State(member, near, threshold, barred[np.ix_(kept, kept)])
