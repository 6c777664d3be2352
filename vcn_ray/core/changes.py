"""What changes a face without changing who it is, learned from clusters that a reviewer joined.

A reviewer who says that two clusters are one person shows a change that the encoder takes for
another person: a mask, other light, ten years. Where several people go through the same change, it
has directions of its own, and distances along them say nothing of who is seen. They are shrunk, as
relevant component analysis (Bar-Hillel et al. 2003) shrinks the spread within a person, so clusters
join that nobody has named. It chooses no clusters and knows no faces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vcn_ray.core.linkage import must_link_groups
from vcn_ray.core.vectors import TINY, group_sums, unit_rows
from vcn_ray.records import F32, F64, I64, TrackOutputs

MIN_CHANGES = 3
"""People in several clusters from which a change is learned; two may share one by chance."""

MAX_CHANGES = 64
"""Of more, those of the most tracks are enough, and each is left out once."""

MIN_GAIN = 0.03
"""By how much the clusters of a person must come closer, on average, by the changes of others."""

SURE_SDS = 1.0
"""And by how many standard errors of that average."""


class _Sides(NamedTuple):
    """A person whom clustering has in several clusters: the rows of its tracks in each."""

    rows: tuple[I64, ...]

    @property
    def tracks(self) -> int:
        return sum(map(len, self.rows))


def may_show_changes(must_link: I64, tracks: int) -> bool:
    """Whether so many people have tracks (m, 2) that must link that they may share a change."""
    group = must_link_groups(must_link, tracks)
    return int((np.bincount(group) > 1).sum()) >= MIN_CHANGES


def discount_changes(outputs: TrackOutputs, label: I64, must_link: I64) -> TrackOutputs:
    """Shrink the directions in which clusters of one person differ, where they are common.

    Args:
        outputs: Of k tracks.
        label: (k,) their clusters without constraints.
        must_link: (m, 2) tracks of one person.

    Returns:
        The same with other embeddings; unchanged where people have too few changes in common.
    """
    people = _people_in_parts(label, must_link)
    if len(people) < MIN_CHANGES:
        return outputs
    return replace(
        outputs,
        pretrained=_discount(outputs.pretrained, label, people),
        embedding=_discount(outputs.embedding, label, people),
    )


def _people_in_parts(label: I64, must_link: I64) -> list[_Sides]:
    """The people whose tracks must link and are in several clusters, most tracks first."""
    group = must_link_groups(must_link, len(label))
    order = np.lexsort((label, group))
    edges = np.flatnonzero(np.diff(group[order])) + 1
    people = []
    for rows in np.split(order, edges):
        parts = np.split(rows, np.flatnonzero(np.diff(label[rows])) + 1)
        if len(parts) > 1:
            people.append(_Sides(tuple(parts)))
    people.sort(key=lambda person: -person.tracks)
    return people[:MAX_CHANGES]


def _discount(embedding: F32, label: I64, people: list[_Sides]) -> F32:
    """Embeddings (k, d) with common changes shrunk; unchanged where none is common."""
    rows = unit_rows(embedding.astype(np.float64))
    size = np.bincount(label)
    means = group_sums(rows, label, len(size)) / size[:, None]
    inside = np.square(rows - means[label]).sum() / max(len(rows) - len(size), 1) / rows.shape[1]
    sides = [np.stack([rows[part].mean(axis=0) for part in each.rows]) for each in people]
    changes = [_spread(each) for each in sides]
    clusters = unit_rows(means)
    gains = np.array(
        [
            _gain(each, clusters, Shrinking.learn(changes[:at] + changes[at + 1 :], inside))
            for at, each in enumerate(sides)
        ]
    )
    error = float(gains.std(ddof=1)) / np.sqrt(len(gains))
    if gains.mean() <= max(MIN_GAIN, SURE_SDS * error):
        return embedding
    shrunk: F32 = Shrinking.learn(changes, inside)(rows).astype(np.float32)
    return shrunk


def _spread(sides: F64) -> F64:
    """How the sides (s, d) of a person differ: (s, d), whose squares sum to their variance."""
    spread: F64 = (sides - sides.mean(axis=0)) / np.sqrt(len(sides) - 1)
    return spread


class Shrinking(NamedTuple):
    """Shrinks unit vectors along some directions."""

    directions: F64  # (r, d) orthonormal
    factor: F64  # (r,) 0..1

    @classmethod
    def learn(cls, changes: list[F64], inside: float) -> Shrinking:
        """From the spread of each person, and the variance inside clusters by dimension."""
        together = np.concatenate(changes) / np.sqrt(len(changes))
        _, size, directions = np.linalg.svd(together, full_matrices=False)
        return cls(directions, 1 / np.sqrt(1 + np.square(size) / max(inside, TINY)))

    def __call__(self, rows: F64) -> F64:
        """Unit vectors (n, d), shrunk and of unit length again."""
        along = rows @ self.directions.T
        shrunk: F64 = unit_rows(rows + (along * (self.factor - 1)) @ self.directions)
        return shrunk


def _gain(sides: F64, clusters: F64, shrink: Shrinking) -> float:
    """By how much a person's sides come closer to each other, relative to clusters of all people.

    Args:
        sides: (s, d) means of the sides.
        clusters: (c, d) unit means of all clusters.
        shrink: Learned from other people.

    Returns:
        The logarithm of the ratio of distances, over 0 where they come closer.
    """
    before, after = (
        np.log(max(_mean_distance(of), TINY)) - np.log(max(_mean_distance(all_of), TINY))
        for of, all_of in ((unit_rows(sides), clusters), (shrink(sides), shrink(clusters)))
    )
    return float(before - after)


def _mean_distance(rows: F64) -> float:
    """Mean cosine distance of all pairs of unit vectors (n, d)."""
    total = np.square(rows.sum(axis=0)).sum() - len(rows)
    return float(1 - total / max(len(rows) * (len(rows) - 1), 1))
