"""What tracks in one frame say of each other: two people, save where one face is seen twice.

It knows distances between tracks, not frames: which tracks share one comes in as pairs.
"""

from __future__ import annotations

import numpy as np

from vcn_ray.core.vectors import check_pairs
from vcn_ray.records import I64, Mask, TrackOutputs

COPY_FACTOR = 0.5
"""Distance under which two tracks in one frame are one face, over that of views inside a track.

On films, a track and its own mirrored or changed copy are 0.1 to 0.5 times the view distance
apart, two people in one frame at least 0.75 times."""


def view_distance(outputs: TrackOutputs) -> float:
    """Mean cosine distance, encoder as shipped, of two augmented views inside a track.

    Over tracks with several crops, whose views are of different crops; over all where there is
    none.
    """
    several = outputs.crops > 1
    views = outputs.pretrained_views[several] if several.any() else outputs.pretrained_views
    return float(views.mean())


def seen_twice(outputs: TrackOutputs, pairs: I64) -> Mask:
    """Pairs of tracks in one frame that are one face: a mirror, a split screen, a double find.

    They are as near to each other as a track is to a changed copy of itself, by the encoder as
    shipped: nobody else comes so near in the same light.

    Args:
        outputs: k tracks.
        pairs: (c, 2) tracks that share a frame.

    Returns:
        (c,) true where the pair says nothing against one person.
    """
    check_pairs(pairs, len(outputs))
    if not len(pairs):
        return np.zeros(0, np.bool_)
    left, right = outputs.pretrained[pairs[:, 0]], outputs.pretrained[pairs[:, 1]]
    distance = 1 - np.einsum("cd,cd->c", left.astype(np.float64), right)
    near: Mask = distance < COPY_FACTOR * view_distance(outputs)
    return near


def broken_share(label: I64, pairs: I64) -> float:
    """Share of the pairs (c, 2) that cannot link whose tracks have one label (k,)."""
    if not len(pairs):
        return 0.0
    return float((label[pairs[:, 0]] == label[pairs[:, 1]]).mean())
