"""From a trained student to the quality of crops (METHOD 3.1) and the outputs of tracks (METHOD 4).

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
from vcn_ray.core.quality import crop_quality, track_quality
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.learn.heads import Student
from vcn_ray.learn.hooks import Tick
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.views import batches
from vcn_ray.models.backbones import Backbone
from vcn_ray.records import F32, F64, I64, SoftAssignments, TrackOutputs

QUALITY_CROPS = 256
"""Crops whose repeated passes are in memory together."""

OUTPUT_CROPS = 8192
"""About how many crops' (m, K) outputs are in memory together."""


def draw_masks(passes: int, features: int, dropout: float, generator: torch.Generator) -> Tensor:
    """Draw (passes, h) float32 factors: 0 for a dropped feature, else what keeps the mean.

    All crops share the same masks, so that chance does not enter a comparison between them.
    """
    kept = torch.rand(passes, features, generator=generator) >= dropout
    return kept.float() / (1 - dropout)


@torch.no_grad()
def repeated_embeddings(encoder: Backbone, features: Tensor, masks: Tensor) -> F32:
    """Map (b, h) features and (r, h) masks to (r, b, d) embeddings, one for each pass."""
    dropped = masks.to(features.device)[:, None, :] * features
    embeddings = encoder.project(dropped.flatten(0, 1)).float()
    result: F32 = embeddings.reshape(*dropped.shape[:2], -1).cpu().numpy()
    return result


def quality_of_crops(encoder: Backbone, features: Tensor, masks: Tensor, tick: Tick) -> F32:
    """Rate crops by how little their embeddings move under dropout (METHOD 3.1).

    This is SER-FIQ (P. Terhoerst et al., CVPR 2020): only the last layer runs repeatedly.

    Args:
        encoder: Its last layer is used.
        features: (m, h) input of that layer.
        masks: (r, h) of `draw_masks`, at least two.
        tick: Called after each batch with the progress.

    Returns:
        (m,) in [0, 1].
    """
    parts = []
    for rows in batches(len(features), QUALITY_CROPS):
        parts.append(crop_quality(repeated_embeddings(encoder, features[rows], masks)))
        tick((int(rows[-1]) + 1) / len(features))
    return np.concatenate(parts)


class CropEmbeddings(NamedTuple):
    """Unit embeddings of every crop, by the adapted and by the pretrained encoder, float32."""

    plain: Tensor  # (m, d)
    augmented: Tensor  # (v, m, d) of two or more augmented views
    pretrained: Tensor  # (m, d) plain
    pretrained_augmented: Tensor  # (u, m, d)

    def rows(self, rows: I64) -> CropEmbeddings:
        """Return the embeddings of some of the crops, on the CPU."""
        index = torch.from_numpy(rows).to(self.plain.device)
        return CropEmbeddings(*(part.index_select(-2, index).cpu() for part in self))


class TrackMeans:
    """Means over the crops of each track.

    Args:
        track: (m,) 0..k-1, each with at least one crop.
    """

    def __init__(self, track: I64) -> None:
        self._track = track
        self.crops: I64 = np.bincount(track).astype(np.int64)

    def of(self, values: F32) -> F32:
        """Average (m, ...) values of crops to (k, ...) means of tracks."""
        sums = group_sums(values, self._track, len(self.crops))
        means: F32 = (sums.T / self.crops).T.astype(np.float32)
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
    student: Student, crops: CropEmbeddings, quality: F32, track: I64
) -> TrackOutputs:
    """Compute what the adapted student says of each track (METHOD 4, closed form).

    Args:
        student: Head, centre and temperatures.
        crops: Embeddings of m crops, at least one.
        quality: (m,) of the same crops.
        track: (m,) 0..k-1, each with at least one crop, in any order.
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
    """Yield runs of about OUTPUT_CROPS rows of `order` that split no track (`track` rising)."""
    start = 0
    while start < len(order):
        last = track[min(start + OUTPUT_CROPS, len(order)) - 1]
        end = int(np.searchsorted(track, last, side="right"))
        yield order[start:end]
        start = end


def _some_tracks(student: Student, crops: CropEmbeddings, quality: F32, track: I64) -> TrackOutputs:
    """Compute `track_outputs` of tracks that are numbered from 0."""
    means = TrackMeans(track)
    outputs = student.outputs(crops.plain)
    plain = student.soft(outputs)
    within_views = means.loss([student.soft(student.outputs(view)) for view in crops.augmented])
    # The loss is minus a dot product, whatever the vectors: with embeddings, minus their cosine.
    views = [SoftAssignments(view.numpy(), view.numpy()) for view in crops.pretrained_augmented]
    return TrackOutputs(
        crops=means.crops,
        teacher=means.of(plain.teacher),
        student=means.of(plain.student),
        within=np.where(means.crops > 1, means.plain_loss(plain), within_views),
        within_views=within_views,
        output=means.of(outputs),
        embedding=unit_rows(means.of(crops.plain.numpy())).astype(np.float32),
        pretrained=unit_rows(means.of(crops.pretrained.numpy())).astype(np.float32),
        pretrained_views=1 + means.loss(views),
        quality=track_quality(quality, track, len(means.crops)),
        centre=student.centre.cpu().numpy(),
        teacher_temperature=student.temperatures.teacher,
        student_temperature=student.temperatures.student,
    )


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
        centre=np.zeros(outputs, np.float32),
        teacher_temperature=temperatures.teacher,
        student_temperature=temperatures.student,
    )
