"""Helpers of the tests of the sample film."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vcn_ray.sample.film import SampleFilm
from vcn_ray.sample.script import Camera, Pose, Role, Shot

Detector = Callable[..., list[np.ndarray]]
"""From an RGB picture to boxes x0 y0 x1 y1."""


class Written(NamedTuple):
    """A sample film as files."""

    film: SampleFilm
    steps: list[tuple[int, int]]  # frames written and all frames, as reported while writing


def overlap(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Intersection over union of two boxes x0 y0 x1 y1."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.clip(sides, 0, None)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def two_shots(dissolve: int = 0) -> tuple[Shot, Shot]:
    """A short film: person 7 walks, then persons 6 and 3 stand."""
    walk = Role(7, (Pose(200, 150, 110), Pose(400, 150, 120, yaw=10, roll=4)))
    pair = (
        Role(3, (Pose(450, 150, 120), Pose(450, 150, 120))),
        Role(6, (Pose(180, 150, 110), Pose(180, 150, 110))),
    )
    return (
        Shot(place="office", frames=10, roles=(walk,), start=Camera(-10), end=Camera(10)),
        Shot(place="theatre", frames=9, roles=pair, dissolve=dissolve),
    )
