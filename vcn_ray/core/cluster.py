"""Which tracks are one person (METHOD 4): by the default rule, or by the paper's letter.

It applies the rule to the tracks that can found a person, and lets others join them. It knows
neither frames nor faces: tracks that share a frame come in as pairs.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Literal, NamedTuple

import numpy as np
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT
from vcn_ray.core.closure import close
from vcn_ray.core.confidence import confidence, gather_evidence, own_distances
from vcn_ray.core.cut import CUT, CutConfig, TitleCut, cut_title, pairs_among
from vcn_ray.core.distance import Space, cosine_space
from vcn_ray.core.linkage import Partition
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import TINY, check_pairs, group_sums, renumber, row_blocks, unit_rows
from vcn_ray.errors import ShapeError
from vcn_ray.records import (
    F64,
    I64,
    NO_CONSTRAINTS,
    Clustering,
    Constraints,
    Merge,
    Tiers,
    TrackOutputs,
)

UNKNOWN = -1
"""Label of a track outside every cluster."""

UNRECOGNISABLE = "unrecognisable"
"""Why a track is in no cluster: it shows too little of a face."""

AMBIGUOUS = "ambiguous"
"""Why a track is in no cluster: it may be no face, and it is near nobody or near several."""

LOW_SCORE = "low_score"
"""Why a track is in no cluster: the detector hardly takes it for a face, and it looks like none."""

MAX_BROKEN_FRACTION = 0.02
"""Fraction of cannot-link pairs that look like two people and are one here, before a warning."""

JOIN_MARGIN = 0.1
"""A weak track joins a person only if every other person is so much more distant, in cosine."""

ORTHOGONAL = 1.0
"""Cosine distance of unrelated tracks in the head's centred space."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClusterConfig:
    """How tracks become people. One setting for every title."""

    rule: Literal["adaptive", "paper"] = "adaptive"  # paper: METHOD 4.1-4.6 to the letter
    cut: CutConfig = field(default_factory=CutConfig)  # for the rule "adaptive"


class _Decision(NamedTuple):
    partition: Partition
    space: Space  # in which the distances inside clusters are measured
    cut: float  # distance of unrelated tracks there
    warnings: tuple[str, ...] = ()


def cluster_tracks(
    outputs: TrackOutputs,
    tiers: Tiers,
    cannot_link: I64,
    config: ClusterConfig,
    prior: FacePrior | None = None,
    constraints: Constraints = NO_CONSTRAINTS,
) -> Clustering:
    """Cluster the tracks of a title.

    "adaptive" clusters the core tracks (see `cut_title`), and lets a weak one join a person that it
    clearly belongs to. "paper" follows METHOD 4 (see `close`), which ignores tracks that share a
    frame, and warns if it joins any.

    Args:
        outputs: What the adapted student gives for k tracks.
        tiers: Which tracks found people; junk stays outside every cluster (METHOD 3.2).
        cannot_link: (c, 2) pairs of tracks that share a frame, so are mostly two people.
        config: The rule.
        prior: Of the pack; None: only the title itself is known.
        constraints: What a reviewer says of the tracks; "paper" ignores it.

    Returns:
        Labels numbered by first track, merges by track row, and the confidence of each track: the
        probability that it is in the right person (see `core.confidence`).

    Raises:
        ShapeError: The arrays do not belong together.
    """
    if tiers.core.shape != (len(outputs),):
        raise ShapeError(f"{len(outputs)} tracks need as many tiers, got {tiers.core.shape}")
    check_pairs(cannot_link, len(outputs))
    tiers = _without(tiers, constraints.no_face)
    rows = np.flatnonzero(tiers.core)
    label = np.full(len(outputs), UNKNOWN, np.int64)
    distance = np.full(len(outputs), np.nan)
    merges: tuple[Merge, ...] = ()
    warnings: tuple[str, ...] = ()
    if len(rows):
        pairs = pairs_among(cannot_link, rows, len(outputs))
        known = constraints.among(rows, len(outputs))
        decision = _decide(_needed(outputs, rows, config), pairs, config, prior, known)
        label[rows] = decision.partition.label
        distance[rows] = own_distances(decision.space, decision.partition.label) / decision.cut
        merges = tuple(
            replace(merge, left=int(rows[merge.left]), right=int(rows[merge.right]))
            for merge in decision.partition.merges
        )
        warnings = decision.warnings
    weak = np.flatnonzero(~tiers.core & ~tiers.junk)
    if prior and config.rule == "adaptive" and len(weak) and len(rows):
        apart = np.concatenate([cannot_link, constraints.cannot])
        label[weak], distance[weak] = join_weak(outputs, label, weak, apart, prior)
        label = _by_first_track(label)
    inside, evidence = gather_evidence(
        label, distance, outputs.recognisability, outputs.score, prior
    )
    sure = np.zeros(len(outputs), np.float32)
    sure[inside] = confidence(evidence)
    return Clustering(
        label, sure, distance.astype(np.float32), merges, reasons(label, tiers), warnings
    )


def _without(tiers: Tiers, no_face: I64) -> Tiers:
    """Return the tiers with some tracks as junk."""
    if not len(no_face):
        return tiers
    core, junk = tiers.core.copy(), tiers.junk.copy()
    core[no_face], junk[no_face] = False, True
    return Tiers(core, junk, tiers.readable)


def reasons(label: I64, tiers: Tiers) -> tuple[str, ...]:
    """Say of each of k tracks why it is in no cluster; "" if it is in one."""
    reason = np.where(tiers.readable, AMBIGUOUS, UNRECOGNISABLE)
    reason = np.where(tiers.junk, LOW_SCORE, reason)
    return tuple(np.where(label == UNKNOWN, reason, "").tolist())


def join_weak(
    outputs: TrackOutputs, label: I64, weak: I64, cannot_link: I64, prior: FacePrior
) -> tuple[I64, F64]:
    """Let weak tracks join the people that they clearly belong to.

    A weak track joins the nearest person if it is as close as two good tracks of one person are,
    if every other person is far more distant, and if it shares no frame with that person. It
    changes no person: a ruined face is near many.

    Args:
        outputs: Of k tracks.
        label: (k,) the people of the core tracks; UNKNOWN for the others.
        weak: (w,) rows that may join.
        cannot_link: (c, 2) pairs of tracks that share a frame.
        prior: Of the pack.

    Returns:
        Labels (w,), UNKNOWN for those that stay outside; and their distances (w,) from the person
        they join, in units of the prior's cut, NaN likewise.
    """
    known = label != UNKNOWN
    rows = unit_rows(
        np.concatenate([unit_rows(outputs.pretrained), unit_rows(outputs.embedding)], axis=1)
    )
    weight = np.maximum(outputs.recognisability.astype(np.float64), TINY)[:, None]
    people = int(label.max()) + 1
    centroids = unit_rows(group_sums((rows * weight)[known], label[known], people))
    distance = 1 - rows[weak] @ centroids.T  # (w, p)
    place = np.full(len(label), -1)
    place[weak] = np.arange(len(weak))
    left, right = np.concatenate([cannot_link, cannot_link[:, ::-1]]).T
    together = (place[left] >= 0) & (label[right] != UNKNOWN)
    distance[place[left[together]], label[right[together]]] = np.inf
    nearest = distance.argmin(axis=1)
    best = distance[np.arange(len(weak)), nearest]
    distance[np.arange(len(weak)), nearest] = np.inf
    second = distance.min(axis=1, initial=1.0)
    joins = (best <= prior.cut) & (second - best >= JOIN_MARGIN)
    return np.where(joins, nearest, UNKNOWN), np.where(joins, best / prior.cut, np.nan)


def _by_first_track(label: I64) -> I64:
    """Number clusters by their first track; UNKNOWN stays."""
    result = label.copy()
    known = label != UNKNOWN
    result[known] = renumber(label[known])
    return result


def _needed(outputs: TrackOutputs, rows: I64, config: ClusterConfig) -> TrackOutputs:
    """Return the outputs of some tracks, without P and Q (0.4 GB per 100,000 tracks) if unused."""
    if config.rule == "adaptive":
        outputs = replace(outputs, teacher=outputs.teacher[:, :0], student=outputs.student[:, :0])
    return outputs if len(rows) == len(outputs) else outputs[rows]


def _decide(
    outputs: TrackOutputs,
    cannot_link: I64,
    config: ClusterConfig,
    prior: FacePrior | None,
    constraints: Constraints,
) -> _Decision:
    if config.rule == "paper":
        partition = close(outputs, "closure")
        fraction = broken_fraction(partition.label, cannot_link)
        warnings = _over_merging(fraction, len(cannot_link), 0.0)
        return _Decision(partition, cosine_space(outputs.output), ORTHOGONAL, warnings)
    title = cut_title(outputs, cannot_link, config.cut, "title_cut", prior, constraints)
    copies = len(cannot_link) - len(title.cannot_link)
    warnings = merged_warnings(title) + _seen_twice(copies)
    return _Decision(title.partition, title.space, CUT, warnings)


def merged_warnings(title: TitleCut) -> tuple[str, ...]:
    """Warn of tracks of one person that share a frame and look like two people.

    Tracks that share a frame and look alike are no reason: one of them may be a mirror or a screen.
    """
    pairs = title.cannot_link
    rows, label = title.space.rows, title.partition.label
    unlike = np.zeros(len(pairs), np.bool_)
    for part in row_blocks(len(pairs), rows.shape[1]):
        left, right = pairs[part].T
        distance = title.space.offset - np.einsum("cf,cf->c", rows[left], rows[right])
        unlike[part] = (label[left] == label[right]) & (distance >= CUT)
    fraction = float(unlike.mean()) if len(pairs) else 0.0
    return _over_merging(fraction, len(pairs), MAX_BROKEN_FRACTION)


def broken_fraction(label: I64, pairs: I64) -> float:
    """Return the fraction of cannot-link pairs (c, 2) whose tracks share a label (k,)."""
    if not len(pairs):
        return 0.0
    return float((label[pairs[:, 0]] == label[pairs[:, 1]]).mean())


def _over_merging(fraction: float, pairs: int, allowed: float) -> tuple[str, ...]:
    if fraction <= allowed:
        return ()
    counts = f"{round(fraction * pairs)} of {pairs}"
    return (f"over_merging: {counts} pairs of tracks that share a frame are one person here",)


def _seen_twice(pairs: int) -> tuple[str, ...]:
    if not pairs:
        return ()
    text = f"{pairs} pairs of tracks that share a frame look like one face, as in a mirror"
    return (f"seen_twice: {text}",)
