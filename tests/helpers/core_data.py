"""Titles in the form of TrackOutputs, made from a seed: people as directions, crops as noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vcn_ray.core.distance import mean_within_groups, soft_assign
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.records import F32, F64, I64, TrackOutputs

OUTPUTS, DIM = 64, 128

PRIOR = FacePrior(
    stranger_cosine=0.0,
    stranger_sd=0.09,
    min_score=0.6,
    intercept=-4.0,
    per_score=2.0,
    per_length=0.1,
    per_stability=5.0,
)
"""A prior that fits the people of `made_title`: two strangers are about orthogonal."""


def scatter(rng: np.random.Generator, rows: F64, size: float) -> F64:
    """Noise for each row: a vector of about length `size` in a random direction."""
    return rng.normal(0, size / np.sqrt(rows.shape[1]), rows.shape)


def no_pairs() -> I64:
    return np.zeros((0, 2), np.int64)


def made_title(
    people: Sequence[int] | I64,
    crops: int = 6,
    seed: int = 0,
    noise: float = 0.7,
    wobble: float = 1.3,
    offset: float = 0.0,
) -> TrackOutputs:
    """Tracks of people given as their numbers, one for each track.

    The encoder puts people in random directions, tracks at `noise` from their person and views
    of crops at `wobble` times that from their track, all moved by `offset` along one common
    direction, as some encoders do. By default tracks of a person lie 1.3 times as far apart as
    views in a track, strangers 3 times, as measured on films. The head takes away most of the
    title's mean, as centering does.
    """
    rng = np.random.default_rng(seed)
    person = np.asarray(people, np.int64)
    k = len(person)
    track = np.repeat(np.arange(k), crops)
    directions = unit_rows(rng.normal(size=(int(person.max(initial=0)) + 1, DIM)))
    centre = directions[person].reshape(k, DIM)
    centre = centre + scatter(rng, centre, noise)
    views = []
    for _ in range(3):
        rows = centre[track] + scatter(rng, centre[track], wobble * noise)
        rows[:, 0] += offset
        views.append(unit_rows(rows))
    head = rng.normal(size=(DIM, OUTPUTS)) / np.sqrt(OUTPUTS)
    middle = views[0].mean(axis=0) if k else np.zeros(DIM)
    z = [unit_rows(unit_rows(view - 0.9 * middle) @ head) for view in views]
    zero = np.zeros(OUTPUTS)
    plain, left, right = (soft_assign(rows, zero, 0.07, 0.1) for rows in z)
    n = np.bincount(track, minlength=k)

    def mean(rows: npt.NDArray[Any]) -> F32:
        return (group_sums(rows, track, k) / n[:, None]).astype(np.float32)

    def within(a: F32 | F64, b: F32 | F64) -> F64:
        return mean_within_groups(a, b, track, k)

    loss_views = (within(left.teacher, right.student) + within(right.teacher, left.student)) / 2
    return TrackOutputs(
        crops=n,
        teacher=mean(plain.teacher),
        student=mean(plain.student),
        within=within(plain.teacher, plain.student) if crops > 1 else loss_views,
        within_views=loss_views,
        output=mean(z[0]),
        embedding=unit_rows(mean(views[0])).astype(np.float32),
        pretrained=unit_rows(mean(views[0])).astype(np.float32),
        pretrained_views=1 + (within(views[1], views[2]) + within(views[2], views[1])) / 2,
        quality=np.full(k, 0.5, np.float32),
        score=np.full(k, np.nan, np.float32),
        recognisability=np.ones(k, np.float32),
        centre=zero.astype(np.float32),
        teacher_temperature=0.07,
        student_temperature=0.1,
    )


def placed(rows: F64) -> TrackOutputs:
    """Tracks whose vectors, of either encoder and of the head, are these (k, d)."""
    unit = unit_rows(rows).astype(np.float32)
    return replace(made_title([0] * len(rows)), output=unit, embedding=unit, pretrained=unit)
