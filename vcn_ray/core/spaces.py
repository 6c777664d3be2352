"""Which distances between tracks clustering looks at; it neither merges nor cuts."""

from __future__ import annotations

import numpy as np

from vcn_ray.core.linkage import Crops, Space
from vcn_ray.core.vectors import Floats, unit_rows
from vcn_ray.records import TrackOutputs


def loss_space(outputs: TrackOutputs) -> Space:
    """The learned loss, mean over pairs of tracks, both directions averaged (METHOD 4.3)."""
    teacher, student = outputs.teacher.astype(np.float64), outputs.student.astype(np.float64)
    return Space(np.hstack([teacher, student]), np.hstack([student, teacher]) / 2, 0.0)


def loss_crops(outputs: TrackOutputs) -> Crops:
    """The same over pairs of crops."""
    return Crops(loss_space(outputs), outputs.crops)


def cosine_space(rows: Floats) -> Space:
    """Cosine distance `1 - cos` of track vectors (k, d)."""
    unit = unit_rows(rows)
    return Space(unit, unit.copy(), 1.0)


def mixed_space(first: Space, second: Space, weights: tuple[float, float]) -> Space:
    """The weighted sum of two distances."""
    a, b = weights
    return Space(
        np.hstack([first.left * a, second.left * b]),
        np.hstack([first.right, second.right]),
        a * first.offset + b * second.offset,
    )
