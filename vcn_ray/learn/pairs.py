"""Positive pairs of crops (METHOD 2.2): within a track, or from two tracks that match (METHOD 2.5).

It matches tracks by `core`'s rules on what the student makes of them, and samples pairs of rows.
It knows no pictures and trains nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vcn_ray.core.cut import CutConfig, cut_title, pairs_among
from vcn_ray.core.match import match_tracks as match_gaussian
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import ShapeError
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.heads import Student
from vcn_ray.learn.outputs import CropCues, CropEmbeddings, track_outputs
from vcn_ray.records import I64, Mask, TitleCrops

EACH_WAY = 16
"""Neighbours on either side that a track of a large group is paired with, instead of with all."""


class PairSampler:
    """Samples the pairs of an epoch, from a seed (METHOD 2.2).

    Args:
        track: (m,) track of each crop, 0..k-1; a track may be without crops.
        matches: (p, 2) pairs of distinct tracks that are likely one person, in any order.
        trained: (m,) true for a crop that may come first in a pair; None: all.
    """

    def __init__(self, track: I64, matches: I64, trained: Mask | None = None) -> None:
        count = int(track.max()) + 1 if len(track) else 0
        self._track = torch.from_numpy(track)
        order = np.argsort(track, kind="stable")
        self._order = torch.from_numpy(order)  # crops by track
        used = np.ones(len(track), np.bool_) if trained is None else trained
        self._first = torch.from_numpy(np.flatnonzero(used))
        self._crops = torch.from_numpy(np.bincount(track, minlength=count))
        self._start = self._crops.cumsum(0) - self._crops
        self._place = torch.empty_like(self._order)  # of each crop in `order`
        self._place[self._order] = torch.arange(len(order))
        both = np.concatenate([matches, matches[:, ::-1]]).reshape(-1, 2)
        both = both[np.argsort(both[:, 0], kind="stable")]
        self._partner = torch.from_numpy(both[:, 1].copy())  # matched tracks by track
        self._partners = torch.from_numpy(np.bincount(both[:, 0], minlength=count))
        self._first_partner = self._partners.cumsum(0) - self._partners

    def epoch(
        self,
        generator: torch.Generator,
        matched_fraction: float = 0.5,
        crops_per_track: int | None = None,
    ) -> Tensor:
        """Sample the pairs of one epoch: every trained crop comes first in one, in random order.

        Args:
            generator: On the CPU.
            matched_fraction: Chance that the second crop comes from a matched track, if any.
            crops_per_track: Maximum number of first crops per track, at random; None: all.

        Returns:
            (p, 2) int64 crop rows. The only crop of a track is paired with itself.
        """
        first = self._first[torch.randperm(len(self._first), generator=generator)]
        if crops_per_track is not None:
            first = self._thin(first, crops_per_track)
        track = self._track[first]
        own = self._draw(self._crops[track] - 1, generator)  # steps round the ring of its track
        place = self._place[first] - self._start[track] + 1 + own
        place = torch.where(self._crops[track] > 1, place % self._crops[track], 0)
        second_place = self._start[track] + place
        if len(self._partner):
            pick = self._first_partner[track] + self._draw(self._partners[track], generator)
            other = self._partner[pick.clamp(max=len(self._partner) - 1)]
            elsewhere = self._start[other] + self._draw(self._crops[other], generator)
            matched = torch.rand(len(first), generator=generator) < matched_fraction
            matched &= (self._partners[track] > 0) & (self._crops[other] > 0)
            second_place = torch.where(matched, elsewhere, second_place)
        return torch.stack([first, self._order[second_place]], dim=1)

    def _thin(self, rows: Tensor, limit: int) -> Tensor:
        """Return the first `limit` rows of each track, in the given order."""
        by_track = torch.argsort(self._track[rows], stable=True)
        rank = torch.empty_like(rows)
        rank[by_track] = torch.arange(len(rows)) - self._start[self._track[rows[by_track]]]
        return rows[rank < limit]

    @staticmethod
    def _draw(below: Tensor, generator: torch.Generator) -> Tensor:
        """Draw an integer in 0..n-1 for each n of `below`; 0 where n is 0."""
        uniform = torch.rand(len(below), generator=generator, dtype=torch.float64)
        return (uniform * below).long()


def draw_views(pairs: Tensor, views: int, generator: torch.Generator) -> Tensor:
    """Draw a view for each side of (p, 2) pairs; a crop paired with itself gets two views."""
    drawn = torch.randint(views, pairs.shape, generator=generator)
    same = (pairs[:, 0] == pairs[:, 1]) & (drawn[:, 0] == drawn[:, 1])
    drawn[:, 1] = torch.where(same, (drawn[:, 1] + 1) % views, drawn[:, 1])
    return drawn


class Matches(NamedTuple):
    """Tracks to train on as if they were one."""

    pairs: I64  # (p, 2) track rows, each pair once
    groups: I64 | None  # (k,) group of each track, where the matcher gives a partition

    def agreement(self, other: Matches) -> float:
        """Return the Jaccard index of the pairs matched by both, 0..1 (METHOD 2.6)."""
        if self.groups is None or other.groups is None:
            return pair_agreement(self.pairs, other.pairs)
        # `pairs` lists only some of the pairs that a large group holds together.
        return partition_agreement(self.groups, other.groups)

    def all_apart(self) -> bool:
        """Whether no two tracks are one person, as far as the matcher can tell."""
        if self.groups is None:
            return not len(self.pairs)
        return len(np.unique(self.groups)) == len(self.groups)


class Augmented(NamedTuple):
    """Augmented views of the crops that are trained on, by the pretrained encoder."""

    embeddings: Tensor  # (v, r, d) unit
    track: I64  # (r,)


class RatedTitle(NamedTuple):
    """A title, and how far its crops and tracks can be trusted."""

    crops: TitleCrops
    cues: CropCues
    core: Mask  # (k,) true for a track that is trained on
    prior: FacePrior | None  # of the pack


NO_MATCHES = Matches(np.zeros((0, 2), np.int64), None)


def find_matches(
    student: Student,
    crops: CropEmbeddings,
    augmented: Augmented,
    title: RatedTitle,
    config: AdaptConfig,
    cut: CutConfig,
) -> Matches:
    """Match tracks that are likely one person (METHOD 2.5).

    Args:
        student: In its current state.
        crops: Embeddings of the title's crops.
        augmented: Views for "gaussian".
        title: Its tracks, which of them share a frame, and which can be trusted.
        config: The matcher, and the settings of "gaussian".
        cut: The settings of "partition".
    """
    if config.matcher == "partition":
        outputs = track_outputs(student, crops, title.cues, title.crops.track)
        core = np.flatnonzero(title.core)
        linked = pairs_among(title.crops.cannot_link, core, len(outputs))
        known = title.crops.constraints.among(core, len(outputs))
        title_cut = cut_title(outputs[core], linked, cut, "match", title.prior, known)
        found = title_cut.partition.label
        # All tracks in one group: one person, who needs no matches, or an encoder that sees none.
        pairs = core[pairs_of_groups(found)] if found.any() else NO_MATCHES.pairs
        groups = len(core) + np.arange(len(outputs))  # the others match nobody
        groups[core] = found
        return Matches(pairs, groups)
    if config.matcher == "gaussian":
        # Augmented views match three times as many tracks as plain crops do, as purely.
        # The paper does not use which tracks share a frame.
        rows = augmented.embeddings.flatten(0, 1).cpu().numpy()
        track = np.tile(augmented.track, len(augmented.embeddings))
        found = match_gaussian(rows, track, config.match)
        return Matches(found[title.core[found].all(axis=1)], None)
    return NO_MATCHES


def pairs_of_groups(label: I64) -> I64:
    """Return the pairs of tracks with one label.

    In a group of more than 2 EACH_WAY + 1 tracks, each is paired with its nearest on a ring in
    order of rows, so that the number of pairs is linear in that of tracks.

    Args:
        label: (k,) group of each track.

    Returns:
        (p, 2) track rows, each pair once.
    """
    order = np.argsort(label, kind="stable")
    parts = [np.zeros((0, 2), np.int64)]
    for group in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        size = len(group)
        for step in range(1, min(EACH_WAY, size // 2) + 1):
            # Half way round an even ring a step gives the same pair from both ends.
            first = group[: size // 2] if 2 * step == size else group
            parts.append(np.stack([first, np.roll(group, -step)[: len(first)]], axis=1))
    return np.concatenate(parts)


def partition_agreement(left: I64, right: I64) -> float:
    """Return the Jaccard index of the pairs of rows that two partitions hold together.

    It counts the sizes of groups and of their overlaps, so it takes time for rows, not for pairs.

    Args:
        left: (k,) group of each row.
        right: (k,) group of each row in the other partition.

    Returns:
        The pairs together in both over those together in either, 0..1; 1 where neither holds two
        rows together.

    Raises:
        ShapeError: The two differ in length.
    """
    if left.shape != right.shape or left.ndim != 1:
        raise ShapeError(f"partitions need one shape (k,), got {left.shape}, {right.shape}")
    groups, left = np.unique(left, return_inverse=True)
    right = np.unique(right, return_inverse=True)[1]
    both = _pairs_inside(right * len(groups) + left)  # cells of the contingency table
    either = _pairs_inside(left) + _pairs_inside(right) - both
    return both / either if either else 1.0


def pair_agreement(left: I64, right: I64) -> float:
    """Return the Jaccard index of two lists of pairs of rows; 1 where both are empty.

    Args:
        left: (p, 2) rows, each pair once and in either order.
        right: (q, 2) likewise.
    """
    rows = max(left.max(initial=0), right.max(initial=0)) + 1
    keys = [np.sort(pairs, axis=1) @ np.array([rows, 1]) for pairs in (left, right)]
    both = len(np.intersect1d(keys[0], keys[1], assume_unique=True))
    either = len(left) + len(right) - both
    return both / either if either else 1.0


def _pairs_inside(label: I64) -> int:
    """Count the pairs of rows with one label; Python's integers do not overflow."""
    sizes = np.unique(label, return_counts=True)[1]
    return sum(size * (size - 1) // 2 for size in sizes.tolist())
