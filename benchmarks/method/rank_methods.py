"""Ten cheap ways to cluster tracks, whose order shows whether a benchmark predicts another one.

None is the method of the package. They differ in the linkage, the cut, what they reject and how
they average, because these are the choices that a benchmark has to judge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.method.baselines import finch, hac, hdbscan
from benchmarks.method.track_sets import TrackSet
from vcn_ray.core.distance import cosine_space
from vcn_ray.core.linkage import CannotLink, agglomerate
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.core.vectors import group_sums, renumber, unit_rows
from vcn_ray.records import F64, I64, Mask

MIN_SCORE = 0.65
"""Mean score of CenterFace under which a track is rejected."""

MIN_NORM = 7.5
"""Mean norm of SFace's embeddings under which a track is rejected. Both limits belong to these
networks, and were set by hand after the scores and norms of the labelled clips were seen."""

CUT = 0.5


def mean_rows(tracks: TrackSet, *, mirrored: bool = False, weighted: bool = False) -> F64:
    """Unit means (k, d) of the embeddings of each track.

    Args:
        tracks: With m crops.
        mirrored: Add the embedding of the mirror image.
        weighted: Weigh a crop by the squares of its score and of its embedding's norm.
    """
    rows = tracks.plain + tracks.mirrored if mirrored else tracks.plain
    unit = unit_rows(rows)
    if weighted:
        weight = tracks.scores * np.linalg.norm(tracks.plain, axis=1)
        unit = unit * np.square(weight)[:, None]
    return unit_rows(group_sums(unit, tracks.title.track, tracks.title.tracks))


def norms(tracks: TrackSet) -> F64:
    """Mean norm (k,) of the embeddings of each track."""
    count = np.bincount(tracks.title.track)
    sums = group_sums(np.linalg.norm(tracks.plain, axis=1), tracks.title.track, len(count))
    result: F64 = sums / count
    return result


def centroid(rows: F64, distance: float) -> I64:
    """Merge the two clusters whose mean vectors are nearest, while they are nearer than a cut."""
    label = np.arange(len(rows))
    sums = rows.copy()
    while len(sums) > 1:
        unit = unit_rows(sums)
        table = unit @ unit.T
        np.fill_diagonal(table, -np.inf)
        left, right = np.unravel_index(int(table.argmax()), table.shape)
        if 1 - table[left, right] >= distance:
            break
        sums[left] += sums[right]
        label[label == right] = left
        label[label > right] -= 1
        sums = np.delete(sums, right, axis=0)
    return renumber(label)


def average(cut: float) -> Callable[[TrackSet], I64]:
    """Average linkage of all tracks."""
    return lambda tracks: hac(mean_rows(tracks), cut)


def keeping(valid: Callable[[TrackSet], Mask]) -> Callable[[TrackSet], I64]:
    """Average linkage of the tracks that are good enough; the others stay unknown."""

    def run(tracks: TrackSet) -> I64:
        kept = np.flatnonzero(valid(tracks))
        label = np.full(tracks.title.tracks, UNKNOWN)
        label[kept] = hac(mean_rows(tracks)[kept], CUT)
        return label

    return run


def careful(tracks: TrackSet) -> I64:
    """Average linkage of weighted, mirrored means, without merging tracks of one frame."""
    space = cosine_space(mean_rows(tracks, mirrored=True, weighted=True))
    return agglomerate(
        space, CUT, CannotLink.uniform(tracks.title.cannot_link, np.inf), "average"
    ).label


METHODS: dict[str, Callable[[TrackSet], I64]] = {
    "average 0.4": average(0.4),
    "average 0.5": average(0.5),
    "average 0.6": average(0.6),
    "average 0.7": average(0.7),
    "centroid 0.5": lambda tracks: centroid(mean_rows(tracks), CUT),
    "HDBSCAN": lambda tracks: hdbscan(mean_rows(tracks)),
    "FINCH": lambda tracks: finch(mean_rows(tracks)),
    "average 0.5, min score": keeping(lambda tracks: tracks.track_scores >= MIN_SCORE),
    "average 0.5, min norm": keeping(lambda tracks: norms(tracks) >= MIN_NORM),
    "average 0.5, weighted, mirrored, cannot-link": careful,
}
"""By name."""
