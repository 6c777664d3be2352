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

from vcn_ray.core.cooccurrence import view_distance
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
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        if self.view_factor <= 0:
            raise ConfigError(f"the cut needs view_factor > 0, got {self.view_factor}")


class TitleCut(NamedTuple):
    """What cut_title returns."""

    linked: Linked
    space: Space  # the fused distance, cut at CUT


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
    by what the partition before shows of them (see `evidence`), until the partition stays.

    Args:
        outputs: k tracks.
        cannot_link: (c, 2) pairs of tracks that are never in one cluster.
        config: How the cut is learned.
        rule: Name of the rule for the record of merges; distances in it are in units of the cut.
        like: An array in whose namespace and on whose device pairs are compared; None: numpy.
    """
    known = (outputs.untuned, outputs.embedding, outputs.output)
    spaces = [cosine_space(rows, like) for rows in known]
    first = Fusion(np.array([1.0, 0.0, 0.0]), config.view_factor * view_distance(outputs))
    rows = drawn_rows(len(outputs), LEARNING_TRACKS)
    some = [part_of(space, rows) for space in spaces]
    fusion = learn_fusion(some, first, pairs_among(cannot_link, rows, len(outputs)), config)
    space = fused_space(spaces, fusion)
    return TitleCut(link_to_cut(space, cannot_link, rule), space)


def learn_fusion(spaces: list[Space], first: Fusion, cannot_link: I64, config: CutConfig) -> Fusion:
    """Cut, learn from the partition, and cut anew, until a partition comes back.

    Args:
        spaces: s distances of k tracks.
        first: What the first partition is cut by.
        cannot_link: (c, 2) pairs of tracks that are never in one cluster.
        config: How to learn.

    Returns:
        What the last partition was cut by: the first one, where it shows nothing.
    """
    fusion, distances = first, pair_distances(spaces)
    seen: set[bytes] = set()
    for _ in range(MOST_ROUNDS):
        label = link_to_cut(fused_space(spaces, fusion), cannot_link, "").label
        if label.tobytes() in seen:
            break
        seen.add(label.tobytes())
        better = fuse(distances, same_pairs(label), config.fusion)
        if better is None:
            break
        fusion = better
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
