"""One cut for a title, from the title's own statistics: the default rule for who is one person.

It stands in for METHOD 4.2-4.6, whose letter is in `closure`. Two measures say how far apart two
tracks are. Distances of the encoder as shipped have a scale of their own, whoever is in the title.
The adapted head tells the people of a title apart far better, but its scale depends on them: with
centering (METHOD 2.3) the people become orthogonal to one another, and if there is only one, that
person's tracks do. So the head alone cannot tell one person from ten, and its scale can be learned
only where there are enough people. It does not know where outputs come from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from vcn_ray.core.linkage import Linked, Space, agglomerate
from vcn_ray.core.spaces import cosine_space, mixed_space
from vcn_ray.core.vectors import TINY, row_blocks
from vcn_ray.records import F64, I64, TrackOutputs

VIEW_FACTOR = 1.5
"""Distance at which tracks are cut by the encoder as shipped, over that of two augmented views
inside a track.

Measured on films of 1 to 100 people: tracks of one person are 0.5 to 1.3 times the view distance
apart on average, strangers 1.9 to 3.1 times. The ratio is the same for MobileFaceNet, whose view
distance is about 0.44, and for dlib's network, where it is 0.05: unlike any distance, it carries
over between packs.
"""

PEOPLE_WEIGHT = 20
"""Number of people at which the head's scale, learned from them, counts as much as the view
distance.

The mean and spread of distances between n people rest on n draws, not on their n (n - 1) / 2
pairs."""

STRANGER_SDS = 2.5
"""How many standard deviations under the mean distance of strangers the head's cut lies.

2.0 merges people, 2.75 falls under every distance of some titles; the crossing of the two
distributions is a floor under it."""

FALSE_SHARE = 0.2
"""Largest share of the pairs under the head's cut that strangers would make up by chance.

Where nobody is seen twice, the lower tail of strangers is all there is under any cut. Between 0.1
and 0.3 the result was the same on every film."""

STEPS = 512
"""Cuts that are tried between no distance and the largest."""

MOST_ROUNDS = 15
"""Rounds of cutting and estimating anew; two to four are usual, and a cycle must end."""

CUT = 1.0
"""The cut in the mixed distance, whose parts are divided by their own cuts."""


class Moments(NamedTuple):
    """Mean and standard deviation of distances over pairs of tracks, and the number of pairs."""

    mean: float
    sd: float
    pairs: int


class TitleCut(NamedTuple):
    """What cut_title returns."""

    linked: Linked
    space: Space  # the mixed distance, cut at CUT


def cut_title(outputs: TrackOutputs, cannot_link: I64, rule: str) -> TitleCut:
    """Cluster the tracks of a title with one cut for all (an average linkage from single tracks).

    The first partition is cut by the encoder as shipped, at VIEW_FACTOR times the mean view
    distance. A partition says which pairs are strangers, and their head outputs where the head's
    cut lies; both distances, each divided by its cut, are mixed in the ratio PEOPLE_WEIGHT to
    people found, and cut again, until the partition stays.

    Args:
        outputs: k >= 2 tracks.
        cannot_link: (c, 2) pairs of tracks that share a frame.
        rule: Name of the rule for the record of merges; distances in it are in units of the cut.
    """
    encoder, head = cosine_space(outputs.untuned), cosine_space(outputs.output)
    encoder_cut = max(VIEW_FACTOR * view_distance(outputs), TINY)
    space = mixed_space(encoder, head, (1 / encoder_cut, 0.0))
    limits = np.full(len(outputs), CUT)
    linked = agglomerate(space, limits, cannot_link, rule)
    for _ in range(MOST_ROUNDS):
        people = int(linked.label.max()) + 1
        if people == 1:
            break
        head_cut = stranger_cut(head, linked.label)
        share = people / (people + PEOPLE_WEIGHT) if head_cut > 0 else 0.0
        weights = ((1 - share) / encoder_cut, share / head_cut if share else 0.0)
        space = mixed_space(encoder, head, weights)
        before, linked = linked, agglomerate(space, limits, cannot_link, rule)
        if np.array_equal(before.label, linked.label):
            break
    return TitleCut(linked, space)


def view_distance(outputs: TrackOutputs) -> float:
    """Mean cosine distance, encoder as shipped, of two augmented views inside a track.

    Over tracks with several crops, whose views are of different crops; over all where there is
    none.
    """
    several = outputs.crops > 1
    views = outputs.untuned_views[several] if several.any() else outputs.untuned_views
    return float(views.mean())


def stranger_cut(space: Space, label: I64) -> float:
    """Distance under which two tracks are closer than strangers of this title are.

    Args:
        space: Distances of k tracks.
        label: (k,) a partition with two clusters at least.

    Returns:
        The mean distance of tracks in different clusters less STRANGER_SDS standard deviations, or
        less than that where FALSE_SHARE asks for it; or, if it is larger, the distance at which
        pairs of one cluster and of two are as likely.
    """
    same, different = pair_moments(space, label)
    cut = different.mean - STRANGER_SDS * different.sd
    if cut > 0:
        cut = _believable(space, different, cut)
    return max(cut, crossing(same, different)) if same.pairs else cut


def _believable(space: Space, strangers: Moments, largest: float) -> float:
    """Largest cut under which strangers, taken as normal, are at most FALSE_SHARE of the pairs."""
    edges = np.linspace(0, largest, STEPS + 1)
    found = np.zeros(STEPS)
    tracks = len(space.left)
    for rows in row_blocks(tracks, tracks):
        table = space.offset - space.left[rows] @ space.right.T
        later = np.arange(tracks) > np.arange(rows.start, rows.stop)[:, None]
        found += np.histogram(np.maximum(table[later], 0), edges)[0]
    found = np.cumsum(found)
    scores = (edges[1:] - strangers.mean) / max(strangers.sd, TINY)
    believed = np.flatnonzero(
        (found > 0) & (strangers.pairs * special.ndtr(scores) <= FALSE_SHARE * found)
    )
    # where no cut is to be believed, the head keeps every two tracks apart
    edge = believed[-1] + 1 if len(believed) else np.searchsorted(found, 1)
    return float(max(edges[edge], TINY))


def pair_moments(space: Space, label: I64) -> tuple[Moments, Moments]:
    """Moments of the distances over pairs of tracks in one cluster, and in two."""
    sums = np.zeros((2, 3))
    for rows in row_blocks(len(label), len(label)):
        table = space.offset - space.left[rows] @ space.right.T
        later = np.arange(len(label)) > np.arange(rows.start, rows.stop)[:, None]
        same = label[rows, None] == label
        for place, chosen in enumerate((table[later & same], table[later & ~same])):
            sums[place] += len(chosen), chosen.sum(), np.square(chosen).sum()
    return _moments(sums[0]), _moments(sums[1])


def _moments(sums: F64) -> Moments:
    pairs, total, squares = sums
    mean = total / max(pairs, 1)
    return Moments(mean, float(np.sqrt(max(squares / max(pairs, 1) - mean**2, 0))), int(pairs))


def crossing(near: Moments, far: Moments) -> float:
    """Where two normal distributions, weighted by their pairs, are as likely, between their means.

    Returns:
        The distance; minus infinity where the near one's mean is not under the far one's.
    """
    if near.mean >= far.mean:
        return -np.inf
    grid = np.linspace(near.mean, far.mean, 1001)
    scores = [
        np.log(side.pairs / max(side.sd, 1e-3))
        - np.square((grid - side.mean) / max(side.sd, 1e-3)) / 2
        for side in (near, far)
    ]
    behind = np.flatnonzero(scores[0] < scores[1])
    return float(grid[behind[0]] if len(behind) else far.mean)
