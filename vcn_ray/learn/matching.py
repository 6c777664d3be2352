"""Which tracks are likely one person, between two rounds of training (METHOD 2.5).

It puts what the student says of the tracks before `core`'s functions; it trains nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vcn_ray.core.cut import cut_title
from vcn_ray.core.match import match_tracks as match_gaussian
from vcn_ray.learn.agreement import pair_agreement, partition_agreement
from vcn_ray.learn.outputs import CropEmbeddings, Student, track_outputs
from vcn_ray.learn.settings import FinetuneConfig, TitleCrops
from vcn_ray.records import I64

EACH_WAY = 16
"""A track of a large group is paired with so many on either side of it, not with all."""


class Matches(NamedTuple):
    """Tracks to train on as if they were one."""

    pairs: I64  # (p, 2) track rows, each pair once
    groups: I64 | None  # (k,) group of each track, where the matcher gives a partition

    def agreement(self, other: Matches) -> float:
        """Matched pairs in both, as a share of those in either, 0..1 (METHOD 2.6)."""
        if self.groups is None or other.groups is None:
            return pair_agreement(self.pairs, other.pairs)
        # The pairs of a large group are a part of those that it holds together.
        return partition_agreement(self.groups, other.groups)


NO_MATCHES = Matches(np.zeros((0, 2), np.int64), None)


def find_matches(
    student: Student, crops: CropEmbeddings, title: TitleCrops, config: FinetuneConfig
) -> Matches:
    """Pairs of tracks that are likely one person (METHOD 2.5).

    Args:
        student: As far as it is trained.
        crops: Embeddings of the title's crops.
        title: Its tracks, and which of them cannot be one person.
        config: Which matcher, and its settings.
    """
    if config.matcher == "partition":
        unrated = np.zeros(len(title.track), np.float32)
        outputs = track_outputs(student, crops, unrated, title.track)
        groups = cut_title(outputs, title.cannot_link, config.cut, "match").linked.label
        # All tracks in one group: one person, who needs no matches, or an encoder that sees none.
        pairs = pairs_of_groups(groups) if groups.any() else NO_MATCHES.pairs
        return Matches(pairs, groups)
    if config.matcher == "gaussian":
        # Over augmented views: they match three times as many tracks as plain crops, as purely.
        # The paper does not use which tracks share a frame.
        rows = crops.augmented.flatten(0, 1).cpu().numpy()
        track = np.tile(title.track, len(crops.augmented))
        return Matches(match_gaussian(rows, track, NO_MATCHES.pairs, config.match), None)
    return NO_MATCHES


def pairs_of_groups(label: I64) -> I64:
    """Pairs of tracks with one label.

    In a group of more than 2 EACH_WAY + 1, each track is paired with its nearest on a ring in order
    of rows, so that the pairs stay linear in the tracks.

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
