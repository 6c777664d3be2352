"""One cut for a title, learned from the title's own tracks: the default rule for who is one person.

It stands in for METHOD 4.2-4.6, whose letter is in `closure`. No distance means the same in every
title: how far apart two tracks of one person are depends on light and lenses, how far apart
strangers are on who is in it and, for the adapted model, on all of the others. But a partition of
the tracks, even a rough one, shows both, and from both follow a better distance and a better cut,
and from these a better partition. It does not know where outputs come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vcn_ray.core.cooccurrence import seen_twice, view_distance
from vcn_ray.core.evidence import Fusion, FusionConfig, fuse, pair_distances, same_pairs
from vcn_ray.core.linkage import Linked, Space, agglomerate
from vcn_ray.core.means import Sides
from vcn_ray.core.spaces import cosine_space, mixed_space
from vcn_ray.core.vectors import TINY, Array
from vcn_ray.errors import ConfigError
from vcn_ray.records import I64, TrackOutputs

MOST_ROUNDS = 20
"""Rounds of cutting and learning anew; three to six are usual, and a cycle must end."""

LEARNING_TRACKS = 2000
"""Tracks that distances are learned from; of more, so many are drawn: two million pairs, 48 MB."""

CUT = 1.0
"""The cut in the fused distance, which is divided by it."""


@dataclass(frozen=True, kw_only=True)
class CutConfig:
    """How the cut is learned. One setting for every title and every pack."""

    view_factor: float = 1.6  # first cut, encoder as shipped, over the distance of two augmented
    # views inside a track: tracks of one person are 0.5 to 1.3 times that apart on average,
    # strangers 1.9 to 3.1 times, for encoders whose distances differ ten times
    least_reach: float = 0.95  # mean distance inside clusters, over that of views, under which
    # learning must not tighten them again: where one person and two overlap, it would never end
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        if self.view_factor <= 0 or self.least_reach < 0:
            raise ConfigError(
                "the cut needs view_factor > 0 and least_reach >= 0, got "
                f"{self.view_factor} and {self.least_reach}"
            )


class TitleCut(NamedTuple):
    """What cut_title returns."""

    linked: Linked
    space: Space  # the fused distance, cut at CUT
    apart: I64  # (c, 2) pairs of tracks in one frame that are two people


def cut_title(
    outputs: TrackOutputs,
    cannot_link: I64,
    config: CutConfig,
    rule: str,
    like: Array | None = None,
) -> TitleCut:
    """Cluster the tracks of a title with one cut for all (an average linkage from single tracks).

    The first partition is cut by the encoder as shipped, at `view_factor` times the mean view
    distance, the one distance that has a scale of its own whoever is in the title. From then on
    the cosine distances of that encoder, of the adapted one and of the head are weighed and cut
    by what the partition before shows of them (see `evidence`), until the partition stays. The
    head's outputs are compared about the title's mean: what all tracks have in common tells
    nobody apart, and how much it is depends on how sharply the teacher looked.

    Args:
        outputs: k tracks.
        cannot_link: (c, 2) pairs of tracks in one frame, never in one cluster save where that is
            one face seen twice.
        config: How the cut is learned.
        rule: Name of the rule for the record of merges; distances in it are in units of the cut.
        like: An array in whose namespace and on whose device pairs are compared; None: numpy.
    """
    centred = outputs.output - outputs.output.mean(axis=0)
    spaces = [cosine_space(rows, like) for rows in (outputs.pretrained, outputs.embedding, centred)]
    rows = drawn_rows(len(outputs), LEARNING_TRACKS)
    some = [part_of(space, rows) for space in spaces]
    apart = cannot_link[~seen_twice(outputs, cannot_link)]
    among = pairs_among(apart, rows, len(outputs))
    fusion = learn_fusion(some, view_distance(outputs), among, config)
    space = fused_space(spaces, fusion)
    return TitleCut(link_to_cut(space, apart, rule), space, apart)


def learn_fusion(spaces: list[Space], view: float, cannot_link: I64, config: CutConfig) -> Fusion:
    """Cut, learn from the partition, and cut anew, until a partition comes back.

    A partition leaves out the pairs of one person that are far apart, so it makes people look
    nearer than they are. Where they stand clear of each other that costs nothing; where they
    overlap, each round would split them further. Tracks of one person are hardly nearer to each
    other than two augmented views of one track, so clusters that are tighter, and have become so
    by learning, end it (`least_reach`).

    Args:
        spaces: s distances of k tracks, the encoder's as shipped first.
        view: View distance, in the first of them.
        cannot_link: (c, 2) pairs of tracks that are never in one cluster.
        config: How to learn.

    Returns:
        What the last partition was cut by: the first one, where it shows nothing.
    """
    fusion = Fusion(np.eye(1, len(spaces))[0], config.view_factor * view)
    distances = pair_distances(spaces)
    seen: set[bytes] = set()
    before, reach = fusion, 0.0
    for number in range(MOST_ROUNDS):
        label = link_to_cut(fused_space(spaces, fusion), cannot_link, "").label
        if label.tobytes() in seen:
            break
        seen.add(label.tobytes())
        same = same_pairs(label)
        last, reach = reach, 0.0
        if same.any():
            reach = float(distances[same, 0].mean()) / max(view, TINY)
        if number > 1 and reach < min(last, config.least_reach):
            return before
        better = fuse(distances, same, config.fusion)
        if better is None:
            break
        before, fusion = fusion, better
    return fusion


def link_to_cut(space: Space, cannot_link: I64, rule: str) -> Linked:
    """Average linkage of a fused distance up to its cut."""
    return agglomerate(space, np.full(len(space.left), CUT), cannot_link, rule)


def fused_space(spaces: list[Space], fusion: Fusion) -> Space:
    """The weighted sum of distances in units of its cut."""
    weights = (fusion.weights / max(fusion.cut, TINY)).tolist()
    fused = mixed_space(spaces[0], spaces[1], (weights[0], weights[1]))
    for space, weight in zip(spaces[2:], weights[2:], strict=True):
        fused = mixed_space(fused, space, (1.0, weight))
    return fused


def drawn_rows(tracks: int, most: int) -> I64:
    """Rows 0..tracks-1, rising; of more than `most`, so many drawn at random."""
    if tracks <= most:
        return np.arange(tracks)
    drawn = np.random.default_rng(0).choice(tracks, most, replace=False)
    return np.sort(drawn).astype(np.int64)


def part_of(space: Space, rows: I64) -> Space:
    """The distances of some tracks."""
    sides = Sides(space.left, space.right).rows(rows)
    return Space(sides.left, sides.right, space.offset)


def pairs_among(pairs: I64, rows: I64, tracks: int) -> I64:
    """Pairs (c, 2) with both tracks in rising `rows`, as places there."""
    place = np.full(tracks, -1, np.int64)
    place[rows] = np.arange(len(rows))
    moved = place[pairs]
    return np.asarray(moved[(moved >= 0).all(axis=1)], dtype=np.int64)
