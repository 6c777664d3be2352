"""From a trained student to the outputs of tracks: what METHOD 4 clusters.

It knows the trained networks as functions, and the track of each crop; no pictures, no training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vcn_ray.core.distance import mean_within_groups
from vcn_ray.core.quality import track_quality
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.learn.heads import Student
from vcn_ray.learn.loss import Temperatures
from vcn_ray.records import F32, F64, I64, SoftAssignments, TrackOutputs

MIN_WEIGHT = 1e-3  # of a crop, so that a track of nothing but ruined crops has a mean

OUTPUT_CROPS = 8192
"""About how many crops' (m, K) outputs are in memory together."""


class CropEmbeddings(NamedTuple):
    """Unit embeddings of every crop, by the adapted and by the pretrained encoder, float32."""

    plain: Tensor  # (m, d)
    mirrored: Tensor  # (m, d)
    pretrained: Tensor  # (m, d) plain
    pretrained_mirrored: Tensor  # (m, d)

    def rows(self, rows: I64) -> CropEmbeddings:
        """Return the embeddings of some of the crops, on the CPU."""
        index = torch.from_numpy(rows).to(self.plain.device)
        return CropEmbeddings(*(part.index_select(0, index).cpu() for part in self))


class CropCues(NamedTuple):
    """How far crops can be trusted."""

    score: F32  # (m,) of the detector; nan: unknown
    quality: F32  # (m,) METHOD 3.1, pretrained encoder, in [0, 1]
    recognisability: F32  # (m,) in [0, 1], see core.prior; 1 where the pack has no prior

    def rows(self, rows: I64) -> CropCues:
        """Return the cues of some of the crops."""
        return CropCues(*(part[rows] for part in self))


class TrackMeans:
    """Means over the crops of each track.

    Args:
        track: (m,) 0..k-1, each with at least one crop.
        weight: (m,) of each crop in `weighted`.
    """

    def __init__(self, track: I64, weight: F32) -> None:
        self._track = track
        self._weight = np.maximum(weight.astype(np.float64), MIN_WEIGHT)
        self.crops: I64 = np.bincount(track).astype(np.int64)

    def of(self, values: F32) -> F32:
        """Average (m, ...) values of crops to (k, ...) means of tracks."""
        sums = group_sums(values, self._track, len(self.crops))
        means: F32 = (sums.T / self.crops).T.astype(np.float32)
        return means

    def weighted(self, values: F32) -> F32:
        """Average (m, ...) values of crops to (k, ...), the better crops more."""
        sums = group_sums((values.T * self._weight).T, self._track, len(self.crops))
        total = group_sums(self._weight, self._track, len(self.crops))
        means: F32 = (sums.T / total).T.astype(np.float32)
        return means

    def loss(self, views: Sequence[SoftAssignments]) -> F64:
        """Average the loss between distinct crops in distinct views (METHOD 4.2), (k,).

        The mean is over all ordered pairs of views. A track of one crop has only the losses between
        its own views.
        """
        pairs = list(permutations(views, 2))
        total = np.zeros(len(self.crops))
        for left, right in pairs:
            total += self.plain_loss(SoftAssignments(left.teacher, right.student))
        return total / len(pairs)

    def plain_loss(self, sides: SoftAssignments) -> F64:
        """Average the loss between distinct crops (METHOD 4.2), (k,); of one crop, with itself."""
        return mean_within_groups(sides.teacher, sides.student, self._track, len(self.crops))


def track_outputs(
    student: Student, crops: CropEmbeddings, cues: CropCues, track: I64
) -> TrackOutputs:
    """Compute what the adapted student says of each track (METHOD 4, closed form).

    Vectors of a track are means over its crops, weighted by their recognisability. The two sides of
    the loss are plain means, as METHOD 4 says.

    Args:
        student: Head, centre and temperatures.
        crops: Embeddings of m crops, at least one.
        cues: Of the same crops.
        track: (m,) 0..k-1, each with at least one crop, in any order.
    """
    order = np.argsort(track, kind="stable")
    parts = [
        _some_tracks(student, crops.rows(rows), cues.rows(rows), track[rows] - track[rows[0]])
        for rows in _whole_tracks(order, track[order])
    ]
    shared = ("centre", "teacher_temperature", "student_temperature")
    by_track = [field.name for field in fields(TrackOutputs) if field.name not in shared]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in by_track
    }
    return replace(parts[0], **joined)


def _whole_tracks(order: I64, track: I64) -> Iterator[I64]:
    """Yield runs of about OUTPUT_CROPS rows of `order` that split no track (`track` rising)."""
    start = 0
    while start < len(order):
        last = track[min(start + OUTPUT_CROPS, len(order)) - 1]
        end = int(np.searchsorted(track, last, side="right"))
        yield order[start:end]
        start = end


def _some_tracks(
    student: Student, crops: CropEmbeddings, cues: CropCues, track: I64
) -> TrackOutputs:
    """Compute `track_outputs` of tracks that are numbered from 0."""
    means = TrackMeans(track, cues.recognisability)
    outputs = student.outputs(crops.plain)
    plain = student.soft(outputs)
    within_views = means.loss([plain, student.soft(student.outputs(crops.mirrored))])
    # The loss is minus a dot product, whatever the vectors: with embeddings, minus their cosine.
    views = [
        SoftAssignments(view.numpy(), view.numpy())
        for view in (crops.pretrained, crops.pretrained_mirrored)
    ]
    return TrackOutputs(
        crops=means.crops,
        teacher=means.of(plain.teacher),
        student=means.of(plain.student),
        within=np.where(means.crops > 1, means.plain_loss(plain), within_views),
        within_views=within_views,
        output=means.weighted(outputs),
        embedding=unit_rows(means.weighted(_both(crops.plain, crops.mirrored))).astype(np.float32),
        pretrained=unit_rows(
            means.weighted(_both(crops.pretrained, crops.pretrained_mirrored))
        ).astype(np.float32),
        pretrained_views=1 + means.loss(views),
        quality=track_quality(cues.quality, track, len(means.crops)),
        score=means.of(cues.score),
        recognisability=means.of(cues.recognisability),
        centre=student.centre.cpu().numpy(),
        teacher_temperature=student.temperatures.teacher,
        student_temperature=student.temperatures.student,
    )


def _both(plain: Tensor, mirrored: Tensor) -> F32:
    """Add the embeddings (m, d) of crops and of their mirror images, which err independently."""
    result: F32 = (plain + mirrored).numpy()
    return result


def no_outputs(outputs: int, dim: int, temperatures: Temperatures) -> TrackOutputs:
    """Return the record of a title without tracks: K is `outputs`, d is `dim`."""
    none, square = np.zeros(0, np.float32), np.zeros((0, outputs), np.float32)
    embedding = np.zeros((0, dim), np.float32)
    return TrackOutputs(
        crops=np.zeros(0, np.int64),
        teacher=square,
        student=square,
        within=np.zeros(0),
        within_views=np.zeros(0),
        output=square,
        embedding=embedding,
        pretrained=embedding,
        pretrained_views=np.zeros(0),
        quality=none,
        score=none,
        recognisability=none,
        centre=np.zeros(outputs, np.float32),
        teacher_temperature=temperatures.teacher,
        student_temperature=temperatures.student,
    )
