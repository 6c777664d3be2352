"""From embeddings of crops to what clustering needs of tracks (METHOD 4, closed form).

It knows the trained head as a function, and each crop's track; no pictures, no training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vcn_ray.core.distance import mean_within_groups, soft_assign
from vcn_ray.core.quality import track_quality
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.learn.loss import Temperatures
from vcn_ray.records import F32, F64, I64, SoftAssignments, TrackOutputs

CROPS_AT_ONCE = 8192
"""About how many crops' (m, K) outputs are held at a time."""


class Student(NamedTuple):
    """What is kept of METHOD 2: all that turns an embedding into what the loss compares."""

    head: nn.Module  # (b, d) unit e to (b, K) z
    centre: Tensor  # (K,) c
    temperatures: Temperatures

    @torch.no_grad()
    def outputs(self, embeddings: Tensor) -> F32:
        """(b, d) unit embeddings on any device to (b, K) outputs z."""
        device = self.centre.device
        result: F32 = self.head(embeddings.to(device)).cpu().numpy()
        return result

    def soft(self, outputs: F32) -> SoftAssignments:
        """Both sides of the loss for outputs (b, K)."""
        centre = self.centre.cpu().numpy()
        return soft_assign(outputs, centre, self.temperatures.teacher, self.temperatures.student)


class CropEmbeddings(NamedTuple):
    """Unit embeddings of every crop, by the adapted encoder and by the one that the pack ships."""

    plain: Tensor  # (m, d)
    augmented: Tensor  # (v, m, d) of two or more augmented views
    untuned: Tensor  # (m, d) plain
    untuned_augmented: Tensor  # (u, m, d)

    def rows(self, rows: I64) -> CropEmbeddings:
        """The same for some of the crops, on the CPU."""
        index = torch.from_numpy(rows).to(self.plain.device)
        return CropEmbeddings(*(part.index_select(-2, index).cpu() for part in self))


class TrackMeans:
    """Means over the crops of each track.

    Args:
        track: (m,) 0..k-1, each with one crop at least.
    """

    def __init__(self, track: I64) -> None:
        self._track = track
        self.crops: I64 = np.bincount(track).astype(np.int64)

    def of(self, values: F32) -> F32:
        """(m, ...) values to (k, ...) means."""
        sums = group_sums(values, self._track, len(self.crops))
        means: F32 = (sums.T / self.crops).T.astype(np.float32)
        return means

    def loss(self, views: Sequence[SoftAssignments]) -> F64:
        """METHOD 4.2 between distinct crops in distinct views, over all ordered pairs of views.

        A track of one crop has only the losses between its own views.
        """
        pairs = list(permutations(views, 2))
        total = np.zeros(len(self.crops))
        for left, right in pairs:
            total += self.plain_loss(SoftAssignments(left.teacher, right.student))
        return total / len(pairs)

    def plain_loss(self, sides: SoftAssignments) -> F64:
        """METHOD 4.2 between distinct crops; of one crop, its loss with itself."""
        return mean_within_groups(sides.teacher, sides.student, self._track, len(self.crops))


def track_outputs(
    student: Student, crops: CropEmbeddings, quality: F32, track: I64
) -> TrackOutputs:
    """What the adapted student says of each track.

    Args:
        student: Head, centre and temperatures.
        crops: Embeddings of m crops, one at least.
        quality: (m,) of the same crops.
        track: (m,) 0..k-1, each with one crop at least, in any order.
    """
    order = np.argsort(track, kind="stable")
    parts = [
        _some_tracks(student, crops.rows(rows), quality[rows], track[rows] - track[rows[0]])
        for rows in _whole_tracks(order, track[order])
    ]
    shared = ("centre", "teacher_temperature", "student_temperature")
    by_track = [field.name for field in fields(TrackOutputs) if field.name not in shared]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in by_track
    }
    return replace(parts[0], **joined)


def _whole_tracks(order: I64, track: I64) -> Iterator[I64]:
    """Runs of `order` of about CROPS_AT_ONCE rows that never split a track (`track` rising)."""
    start = 0
    while start < len(order):
        last = track[min(start + CROPS_AT_ONCE, len(order)) - 1]
        end = int(np.searchsorted(track, last, side="right"))
        yield order[start:end]
        start = end


def _some_tracks(student: Student, crops: CropEmbeddings, quality: F32, track: I64) -> TrackOutputs:
    """`track_outputs` of tracks that are numbered from 0."""
    means = TrackMeans(track)
    outputs = student.outputs(crops.plain)
    plain = student.soft(outputs)
    within_views = means.loss([student.soft(student.outputs(view)) for view in crops.augmented])
    # The loss is minus a dot product, whatever the vectors: with embeddings, minus their cosine.
    untuned = [SoftAssignments(view.numpy(), view.numpy()) for view in crops.untuned_augmented]
    return TrackOutputs(
        crops=means.crops,
        teacher=means.of(plain.teacher),
        student=means.of(plain.student),
        within=np.where(means.crops > 1, means.plain_loss(plain), within_views),
        within_views=within_views,
        output=means.of(outputs),
        output_norm=means.of(np.linalg.norm(outputs, axis=1)),
        embedding=unit_rows(means.of(crops.plain.numpy())).astype(np.float32),
        untuned=unit_rows(means.of(crops.untuned.numpy())).astype(np.float32),
        untuned_views=1 + means.loss(untuned),
        quality=track_quality(quality, track, len(means.crops)),
        centre=student.centre.cpu().numpy(),
        teacher_temperature=student.temperatures.teacher,
        student_temperature=student.temperatures.student,
    )


def no_outputs(outputs: int, dim: int, temperatures: Temperatures) -> TrackOutputs:
    """The record of a title without tracks."""
    none, square = np.zeros(0, np.float32), np.zeros((0, outputs), np.float32)
    embedding = np.zeros((0, dim), np.float32)
    return TrackOutputs(
        crops=np.zeros(0, np.int64),
        teacher=square,
        student=square,
        within=np.zeros(0),
        within_views=np.zeros(0),
        output=square,
        output_norm=none,
        embedding=embedding,
        untuned=embedding,
        untuned_views=np.zeros(0),
        quality=none,
        centre=np.zeros(outputs, np.float32),
        teacher_temperature=temperatures.teacher,
        student_temperature=temperatures.student,
    )
