"""One cut for a title, learned from the title's own tracks: the default rule for who is one person.

It replaces METHOD 4.2-4.6, which `closure` follows to the letter. No distance means the same in
every title: how far apart two tracks of one person are depends on light and lenses, and how far
apart strangers are depends on the cast. But even a rough partition of the tracks shows both. From
it, a better distance and a better cut are learned (Fisher's linear discriminant of several
distances), and they give a better partition.

A title of few tracks shows little of this. So what is known of the pack beforehand (see `prior`)
sets both the first cut and a share of the last one, which falls as the tracks of the title grow in
number. It does not know where outputs come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import special

from vcn_ray.bounds import STRICT, NonNegative, Positive
from vcn_ray.core.changes import discount_changes, may_show_changes
from vcn_ray.core.distance import Space, cosine_space, mixed_space
from vcn_ray.core.linkage import CannotLink, Partition, agglomerate
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import TINY, check_pairs, group_sums, renumber, row_blocks, unit_rows
from vcn_ray.records import F32, F64, I64, NO_CONSTRAINTS, Constraints, Mask, Merge, TrackOutputs

MAX_ROUNDS = 20
"""Rounds of cutting and learning; three to six are usual, and a cycle must end."""

LEARNING_TRACKS = 2000
"""Distances are learned from at most this many tracks, sampled at random: two million pairs."""

CUT = 1.0
"""The cut of the fused distance, which is measured in units of its cut."""

COPY_SDS = 7.0
"""Two tracks that share a frame are one face if their cosine is so far above that of strangers.

In standard deviations of the prior; see benchmarks/method/copies.py."""

COPY_FACTOR = 0.65
"""Without a prior: two tracks are one face if closer than this times the view distance.

On films, a track and its own mirrored or edited copy are 0.1 to 0.65 times the view distance apart,
two people in one frame at least as far as it."""

CENTROID_SDS = 3.5
"""Centroids must be closer than the title's strangers by so many of their standard deviations."""

MIN_CLUSTERS = 10
"""Clusters that a title needs before it shows how far apart its strangers are."""

MIN_SD = 1e-3
"""Smallest standard deviation, as a fraction of the distance between the two means."""

GRID = 2001
"""Number of places between the two means at which `crossing` compares the densities."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FusionConfig:
    """How distances are weighed and cut. One setting for every title and every pack."""

    ridge: Positive = 0.1  # fraction of its own variance added to that of each distance, so that
    # distances that agree share the weight
    odds: Positive = 2.0  # weight of a pair of one person over a pair of two: clusters are compared
    # by means over many pairs, which vary less than single pairs
    max_false_fraction: Annotated[float, Field(gt=0, le=1)] = 0.05  # of the pairs in clusters, that
    # are strangers by chance; where nobody is seen twice, clusters hold only the nearest strangers


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CutConfig:
    """How the cut is learned. One setting for every title and every pack."""

    view_factor: Positive = 2.1  # first cut of a pack without a prior, over the view distance:
    # tracks of one person are 0.7 to 1.7 times it apart on average, strangers 2.5 to 4 times, for
    # encoders whose distances differ by a factor of ten
    prior_tracks: Positive = 50.0  # the prior of the pack weighs as much as a title of so many
    # tracks shows by itself; four times the number gives the same results on real clips
    cannot_link_penalty: Positive = 1.0  # added to the distance of two tracks that share a frame,
    # in units of the cut: a veto between single tracks, one voice among many between clusters
    min_reach: NonNegative = 1.25  # mean distance inside clusters, over the view distance, below
    # which learning stops: where people overlap, it would tighten and split clusters without end
    fusion: FusionConfig = field(default_factory=FusionConfig)


class TitleCut(NamedTuple):
    """The clusters of a title, and what they were cut by."""

    partition: Partition
    space: Space  # the fused distance, cut at CUT
    cannot_link: I64  # (c, 2) pairs of tracks in one frame that are two people


def cut_title(
    outputs: TrackOutputs,
    cannot_link: I64,
    config: CutConfig,
    rule: str,
    prior: FacePrior | None = None,
    constraints: Constraints = NO_CONSTRAINTS,
) -> TitleCut:
    """Cluster the tracks of a title with one cut: an average linkage, then one of centroids.

    The first partition cuts the distance of the pretrained encoder where the prior says, or at
    `view_factor` times the view distance, which has the same meaning in every title. From then on,
    the cosine distances of the pretrained encoder, of the adapted one and of the head are weighed
    and cut by what the previous partition shows of them (see `learn_fusion`), until the partition
    repeats. The head's outputs are compared about the title's mean: what all tracks have in common
    distinguishes nobody, and how much it is depends on the teacher's temperature.

    The last distance is a mean of what was learned and of what the prior says, both in units of
    their cut; the more tracks a title has, the more it relies on itself (`prior_tracks`).

    Args:
        outputs: k tracks.
        cannot_link: (c, 2) pairs of tracks that share a frame: evidence against one person, except
            where they are one face seen twice.
        config: How the cut is learned.
        rule: The name of the rule for the record of merges, whose distances are in units of the
            cut.
        prior: Of the pack; None: only the title itself is known.
        constraints: What is known for certain: tracks that must link begin as one cluster, and
            clusters with tracks that cannot link never merge. Distances are learned with them, too,
            and what people in several clusters have in common counts less (see `changes`).
    """
    two_people = cannot_link[~seen_twice(outputs, cannot_link, prior)]
    if may_show_changes(constraints.must, len(outputs)):
        plain = cut_title(outputs, cannot_link, config, rule, prior).partition.label
        outputs = discount_changes(outputs, plain, constraints.must)
    centred = outputs.output - outputs.output.mean(axis=0)
    spaces = [cosine_space(rows) for rows in (outputs.pretrained, outputs.embedding, centred)]
    rows = sample_rows(len(outputs), LEARNING_TRACKS)
    sampled = [space.take(rows) for space in spaces]
    among = pairs_among(two_people, rows, len(outputs))
    view = view_distance(outputs)
    first = prior.cut if prior else config.view_factor * view
    known = constraints.among(rows, len(outputs))
    evidence = _evidence(among, known, config)
    fusion = learn_fusion(sampled, view, first, evidence, known.must, config)
    space = fused_space(spaces, fusion)
    if prior:
        usual = mixed_space(spaces[0], spaces[1], (0.5 / prior.cut, 0.5 / prior.cut))
        learned = len(outputs) / (len(outputs) + config.prior_tracks)
        space = mixed_space(space, usual, (learned, 1 - learned))
    evidence = _evidence(two_people, constraints, config)
    partition = agglomerate(space, CUT, evidence, rule, constraints.must)
    if prior:
        partition = join_centroids(partition, space, outputs.recognisability, evidence, rule)
    return TitleCut(partition, space, two_people)


def _evidence(two_people: I64, constraints: Constraints, config: CutConfig) -> CannotLink:
    """Return all pairs that are likely two people; those that certainly are never merge."""
    likely = CannotLink.uniform(two_people, config.cannot_link_penalty)
    certain = CannotLink.uniform(constraints.cannot, np.inf)
    return CannotLink(*(np.concatenate(both) for both in zip(likely, certain, strict=True)))


def join_centroids(
    partition: Partition, space: Space, weight: F32, cannot_link: CannotLink, rule: str
) -> Partition:
    """Merge clusters whose centroids are as close as two tracks of one person.

    Average linkage compares single tracks, and two tracks of one person in other light may be far
    apart. The mean of many tracks has lost most of what light and pose added to each, so clusters
    that average linkage keeps apart are compared by their weighted means, made as long as a track,
    until none are below the cut.

    Args:
        partition: Of k tracks.
        space: Their distances, in units of the cut.
        weight: (k,) of each track in the mean of its cluster.
        cannot_link: Pairs of tracks, with penalties.
        rule: The name of the rule for the record of merges.
    """
    label, merges = partition.label, list(partition.merges)
    rows = space.rows * np.maximum(weight.astype(np.float64), TINY)[:, None]
    rounds = max((merge.round for merge in merges), default=0)
    while len(label):
        size = np.bincount(label)
        first = np.unique(label, return_index=True)[1]
        means = unit_rows(group_sums(rows, label, len(size))) * np.sqrt(space.offset)
        centroids = Space(means, space.offset)
        between = label[cannot_link.pairs]
        apart = between[:, 0] != between[:, 1]
        pairs = CannotLink(
            between[apart], (cannot_link.penalty / size[between].prod(axis=1))[apart]
        )
        cut = min(CUT, stranger_limit(centroids))
        joined = agglomerate(centroids, cut, pairs, rule)
        if not joined.merges:
            break
        merges += [
            replace(
                merge,
                round=merge.round + rounds,
                left=int(first[merge.left]),
                right=int(first[merge.right]),
            )
            for merge in joined.merges
        ]
        rounds = merges[-1].round
        label = renumber(joined.label[label])
    return Partition(label, tuple(_with_sizes(merges, len(label))))


def stranger_limit(space: Space) -> float:
    """Return the distance of people that strangers of this title hardly ever come below.

    Nearly all pairs of clusters are strangers. Those that are farther apart than the median are all
    strangers, so they show how much such distances vary.

    Args:
        space: Distances of n clusters; infinite where there are fewer than MIN_CLUSTERS.
    """
    rows = sample_rows(len(space.rows), LEARNING_TRACKS)
    if len(rows) < MIN_CLUSTERS:
        return np.inf
    distances = pair_distances([space.take(rows)])[:, 0]
    middle = float(np.median(distances))
    far = distances[distances >= middle] - middle
    return middle - CENTROID_SDS * float(np.sqrt(np.square(far).mean()))


def _with_sizes(merges: list[Merge], tracks: int) -> list[Merge]:
    """Fill in how many tracks each side of a merge had: clusters are named by their first track."""
    size = dict.fromkeys(range(tracks), 1)
    result = []
    for merge in merges:
        left, right = size[merge.left], size[merge.right]
        result.append(replace(merge, left_tracks=left, right_tracks=right))
        size[min(merge.left, merge.right)] = left + right
    return result


def view_distance(outputs: TrackOutputs) -> float:
    """Return the mean cosine distance, pretrained encoder, of crops and mirror images in a track.

    It is taken over tracks with several crops, where the mirror image is of another crop, if there
    are any.
    """
    several = outputs.crops > 1
    views = outputs.pretrained_views[several] if several.any() else outputs.pretrained_views
    return float(views.mean())


def seen_twice(outputs: TrackOutputs, pairs: I64, prior: FacePrior | None = None) -> Mask:
    """Find tracks in one frame that are one face: a mirror, a screen, a double detection.

    Strangers never come that close, by the pretrained encoder.

    Args:
        outputs: k tracks.
        pairs: (c, 2) tracks that share a frame.
        prior: Of the pack, which knows how close strangers come; None: nearness is measured by that
            of a track and an edited copy of itself.

    Returns:
        (c,) true for a pair that may be one person.
    """
    check_pairs(pairs, len(outputs))
    if not len(pairs):
        return np.zeros(0, np.bool_)
    left, right = outputs.pretrained[pairs[:, 0]], outputs.pretrained[pairs[:, 1]]
    distance = 1 - np.einsum("cd,cd->c", left.astype(np.float64), right)
    limit = prior.distance_at(COPY_SDS) if prior else COPY_FACTOR * view_distance(outputs)
    near: Mask = distance < limit
    return near


class Fusion(NamedTuple):
    """Several distances weighed into one, and its cut."""

    weights: F64  # (s,) none negative
    cut: float  # of the weighted sum


def learn_fusion(
    spaces: list[Space],
    view: float,
    first: float,
    cannot_link: CannotLink,
    must_link: I64,
    config: CutConfig,
) -> Fusion:
    """Cut, learn from the partition, and cut again, until a partition repeats.

    A partition leaves out the pairs of one person that are far apart, so people look tighter than
    they are. Where people are well separated, that costs nothing; where they overlap, each round
    would split them further. But tracks of one person are hardly closer to each other than two
    crops of one track, one of them mirrored, so learning stops when it has made clusters tighter
    than that (`min_reach`).

    Args:
        spaces: s distances of k tracks, that of the pretrained encoder first.
        view: The view distance, in the first of them.
        first: The first cut, in the first of them.
        cannot_link: Pairs of tracks that are likely two people.
        must_link: (m, 2) pairs of tracks of one person.
        config: How to learn.

    Returns:
        The weights and cut of the last partition: the initial ones, if it shows nothing.
    """
    fusion = Fusion(np.eye(1, len(spaces))[0], first)
    distances = pair_distances(spaces)
    seen: set[bytes] = set()
    before, reach = fusion, 0.0
    for number in range(MAX_ROUNDS):
        label = agglomerate(fused_space(spaces, fusion), CUT, cannot_link, "", must_link).label
        if label.tobytes() in seen:
            break
        seen.add(label.tobytes())
        same = same_pairs(label)
        last, reach = reach, 0.0
        if same.any():
            reach = float(distances[same, 0].mean()) / max(view, TINY)
        if number > 1 and reach < min(last, config.min_reach):
            return before
        better = fuse(distances, same, config.fusion)
        if better is None:
            break
        before, fusion = fusion, better
    return fusion


def fused_space(spaces: list[Space], fusion: Fusion) -> Space:
    """Return the weighted sum of distances in units of its cut."""
    weights = (fusion.weights / max(fusion.cut, TINY)).tolist()
    fused = mixed_space(spaces[0], spaces[1], (weights[0], weights[1]))
    for space, weight in zip(spaces[2:], weights[2:], strict=True):
        fused = mixed_space(fused, space, (1.0, weight))
    return fused


def pair_distances(spaces: Sequence[Space]) -> F64:
    """Return the s distances of all pairs of k tracks, (k (k - 1) / 2, s), as `same_pairs` orders.

    Args:
        spaces: s distances of k tracks.
    """
    tracks = len(spaces[0].rows)
    result = np.empty((tracks * (tracks - 1) // 2, len(spaces)))
    for place, space in enumerate(spaces):
        done = 0
        for rows in row_blocks(tracks, tracks):
            later = np.arange(tracks) > np.arange(rows.start, rows.stop)[:, None]
            table = (space.offset - space.rows[rows] @ space.rows.T)[later]
            result[done : done + len(table), place] = table
            done += len(table)
    return result


def same_pairs(label: I64) -> Mask:
    """Return (k (k - 1) / 2,), true for pairs i < j of one cluster, in order of i, then of j."""
    first, second = np.triu_indices(len(label), 1)
    same: Mask = label[first] == label[second]
    return same


def fuse(distances: F64, same: Mask, config: FusionConfig) -> Fusion | None:
    """Weigh distances by how well they separate the two kinds of pairs, and cut between the kinds.

    The weights are Fisher's: the inverse of the mean covariance of both kinds, times the difference
    of their means, without negative weights. The cut is where a pair is as likely of one kind as of
    the other (see `crossing`), or lower, where chance alone would put too many pairs of strangers
    below it (see `chance_limit`).

    Args:
        distances: (p, s) of pairs of tracks.
        same: (p,) true where both are in one cluster.
        config: How to weigh and cut.

    Returns:
        The fusion, scaled so that the means of the two kinds are 1 apart; None where a kind has no
        pairs, or no distance separates them.
    """
    if same.all() or not same.any():
        return None
    kinds = distances[same], distances[~same]
    covariances = [np.atleast_2d(np.cov(kind.T, ddof=0)) for kind in kinds]
    scatter = (covariances[0] + covariances[1]) / 2
    own = np.maximum(np.diag(scatter), TINY)
    gap = kinds[1].mean(axis=0) - kinds[0].mean(axis=0)
    direction = np.maximum(np.linalg.solve(scatter + config.ridge * np.diag(own), gap), 0)
    separation = float(direction @ gap)
    if separation <= 0:
        return None
    weights = direction / separation
    near, far = (kind @ weights for kind in kinds)
    limit = chance_limit(near, far, config.max_false_fraction)
    return Fusion(weights, min(crossing(near, far, config.odds), limit))


def crossing(near: F64, far: F64, odds: float) -> float:
    """Find where the normal densities of two kinds of pairs, weighted by counts, are equal.

    Args:
        near: (n,) distances of pairs in one cluster.
        far: (m,) distances of pairs in two clusters, larger on average.
        odds: Weight of a near pair over a far one.

    Returns:
        The smallest distance between the two means from which far pairs are more likely; the mean
        of the far ones if there is none.
    """
    low, high = float(near.mean()), float(far.mean())
    grid = np.linspace(low, high, GRID)
    scores = []
    for kind, weight in ((near, odds), (far, 1.0)):
        sd = max(float(kind.std()), MIN_SD * (high - low))
        scores.append(np.log(weight * len(kind) / sd) - np.square((grid - kind.mean()) / sd) / 2)
    behind = np.flatnonzero(scores[0] < scores[1])
    return float(grid[behind[0]] if len(behind) else high)


def chance_limit(near: F64, far: F64, max_false_fraction: float) -> float:
    """Find the distance below which strangers are at most a fraction of the pairs in clusters.

    Distances of strangers are taken as normal. Their deviation is that of the larger half, which
    holds no tracks of one person that clustering has missed.
    """
    fraction = max_false_fraction * len(near) / len(far)
    if fraction >= 1:
        return np.inf
    middle = float(np.median(far))
    sd = float(np.sqrt(np.square(far[far >= middle] - middle).mean()))
    return middle + sd * float(special.ndtri(fraction))


def sample_rows(rows: int, size: int) -> I64:
    """Sample `size` row numbers at random, in rising order; all of them if there are fewer."""
    if rows <= size:
        return np.arange(rows)
    sample = np.random.default_rng(0).choice(rows, size, replace=False)
    return np.sort(sample).astype(np.int64)


def pairs_among(pairs: I64, rows: I64, tracks: int) -> I64:
    """Return the pairs (c, 2) whose tracks are both in `rows` (rising), as places in `rows`."""
    place = np.full(tracks, -1, np.int64)
    place[rows] = np.arange(len(rows))
    moved = place[pairs]
    return np.asarray(moved[(moved >= 0).all(axis=1)], dtype=np.int64)
