"""Positive pairs of crops (METHOD 2.2): within a track, or from two matched tracks.

It knows tracks and matches as numbers only; no pictures, no outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vcn_ray.records import I64


class PairSampler:
    """Draws the pairs of an epoch, from a seed.

    Args:
        track: (m,) track of each crop, 0..k-1; a track may be without crops.
        matches: (p, 2) pairs of distinct tracks that are likely one person, in any order.
    """

    def __init__(self, track: I64, matches: I64) -> None:
        count = int(track.max()) + 1 if len(track) else 0
        self._track = torch.from_numpy(track)
        order = np.argsort(track, kind="stable")
        self._order = torch.from_numpy(order)  # crops by track
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
        matched_share: float = 0.5,
        crops_per_track: int | None = None,
    ) -> Tensor:
        """Pairs of one epoch: every crop is once the first of a pair, in random order.

        Args:
            generator: On the CPU.
            matched_share: Chance that the second comes from a matched track, where there is one.
            crops_per_track: At most so many first crops a track, drawn at random; None: all.

        Returns:
            (p, 2) crop rows. A crop of a track without another crop is paired with itself.
        """
        first = torch.randperm(len(self._track), generator=generator)
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
            matched = torch.rand(len(first), generator=generator) < matched_share
            matched &= (self._partners[track] > 0) & (self._crops[other] > 0)
            second_place = torch.where(matched, elsewhere, second_place)
        return torch.stack([first, self._order[second_place]], dim=1)

    def _thin(self, rows: Tensor, limit: int) -> Tensor:
        """The first `limit` rows of each track, in the order given."""
        by_track = torch.argsort(self._track[rows], stable=True)
        rank = torch.empty_like(rows)
        rank[by_track] = torch.arange(len(rows)) - self._start[self._track[rows[by_track]]]
        return rows[rank < limit]

    @staticmethod
    def _draw(below: Tensor, generator: torch.Generator) -> Tensor:
        """Whole numbers from 0 up to, without, each of `below`; 0 where that is 0."""
        share = torch.rand(len(below), generator=generator, dtype=torch.float64)
        return (share * below).long()


def draw_views(pairs: Tensor, views: int, generator: torch.Generator) -> Tensor:
    """A random view for each side of (p, 2) pairs; a crop paired with itself gets two views."""
    drawn = torch.randint(views, pairs.shape, generator=generator)
    same = (pairs[:, 0] == pairs[:, 1]) & (drawn[:, 0] == drawn[:, 1])
    drawn[:, 1] = torch.where(same, (drawn[:, 1] + 1) % views, drawn[:, 1])
    return drawn
