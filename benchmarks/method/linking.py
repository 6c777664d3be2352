"""METHOD 4.4 to 4.6 and other readings of it, written literally, for up to 1,000 tracks.

"either" is the paper's word: two clusters match where their similarity is under the threshold of
either. "both" and "mean" are stricter. "transitive" merges all matches of a round at once, as the
paper does; "best pair first" merges the closest match alone and then matches again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.method.tables import Limits, Sides
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


PUBLISHED = Rule("either", "transitive")


class _State(NamedTuple):
    """Clusters, each a row of zeros and ones over the tracks."""

    member: F64  # (n, k) ones and zeros
    similarity: F64  # (n, n) METHOD 4.3; infinite on the diagonal
    threshold: F64  # (n,) METHOD 4.2
    cannot: Mask  # (n, n) true where tracks of the two are cannot-link

    def matching(self, match: str) -> Mask:
        """(n, n) METHOD 4.4, without cannot-link pairs."""
        limit = MATCHES[match](self.threshold[:, None], self.threshold)
        allowed: Mask = (self.similarity < limit) & ~self.cannot
        return allowed


def link(sides: Sides, limits: Limits, cannot_link: I64, rule: Rule) -> I64:
    """Cluster tracks until nothing changes.

    Args:
        sides: Similarities of k tracks.
        limits: Sums that thresholds are made of.
        cannot_link: (c, 2) pairs of tracks that never share a cluster; may be empty.
        rule: How METHOD 4.4 and 4.5 are read.

    Returns:
        (k,) clusters, numbered by first track.
    """
    tracks = len(limits.alone)
    cannot = np.zeros((tracks, tracks), bool)
    cannot[cannot_link[:, 0], cannot_link[:, 1]] = True
    state: _State | None = _state(sides, limits, np.eye(tracks), cannot | cannot.T)
    merge = _merge_all if rule.merge == "transitive" else _merge_best
    while state is not None:
        last = state
        state = merge(state, sides, limits, rule.match)
    return renumber(last.member.argmax(axis=0).astype(np.int64))


def _state(sides: Sides, limits: Limits, member: F64, cannot: Mask) -> _State:
    return _State(member, similarity(sides, member, member), limits.of(member), cannot)


def similarity(sides: Sides, left: F64, right: F64) -> F64:
    """METHOD 4.3 between clusters (a, k) and (b, k); infinite between a cluster and itself.

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
    """One round of METHOD 4.5; None where nothing matches.

    The closest match merges first, so of two matches that exclude each other the better one wins.
    """
    left, right = np.triu(state.matching(match)).nonzero()
    if not len(left):
        return None
    cannot = state.cannot.copy()
    label = np.arange(len(cannot))
    for at in np.argsort(state.similarity[left, right], kind="stable"):
        a, b = label[left[at]], label[right[at]]
        if a != b and not cannot[a, b]:
            label[label == b] = a
            cannot[a] |= cannot[b]
            cannot[:, a] |= cannot[:, b]
    kept, group = np.unique(label, return_inverse=True)
    member = (group == np.arange(len(kept))[:, None]).astype(np.float64) @ state.member
    return _state(sides, limits, member, cannot[np.ix_(kept, kept)])


def _merge_best(state: _State, sides: Sides, limits: Limits, match: str) -> _State | None:
    """Merge the closest match alone; None where nothing matches."""
    table = np.where(state.matching(match), state.similarity, np.inf)
    first, second = sorted(divmod(int(table.argmin()), len(table)))
    if not np.isfinite(table[first, second]):
        return None
    kept = np.arange(len(table)) != second
    member, cannot = state.member.copy(), state.cannot.copy()
    member[first] += member[second]
    cannot[first] |= cannot[second]
    cannot[:, first] |= cannot[:, second]
    member = member[kept]
    near, threshold = state.similarity[np.ix_(kept, kept)], state.threshold[kept]
    threshold[first] = limits.of(member[first][None])[0]
    near[first] = similarity(sides, member[first][None], member)[0]
    near[:, first] = near[first]
    return _State(member, near, threshold, cannot[np.ix_(kept, kept)])
