"""Where the face of a track changes to another person's, seen in its crops.

A tracker follows boxes. Where people cross, at a missed cut and in a dissolve it can go over from
one person to another. It knows no networks and no boxes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from vcn_ray.core.prior import FacePrior
from vcn_ray.core.quality import QualityConfig
from vcn_ray.core.vectors import TINY, Floats
from vcn_ray.records import F32, F64, I64, Constraints, TitleCrops

MIN_RUN = 3
"""Recognisable crops of each person that a split needs: of two, one blurred crop is a half."""

SPLIT_SDS = 3.0
"""The means of two runs are two people's if their cosine is at most so many standard deviations
above the mean of strangers. A cut between tracks lies four above it: one person who turns the head
is farther from himself than strangers ever need to be to stay apart."""


class Run(NamedTuple):
    """A run of crops that is unlike the rest of its track."""

    start: int  # first crop
    end: int  # one past the last
    cosine: float  # of its mean and the mean of the rest; 2 where no run is possible


def find_parts(embeddings: F32, track: I64, recognisability: F32, prior: FacePrior) -> I64:
    """Find the parts of tracks that show different people, one after the other.

    Crops that cannot be recognised decide nothing; they belong to the part before them.

    Args:
        embeddings: (m, d) unit, pretrained encoder.
        track: (m,) track of each crop; the crops of one track are in order of time.
        recognisability: (m,) in [0, 1], by `core.prior`.
        prior: Of the pack: how alike strangers are.

    Returns:
        (m,) number of each crop's part of its track: 0, 1, ... in order of time.
    """
    limit = prior.stranger_cosine + SPLIT_SDS * prior.stranger_sd
    readable = recognisability >= QualityConfig().min_recognisability
    part = np.zeros(len(track), np.int64)
    order = np.argsort(track, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(track[order])) + 1):
        seen = rows[readable[rows]]
        starts = change_points(embeddings[seen], recognisability[seen], limit)
        part[rows] = np.searchsorted(seen[starts], rows, side="right")
    return part


def change_points(rows: Floats, weight: Floats, limit: float) -> I64:
    """Find where another person begins in a sequence of crops of one track.

    It is circular binary segmentation (Olshen et al. 2004) with the cosine as the statistic: the
    run that is most unlike the rest is cut out where it is as unlike as strangers are, and what is
    left and right of it is searched again. So somebody who comes in between is found, too.

    Args:
        rows: (n, d) unit, in order of time.
        weight: (n,) above 0.
        limit: Cosine up to which two means are of two people. Neighbours inside the parts must be
            more alike than that on average, or nothing is said: then strangers of this encoder are
            as alike as its faces of one person.

    Returns:
        (c,) numbers of the first crops of further people, rising.
    """
    found = np.array(_change_points(rows, weight, limit), np.int64)
    inside = np.ones(max(len(rows) - 1, 0), np.bool_)
    inside[found - 1] = False
    neighbours = (rows[:-1] * rows[1:]).sum(axis=1)[inside]
    return found if len(found) and neighbours.mean() > limit else found[:0]


def _change_points(rows: Floats, weight: Floats, limit: float) -> list[int]:
    run = oddest_run(rows, weight)
    if run.cosine > limit:
        return []
    inner = [at for at in (run.start, run.end) if 0 < at < len(rows)]
    deeper = [
        start + at
        for start, end in pairwise([0, *inner, len(rows)])
        for at in _change_points(rows[start:end], weight[start:end], limit)
    ]
    return sorted(inner + deeper)


def oddest_run(rows: Floats, weight: Floats) -> Run:
    """Find the run of crops whose mean is most unlike the mean of all others.

    The run and what is left of the track on each side of it have MIN_RUN crops or none.

    Args:
        rows: (n, d) unit, in order of time.
        weight: (n,) above 0.
    """
    count = len(rows)
    if count < 2 * MIN_RUN:
        return Run(0, count, 2.0)
    weighted = rows.astype(np.float64) * weight[:, None]
    sums = np.concatenate([np.zeros((1, rows.shape[1])), weighted.cumsum(axis=0)])
    # Dot products of the sums give those of every run [start, end) and of the rest.
    dots: F64 = sums @ sums.T
    length = np.diag(dots)
    run = length[:, None] + length[None] - 2 * dots
    with_all = dots[None, :, -1] - dots[:, None, -1]
    rest = length[-1] - 2 * with_all + run
    cosine = (with_all - run) / np.sqrt(np.maximum(run * rest, TINY))
    start, end = np.indices(cosine.shape)
    long = [(size == 0) | (size >= MIN_RUN) for size in (start, count - end)]
    inside = end - start
    allowed = long[0] & long[1] & (inside >= MIN_RUN) & (count - inside >= MIN_RUN)
    best = int(np.where(allowed, cosine, 2.0).argmin())
    first, last = divmod(best, count + 1)
    return Run(first, last, float(cosine[first, last]))


def split_title(title: TitleCrops, part: I64) -> TitleCrops:
    """Make a track of each part of a track.

    Parts are numbered by track, then by time. They inherit the cannot-link pairs of their tracks
    where their crops are seen at one time. Without frames nobody knows which parts these are, so
    a track that was split keeps no pairs.

    Args:
        title: Its tracks.
        part: (m,) by `find_parts`.
    """
    if not part.any():
        return title
    key = title.track * (int(part.max()) + 1) + part
    _, first, row = np.unique(key, return_index=True, return_inverse=True)
    bounds = np.searchsorted(title.track[first], np.arange(title.tracks + 1))
    start, end = _spans(title, row, len(first))
    pairs = [
        (i, j)
        for left, right in np.sort(title.cannot_link, axis=1).tolist()
        for i in range(bounds[left], bounds[left + 1])
        for j in range(bounds[right], bounds[right + 1])
        if start[i] <= end[j] and start[j] <= end[i]
    ]
    linked = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    known = _whole_constraints(title.constraints, bounds)
    return replace(title, track=row.astype(np.int64), cannot_link=linked, constraints=known)


def _whole_constraints(known: Constraints, bounds: I64) -> Constraints:
    """What is known of tracks that stay whole; of a part of a track, nothing is."""
    whole = np.diff(bounds) == 1
    must, cannot = (bounds[pairs[whole[pairs].all(axis=1)]] for pairs in known[:2])
    return Constraints(must, cannot, bounds[known.no_face[whole[known.no_face]]])


def _spans(title: TitleCrops, row: I64, parts: int) -> tuple[F64, F64]:
    """The frames of the first and the last crop of each part, two (parts,).

    Without frames, whole tracks are seen at any time, and parts of tracks at none.
    """
    if title.frame is None:
        whole = np.bincount(title.track)[title.track] == np.bincount(row)[row]
        reach = np.empty(parts)
        reach[row] = np.where(whole, 1.0, -2.0)  # a span that ends before it starts meets none
        return -reach, reach
    start, end = np.full(parts, np.inf), np.full(parts, -np.inf)
    np.minimum.at(start, row, title.frame)
    np.maximum.at(end, row, title.frame)
    return start, end
