"""Which tracks are one person (METHOD 4): by the default rule, or by the paper's letter.

It applies the rule to the tracks of sufficient quality, and rates the confidence of each label. It
knows neither frames nor faces: tracks that share a frame come in as pairs.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Literal, NamedTuple

import numpy as np
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.core.closure import close
from vcn_ray.core.cut import (
    CUT,
    LEARNING_TRACKS,
    CutConfig,
    cut_title,
    pairs_among,
    sample_rows,
)
from vcn_ray.core.distance import Space, cosine_space
from vcn_ray.core.linkage import CannotLink, Partition, agglomerate
from vcn_ray.core.vectors import check_pairs, group_sums, row_blocks
from vcn_ray.errors import ShapeError
from vcn_ray.records import F32, F64, I64, Clustering, Mask, TrackOutputs

UNKNOWN = -1
"""Label of a track outside every cluster."""

MAX_BROKEN_FRACTION = 0.02
"""Fraction of cannot-link pairs that the cut may join, were it free to, before a warning."""

ORTHOGONAL = 1.0
"""Cosine distance of unrelated tracks in the head's centred space."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClusterConfig:
    """How tracks become people. One setting for every title."""

    rule: Literal["adaptive", "paper"] = "adaptive"  # paper: METHOD 4.1-4.6 to the letter
    cut: CutConfig = field(default_factory=CutConfig)  # for the rule "adaptive"


class _Decision(NamedTuple):
    partition: Partition
    space: Space  # in which confidence is measured
    cut: float  # distance of unrelated tracks there
    warnings: tuple[str, ...] = ()


def cluster_tracks(
    outputs: TrackOutputs, valid: Mask, cannot_link: I64, config: ClusterConfig
) -> Clustering:
    """Cluster the tracks of a title.

    "adaptive" cuts an average linkage at one place for the whole title (see `cut_title`), and never
    puts two tracks that cannot link in one cluster. "paper" follows METHOD 4 (see `close`), which
    ignores such pairs, and warns if it joins any.

    Args:
        outputs: What the adapted student gives for k tracks.
        valid: (k,) false for a track that stays outside every cluster (METHOD 3.2).
        cannot_link: (c, 2) pairs of tracks that share a frame, so are two people.
        config: The rule.

    Returns:
        Labels numbered by first track, merges by track row, and the confidence of each track: 0
        where another cluster is as close as its own, near 1 where its own is far closer (see
        `confidence`).

    Raises:
        ShapeError: The arrays do not belong together.
    """
    if valid.shape != (len(outputs),):
        raise ShapeError(f"{len(outputs)} tracks need as many marks, got {valid.shape = }")
    check_pairs(cannot_link, len(outputs))
    rows = np.flatnonzero(valid)
    label = np.full(len(outputs), UNKNOWN, np.int64)
    sure = np.zeros(len(outputs), np.float32)
    if not len(rows):
        return Clustering(label, sure, ())
    pairs = pairs_among(cannot_link, rows, len(outputs))
    decision = _decide(_needed(outputs, rows, config), pairs, config)
    label[rows] = decision.partition.label
    sure[rows] = confidence(decision.space, decision.partition.label, decision.cut)
    merges = tuple(
        replace(merge, left=int(rows[merge.left]), right=int(rows[merge.right]))
        for merge in decision.partition.merges
    )
    return Clustering(label, sure, merges, decision.warnings)


def _needed(outputs: TrackOutputs, rows: I64, config: ClusterConfig) -> TrackOutputs:
    """Return the outputs of some tracks, without P and Q (0.4 GB per 100,000 tracks) if unused."""
    if config.rule == "adaptive":
        outputs = replace(outputs, teacher=outputs.teacher[:, :0], student=outputs.student[:, :0])
    return outputs if len(rows) == len(outputs) else outputs[rows]


def _decide(outputs: TrackOutputs, cannot_link: I64, config: ClusterConfig) -> _Decision:
    if config.rule == "paper":
        partition = close(outputs, "closure")
        fraction = broken_fraction(partition.label, cannot_link)
        warnings = _over_merging(fraction, len(cannot_link), 0.0)
        return _Decision(partition, cosine_space(outputs.output), ORTHOGONAL, warnings)
    title = cut_title(outputs, cannot_link, config.cut, "title_cut")
    copies = len(cannot_link) - len(title.cannot_link)
    warnings = _free_warnings(title.space, title.cannot_link) + _seen_twice(copies)
    return _Decision(title.partition, title.space, CUT, warnings)


def _free_warnings(space: Space, cannot_link: I64) -> tuple[str, ...]:
    """Warn of cannot-link pairs that the same cut joins when it is free to.

    For large titles, check a subsample that contains as many cannot-link pairs as fit.
    """
    sample = cannot_link[sample_rows(len(cannot_link), LEARNING_TRACKS // 2)]
    tracks = len(space.rows)
    rows = np.unique(sample) if tracks > LEARNING_TRACKS else np.arange(tracks)
    pairs = pairs_among(sample, rows, tracks)
    free = agglomerate(space.take(rows), CUT, CannotLink.none(), "")
    return _over_merging(broken_fraction(free.label, pairs), len(pairs), MAX_BROKEN_FRACTION)


def broken_fraction(label: I64, pairs: I64) -> float:
    """Return the fraction of cannot-link pairs (c, 2) whose tracks share a label (k,)."""
    if not len(pairs):
        return 0.0
    return float((label[pairs[:, 0]] == label[pairs[:, 1]]).mean())


def _over_merging(fraction: float, pairs: int, allowed: float) -> tuple[str, ...]:
    if fraction <= allowed:
        return ()
    counts = f"{round(fraction * pairs)} of {pairs}"
    return (f"over_merging: {counts} pairs of tracks that share a frame look like one person",)


def _seen_twice(pairs: int) -> tuple[str, ...]:
    if not pairs:
        return ()
    text = f"{pairs} pairs of tracks that share a frame look like one face, as in a mirror"
    return (f"seen_twice: {text}",)


def confidence(space: Space, label: I64, cut: float) -> F32:
    """Rate how much closer each track is to its own cluster than to the nearest other one.

    With a = mean distance to the other tracks of its cluster (the cut, if there are none) and b =
    smallest mean distance to another cluster (the cut, if there is none), it is the silhouette
    `(b - a) / max(a, b)`, clipped to [0, 1]. The only track of a title has confidence 1.

    Args:
        space: Distances of k tracks.
        label: (k,) their clusters, 0..n-1.
        cut: Distance up to which tracks are taken as one person.
    """
    if len(label) == 1:
        return np.ones(1, np.float32)
    size = np.bincount(label)
    means = group_sums(space.rows, label, len(size)) / size[:, None]
    own, other = np.full(len(label), cut), np.full(len(label), cut)
    mates = size[label] - 1
    for rows in row_blocks(len(label), len(size)):
        block = space.rows[rows]
        products = block @ means.T
        mine = (np.arange(len(block)), label[rows])
        inside = products[mine] * size[label[rows]] - np.einsum("kf,kf->k", block, block)
        there = mates[rows] > 0
        own[rows][there] = (space.offset - inside / np.maximum(mates[rows], 1))[there]
        if len(size) > 1:
            products[mine] = -np.inf
            other[rows] = space.offset - products.max(axis=1)
    return _silhouette(np.maximum(own, 0), np.maximum(other, 0))


def _silhouette(own: F64, other: F64) -> F32:
    scale = np.maximum(np.maximum(own, other), np.finfo(np.float32).tiny)
    result: F32 = np.clip((other - own) / scale, 0, 1).astype(np.float32)
    return result
