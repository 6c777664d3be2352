"""Which tracks are one person (METHOD 4), by the default rule or by the paper's letter.

It chooses the rule, leaves out the tracks that quality has ruled out, and says how sure each
place is. It does not know frames or faces: what shares a frame comes in as pairs of tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from vcn_ray.core.closure import close
from vcn_ray.core.cooccurrence import broken_share
from vcn_ray.core.cut import (
    CUT,
    LEARNING_TRACKS,
    CutConfig,
    cut_title,
    drawn_rows,
    link_to_cut,
    pairs_among,
    part_of,
)
from vcn_ray.core.linkage import Linked, Space
from vcn_ray.core.spaces import cosine_space
from vcn_ray.core.vectors import Array, check_pairs, group_sums, on_host, row_blocks
from vcn_ray.errors import ConfigError, ShapeError
from vcn_ray.records import F32, F64, I64, Clustering, Mask, TrackOutputs

UNKNOWN = -1
"""Label of a track outside every cluster."""

BROKEN_SHARE = 0.02
"""Share of cannot-link pairs that a cut without the veto may join before the result warns of it."""

ORTHOGONAL = 1.0
"""Cosine distance of unrelated tracks in the head's centred space."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """How tracks become people. One setting for every title."""

    rule: Literal["adaptive", "paper"] = "adaptive"  # paper: METHOD 4.1-4.6 to the letter
    cut: CutConfig = field(default_factory=CutConfig)  # of the rule "adaptive"

    def __post_init__(self) -> None:
        if self.rule not in ("adaptive", "paper"):
            raise ConfigError(f"rule must be 'adaptive' or 'paper', got {self.rule!r}")


class _Decision(NamedTuple):
    linked: Linked
    space: Space  # in which confidence is measured
    cut: float  # distance of unrelated tracks there
    warnings: tuple[str, ...] = ()


def cluster_tracks(
    outputs: TrackOutputs,
    valid: Mask,
    cannot_link: I64,
    config: ClusterConfig,
    like: Array | None = None,
) -> Clustering:
    """Cluster the tracks of a title.

    "adaptive" cuts an average linkage at one place for the whole title (see `cut`), and never
    puts two tracks that cannot link in one cluster. "paper" follows METHOD 4 and warns of such
    pairs.

    Args:
        outputs: What the adapted student says of k tracks.
        valid: (k,) false for a track that stays outside every cluster (METHOD 3.2).
        cannot_link: (c, 2) pairs of tracks that share a frame, so cannot be one person.
        config: The rule.
        like: An array in whose namespace and on whose device pairs are compared; None: numpy.

    Returns:
        Labels by first track, merges by track row, and a confidence for each track: 0 where
        another cluster is as near as its own, towards 1 where its own is far nearer (see
        `confidence`).

    Raises:
        ShapeError: Arrays do not belong together.
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
    decision = _decide(_subset(outputs, rows, config), pairs, config, like)
    label[rows] = decision.linked.label
    sure[rows] = confidence(decision.space, decision.linked.label, decision.cut)
    merges = tuple(
        replace(merge, left=int(rows[merge.left]), right=int(rows[merge.right]))
        for merge in decision.linked.merges
    )
    return Clustering(label, sure, merges, decision.warnings)


def _subset(outputs: TrackOutputs, rows: I64, config: ClusterConfig) -> TrackOutputs:
    """What is known of some tracks: P and Q, the widest parts, only where the rule looks at them.

    Of 100,000 tracks each of them takes 0.4 GB.
    """
    chosen: dict[str, Any] = {}
    for part in fields(outputs):
        value = getattr(outputs, part.name)
        if part.name in ("teacher", "student") and config.rule == "adaptive":
            value = value[:, :0]
        if isinstance(value, np.ndarray) and part.name != "centre" and len(rows) < len(outputs):
            value = value[rows]
        chosen[part.name] = value
    return TrackOutputs(**chosen)


def _decide(
    outputs: TrackOutputs, cannot_link: I64, config: ClusterConfig, like: Array | None
) -> _Decision:
    if config.rule == "paper":
        linked = close(outputs, "closure", like)
        share = broken_share(linked.label, cannot_link)
        space = cosine_space(outputs.output, like)
        return _Decision(linked, space, ORTHOGONAL, _broken(share, len(cannot_link), 0.0))
    title = cut_title(outputs, cannot_link, config.cut, "title_cut", like)
    copied = len(cannot_link) - len(title.apart)
    warnings = _free_warnings(title.space, title.apart) + _copied(copied)
    return _Decision(title.linked, title.space, CUT, warnings)


def _free_warnings(space: Space, cannot_link: I64) -> tuple[str, ...]:
    """What to say of the pairs that the same cut would join if they did not bar it.

    Of a large title, a part is clustered that holds as many of the pairs as it has room for.
    """
    drawn = cannot_link[drawn_rows(len(cannot_link), LEARNING_TRACKS // 2)]
    tracks = len(space.left)
    rows = np.unique(drawn) if tracks > LEARNING_TRACKS else np.arange(tracks)
    pairs = pairs_among(drawn, rows, tracks)
    free = link_to_cut(part_of(space, rows), np.zeros((0, 2), np.int64), "")
    return _broken(broken_share(free.label, pairs), len(pairs), BROKEN_SHARE)


def _copied(pairs: int) -> tuple[str, ...]:
    if not pairs:
        return ()
    return (f"seen_twice: {pairs} pairs of tracks in one frame look like one face, as in a mirror",)


def _broken(share: float, pairs: int, allowed: float) -> tuple[str, ...]:
    if share <= allowed:
        return ()
    counts = f"{round(share * pairs)} of {pairs}"
    return (f"over_merging: {counts} pairs of tracks in one frame look like one person",)


def confidence(space: Space, label: I64, cut: float) -> F32:
    """How much nearer each track is to its own cluster than to the nearest other one.

    With a = mean distance to the other tracks of its cluster (the cut, if there are none) and b
    = least mean distance to another cluster (the cut, if there is none): `(b - a) / max(a, b)`,
    a silhouette, clipped to [0, 1]. A title of one track leaves nothing to doubt: 1.

    Args:
        space: Distances of k tracks.
        label: (k,) their clusters, 0..n-1.
        cut: Distance up to which tracks are taken as one person.
    """
    if len(label) == 1:
        return np.ones(1, np.float32)
    size = np.bincount(label)
    right = on_host(space.right)
    left = right if space.right is space.left else on_host(space.left)
    means = group_sums(right, label, len(size)) / size[:, None]
    own, other = np.full(len(label), cut), np.full(len(label), cut)
    mates = size[label] - 1
    for rows in row_blocks(len(label), len(size)):
        products = left[rows] @ means.T
        mine = (np.arange(rows.stop - rows.start), label[rows])
        itself = np.einsum("kf,kf->k", left[rows], right[rows])
        inside = products[mine] * size[label[rows]] - itself
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
