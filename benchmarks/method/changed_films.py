"""Films in which a change of looks makes an encoder take one person for two, scene by scene.

In every second scene all faces wear a mask over mouth and nose, or dark glasses, or are seen by
little blue light. The pictures are changed and not the embeddings, so what an encoder makes of them
is its own; labels stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.method.films import Film
from vcn_ray.records import F32, U8

NOISE = 0.02  # standard deviation, of grey levels from 0 to 1


def _mask(faces: F32, rng: np.random.Generator) -> None:
    side = faces.shape[1]
    covered = faces[:, round(0.62 * side) :]  # from below the tip of the nose
    covered[:] = np.array([0.5, 0.1, 0.1]) + rng.normal(0, NOISE, covered.shape)


def _glasses(faces: F32, rng: np.random.Generator) -> None:
    side = faces.shape[1]
    rows = slice(round(0.36 * side), round(0.55 * side))
    columns = slice(round(0.12 * side), round(0.88 * side))
    covered = faces[:, rows, columns]
    covered[:] = 0.05 + rng.normal(0, NOISE, covered.shape)


def _night(faces: F32, rng: np.random.Generator) -> None:
    light = np.linspace(1.3, 0.3, faces.shape[2])[:, None] * np.array([0.25, 0.35, 0.55])
    faces[:] = faces**1.6 * light + 0.02 + rng.normal(0, NOISE, faces.shape)


CHANGES: dict[str, Callable[[F32, np.random.Generator], None]] = {
    "mask": _mask,
    "glasses": _glasses,
    "night": _night,
}


def change_looks(film: Film, change: str, seed: int = 0) -> Film:
    """The same film with a change of looks in every second scene."""
    rows = np.flatnonzero((film.scene % 2 == 1)[film.title.track])
    faces: F32 = (film.title.crops[rows] / np.float32(255)).astype(np.float32)
    CHANGES[change](faces, np.random.default_rng(seed))
    crops: U8 = film.title.crops.copy()
    crops[rows] = (faces.clip(0, 1) * 255).round().astype(np.uint8)
    return replace(film, name=f"{film.name}, {change}", title=replace(film.title, crops=crops))
